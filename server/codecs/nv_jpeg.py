"""A JPEG becomes pixels on the GPU, so that its file crosses the bus and not its pixels.

By nvImageCodec, which is optional. Called by the GPU's decode stage before it takes a slot: what
this decoder does not take, or fails at, comes back as None, and the caller decodes on the CPU,
straight into the slot's page-locked buffer. `jpeg` stays the truth about which files are sound.

Not run on a GPU yet: see docs/gpu.md.
"""

from __future__ import annotations

import importlib
import threading
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
import simplejpeg

from kernels.device import Stream
from server.codecs.exif import read_exif
from server.codecs.jpeg import Markers, read_markers

_BASELINE = frozenset((0, 1))  # SOF0, SOF1: one scan, Huffman
_UPRIGHT = 1
_END = b"\xff\xd9"
_PROBE_SIDE_PX = 16


class NvJpegUnavailable(Exception):
    """This machine cannot decode JPEG on the GPU; the sentence says why and what adds it."""


@dataclass(frozen=True, slots=True)
class DecodedOnDevice:
    """RGB pixels in device memory, (height, width, 3) uint8, rows `stride` bytes apart.

    The memory is nvImageCodec's and is freed with `owner`: hold this until the device is done.
    """

    address: int
    stride: int
    width: int
    height: int
    owner: Any


def can_take(data: bytes, markers: Markers) -> bool:
    """True for the JPEGs whose pixels come out as the CPU's decoder would give them.

    Left to the CPU: progressive and arithmetic coding (many passes: slower on a GPU, and bounded by
    `jpeg`), CMYK and 12 bits (`jpeg` converts or refuses them), grey (one plane), files without
    their end (which `jpeg` refuses unless the picture is complete), and pictures that have to be
    turned: Exif is read in one place, `exif`, and applied in one, `decode`.
    """
    return (
        markers.process in _BASELINE
        and markers.precision == 8
        and markers.components == 3
        and read_exif(markers.exif).orientation == _UPRIGHT
        and data.endswith(_END)
    )


class NvJpegDecoder:
    """Decodes on one GPU; threads that ask at the same time wait for each other, since nothing says
    that the library's decoder may be shared.

    Args:
        device_index: number of the GPU, as CUDA counts.
        load: imports a module by name.

    Raises:
        NvJpegUnavailable: nvImageCodec, nvJPEG, or the driver is not there. Found out by decoding a
            small picture, because nvImageCodec itself starts without a JPEG decoder.
    """

    def __init__(
        self, device_index: int, load: Callable[[str], ModuleType] = importlib.import_module
    ) -> None:
        try:
            self._library: Any = load("nvidia.nvimgcodec")
        except ImportError as error:
            raise NvJpegUnavailable(
                f"JPEG is decoded on the CPU, nvImageCodec is not installed ({error}): "
                "pip install 'nvidia-nvimgcodec-cu13[nvjpeg]'"
            ) from error
        kinds = self._library.BackendKind
        try:
            self._decoder = self._library.Decoder(
                device_id=device_index,
                # Without CPU_ONLY: a decoder on the CPU would take longer than ours and copy.
                backends=[
                    self._library.Backend(kind)
                    for kind in (kinds.HW_GPU_ONLY, kinds.GPU_ONLY, kinds.HYBRID_CPU_GPU)
                ],
                # libjpeg-turbo smooths chroma when it grows, and so does this, when asked.
                options=":fancy_upsampling=1",
            )
        except RuntimeError as error:
            raise NvJpegUnavailable(
                f"JPEG is decoded on the CPU, nvImageCodec found no GPU {device_index}: {error}"
            ) from error
        self._one_at_a_time = threading.Lock()
        self._params = self._library.DecodeParams(
            apply_exif_orientation=False,  # only upright pictures are taken, see `can_take`
            color_spec=self._library.ColorSpec.SRGB,
            allow_any_depth=False,
            sample_format=self._library.SampleFormat.I_RGB,
        )
        if self.decode(_probe(), None) is None:
            raise NvJpegUnavailable(
                "JPEG is decoded on the CPU, nvImageCodec has no JPEG decoder for this GPU: "
                "pip install 'nvidia-nvimgcodec-cu13[nvjpeg]'"
            )

    @property
    def name(self) -> str:
        """Library and version, for the log: "nvimgcodec 0.9.0"."""
        return f"nvimgcodec {self._library.__version__}"

    def decode(
        self,
        data: bytes,
        stream: Stream | None,
        *,
        markers: Markers | None = None,
        reuse: DecodedOnDevice | None = None,
    ) -> DecodedOnDevice | None:
        """Pixels of the JPEG `data`, ready for what is queued on `stream`; None: ask the CPU.

        Args:
            data: a JPEG whose header has been checked against the limits.
            stream: where the pixels will be used; None is the default stream.
            markers: of `data`, where they have been read.
            reuse: an earlier result that the device is done with; its memory is taken again, so
                that nothing is allocated once the largest picture has been seen.

        Raises:
            ImageRejected: the header is broken; the CPU's decoder would say the same.
        """
        if not can_take(data, markers or read_markers(data)):
            return None
        try:
            with self._one_at_a_time:
                image = self._decoder.decode(
                    self._library.CodeStream(data),
                    image=None if reuse is None else reuse.owner,
                    params=self._params,
                    cuda_stream=0 if stream is None else stream.handle,
                )
        except RuntimeError:  # documented as None, kept as None where it is not
            return None
        return None if image is None else _on_device(image)


def _on_device(image: Any) -> DecodedOnDevice | None:
    """What was decoded, if it is what was asked for."""
    found = image.__cuda_array_interface__
    height, width, channels = found["shape"]
    if channels != 3 or np.dtype(found["typestr"]) != np.uint8:
        return None
    strides = found.get("strides")  # None: contiguous
    stride = 3 * width if strides is None else strides[0]
    return DecodedOnDevice(found["data"][0], stride, width, height, image)


def _probe() -> bytes:
    """A small grey-green picture as a JPEG that `can_take` takes."""
    pixels = np.full((_PROBE_SIDE_PX, _PROBE_SIDE_PX, 3), (90, 120, 90), np.uint8)
    return bytes(simplejpeg.encode_jpeg(pixels, quality=90, colorspace="RGB"))
