"""Which JPEGs go to the GPU's decoder, and what becomes of its answers.

Everything of nvImageCodec that works without a driver is the real library: parameters, backends,
headers. Its decoder does not, so decoding has a stand-in here and has not been run on a GPU.
"""

from __future__ import annotations

import types
from typing import Any

import numpy as np
import pytest
from PIL import Image

from server.codecs.errors import ImageDamaged
from server.codecs.jpeg import read_markers
from server.codecs.nv_jpeg import DecodedOnDevice, NvJpegDecoder, NvJpegUnavailable, can_take
from tests.server.codecs.pictures import exif_block, photo, saved

PHOTO = photo(60, 40)
JPEG = saved(PHOTO, "JPEG", quality=90)


@pytest.fixture(scope="module")
def library():
    return pytest.importorskip("nvidia.nvimgcodec", reason="nvImageCodec is not installed here")


class Decoded:
    """An nvImageCodec Image in device memory: what the array interface says about it."""

    def __init__(self, shape: tuple[int, ...], *, stride: int | None = None) -> None:
        self.__cuda_array_interface__ = {
            "shape": shape,
            "typestr": "|u1",
            "data": (0x7F00_0000, False),
            "strides": None if stride is None else (stride, 3, 1),
            "version": 3,
        }


def stand_in(library: Any, *, fails: bool = False, broken: bool = False) -> types.SimpleNamespace:
    """The real library with a decoder of the documented signature that touches no device."""
    calls: list[dict[str, Any]] = []

    class Decoder:
        def __init__(
            self, device_id: int = -1, max_num_cpu_threads: int = 0, backends=None, options=""
        ) -> None:
            calls.append({"device_id": device_id, "backends": backends, "options": options})

        def decode(self, src, *, image=None, params=None, cuda_stream=0) -> Decoded | None:
            calls.append({"image": image, "params": params, "cuda_stream": cuda_stream})
            if broken and len(calls) > 2:
                raise RuntimeError("CUDA error 700")
            return None if fails else Decoded((src.height, src.width, 3))

    names = ("Backend", "BackendKind", "CodeStream", "ColorSpec", "DecodeParams", "SampleFormat")
    return types.SimpleNamespace(
        Decoder=Decoder,
        calls=calls,
        __version__=library.__version__,
        **{name: getattr(library, name) for name in names},
    )


def decoder(library: Any, **how: bool) -> tuple[NvJpegDecoder, list[dict[str, Any]]]:
    standing_in = stand_in(library, **how)
    return NvJpegDecoder(2, lambda name: standing_in), standing_in.calls


def taken(data: bytes) -> bool:
    return can_take(data, read_markers(data))


def test_a_baseline_colour_jpeg_is_taken():
    assert taken(JPEG)


@pytest.mark.parametrize("subsampling", [0, 1, 2])
def test_chroma_layouts_of_cameras_are_taken(subsampling):
    assert taken(saved(PHOTO, "JPEG", subsampling=subsampling))


@pytest.mark.parametrize(
    "data",
    [
        saved(PHOTO, "JPEG", progressive=True),
        saved(Image.fromarray(PHOTO).convert("CMYK"), "JPEG"),
        saved(Image.fromarray(PHOTO).convert("L"), "JPEG"),
        saved(PHOTO, "JPEG", exif=b"Exif\x00\x00" + exif_block(6)),
        JPEG[:-2],
        JPEG[: len(JPEG) // 2],
    ],
    ids=["progressive", "CMYK", "grey", "to be turned", "without its end", "half"],
)
def test_what_the_cpu_does_better_is_left_to_it(data):
    assert not taken(data)


def test_twelve_bits_are_left_to_the_cpu():
    at = JPEG.index(b"\xff\xc0") + 4
    assert not taken(JPEG[:at] + b"\x0c" + JPEG[at + 1 :])


def test_an_upright_picture_with_exif_is_taken():
    assert taken(saved(PHOTO, "JPEG", exif=b"Exif\x00\x00" + exif_block(1)))


def test_without_the_library_the_sentence_names_it_and_its_command():
    def load(name: str) -> types.ModuleType:
        raise ModuleNotFoundError(f"No module named {name!r}")

    with pytest.raises(NvJpegUnavailable, match=r"decoded on the CPU.*nvimgcodec-cu13\[nvjpeg\]"):
        NvJpegDecoder(0, load)


def test_without_a_driver_the_real_decoder_does_not_start(library):
    cupy = pytest.importorskip("cupy", reason="CuPy, which knows of a GPU, is not installed here")
    if cupy.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with pytest.raises(NvJpegUnavailable, match="found no GPU 0"):
        NvJpegDecoder(0)


def test_a_library_without_a_jpeg_decoder_is_found_out_at_the_start(library):
    with pytest.raises(NvJpegUnavailable, match="no JPEG decoder for this GPU"):
        decoder(library, fails=True)


def test_pixels_come_with_their_address_size_and_an_owner(library):
    nv, _ = decoder(library)
    found = nv.decode(JPEG, None)
    assert isinstance(found, DecodedOnDevice)
    assert (found.width, found.height, found.stride) == (60, 40, 180)
    assert found.address == 0x7F00_0000
    assert isinstance(found.owner, Decoded)


def test_padded_rows_are_reported(library):
    standing_in = stand_in(library)
    nv = NvJpegDecoder(0, lambda name: standing_in)
    nv._decoder.decode = lambda *_, **__: Decoded((40, 60, 3), stride=256)
    assert nv.decode(JPEG, None).stride == 256


def test_another_shape_than_asked_for_is_left_to_the_cpu(library):
    standing_in = stand_in(library)
    nv = NvJpegDecoder(0, lambda name: standing_in)
    nv._decoder.decode = lambda *_, **__: Decoded((40, 60, 1))
    assert nv.decode(JPEG, None) is None


def test_a_failure_is_left_to_the_cpu(library):
    nv, calls = decoder(library, broken=True)
    assert nv.decode(JPEG, None) is None
    assert len(calls) == 3  # the start, the trial, this one


def test_what_is_not_taken_never_reaches_the_library(library):
    nv, calls = decoder(library)
    before = len(calls)
    assert nv.decode(saved(PHOTO, "JPEG", progressive=True), None) is None
    assert len(calls) == before


def test_a_broken_header_gets_the_codecs_own_error(library):
    nv, _ = decoder(library)
    with pytest.raises(ImageDamaged):
        nv.decode(JPEG[:30], None)


def test_it_asks_for_the_device_the_stream_and_plain_rgb(library):
    nv, calls = decoder(library)
    stream = types.SimpleNamespace(handle=0xABC)
    earlier = nv.decode(JPEG, stream)
    nv.decode(JPEG, stream, reuse=earlier)
    assert calls[0]["device_id"] == 2
    kinds = {backend.backend_kind for backend in calls[0]["backends"]}
    assert library.BackendKind.CPU_ONLY not in kinds
    assert [call["image"] for call in calls[2:]] == [None, earlier.owner]
    assert calls[3]["cuda_stream"] == 0xABC
    params = calls[3]["params"]
    assert not params.apply_exif_orientation
    assert params.sample_format == library.SampleFormat.I_RGB
    assert params.color_spec == library.ColorSpec.SRGB


def test_the_real_decoder_takes_these_names(library):
    assert "options: str = ''" in library.Decoder.__init__.__doc__
    for word in ("device_id", "backends", "fancy_upsampling"):
        assert word in library.Decoder.__init__.__doc__
    for word in ("image:", "params:", "cuda_stream:"):
        assert word in library.Decoder.decode.__doc__


def test_the_library_reads_the_same_header_as_ours(library):
    stream, markers = library.CodeStream(JPEG), read_markers(JPEG)
    assert stream.codec_name == "jpeg"
    assert (stream.width, stream.height) == (markers.width, markers.height)
    assert stream.num_channels == markers.components
    assert np.dtype(stream.dtype) == np.uint8
