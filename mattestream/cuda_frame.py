"""A picture that is on a GPU already, and a place there for its result: no pixel comes to the host.

    frame = CudaFrame(image, out=alpha)       # arrays of CuPy, PyTorch, Numba, ...
    client.remove(frame)                      # alpha is filled when this returns

The server must run on this machine, in another process, and allow it (`--cuda-shared-memory`); the
model must run on the arrays' GPU. Used by both clients as a frame of `SharedFrames` is.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any

from mattestream.cuda_driver import CudaDriver
from mattestream.errors import BadImage, InvalidRequest, ServerError
from mattestream.pixels import BY_CHANNELS, PIXEL_FORMATS, PixelFormatName
from mattestream.v1 import image_pb2, options_pb2
from mattestream.values import choose

_CHANNELS = {
    image_pb2.PIXEL_FORMAT_GRAY8: 1,
    image_pb2.PIXEL_FORMAT_RGB8: 3,
    image_pb2.PIXEL_FORMAT_RGBA8: 4,
}
_DLPACK_GPUS = (2, 13)  # kDLCUDA, kDLCUDAManaged
# What a result array of so many channels is for; 3 are a composite's.
_OUTPUTS = {
    1: options_pb2.OUTPUT_ALPHA,
    3: options_pb2.OUTPUT_COMPOSITE,
    4: options_pb2.OUTPUT_CUTOUT,
}


class CudaFrame:
    """One picture in a GPU's memory, for `remove` and `remove_stream`.

    It keeps both arrays. Work that fills `image` must be queued on the stream that the array names,
    or be done; what is written later must be done before the frame is sent. The memory must stay
    until the answer is there; in a stream, until the stream has ended. CUDA shares whole
    allocations: give what nobody else may see memory of its own, of a multiple of 2 MiB.

    Args:
        image: uint8 on a GPU, (H, W), (H, W, 3) or (H, W, 4), rows of whole pixels; (H * 3 / 2, W)
            for "nv12" and "i420".
        out: where the result goes: uint8 on the same GPU, packed, (H, W) for an alpha, (H, W, 4)
            for a cut-out, (H, W, 3) for a composite; None: into the answer.
        pixels: how the samples of `image` are laid out; None: by its channels, RGB.
        device: the GPU as the server counts; None: as this process does.
        driver: of CUDA; None: this process's.

    Raises:
        BadImage: an array has another kind, shape or place.
        InvalidRequest: its memory cannot be shared.
        MattestreamError: there is no CUDA driver here.
    """

    def __init__(
        self,
        image: Any,
        *,
        out: Any = None,
        pixels: PixelFormatName | None = None,
        device: int | None = None,
        driver: CudaDriver | None = None,
    ) -> None:
        driver = driver or CudaDriver()
        self._arrays = (image, out)
        source = _read(image, "image")
        self._image = image_pb2.CudaMemoryImage(layout=_layout(source, pixels))
        self._image.range.CopyFrom(_range(source, driver, device))
        self._target: image_pb2.CudaMemoryRange | None = None
        self._channels = 0
        if out is not None:
            goes = _read(out, "out")
            if goes.row_bytes != goes.shape[1] * goes.channels or goes.channels not in _OUTPUTS:
                raise BadImage(
                    f"out has the shape {goes.shape}: give a packed array, (H, W), (H, W, 3) or "
                    "(H, W, 4)"
                )
            self._target, self._channels = _range(goes, driver, device), goes.channels
        self._is_away = False

    # The rest is for the clients.

    def message(self) -> image_pb2.Image:
        """Where the pixels lie, as a request says it."""
        return image_pb2.Image(cuda_memory=self._image)

    def target(self) -> image_pb2.CudaMemoryRange | None:
        """Where the result goes; None: into the answer."""
        return self._target

    def ask(self, options: options_pb2.RemoveOptions) -> None:
        """Completes the options of a single request, unless it asks for a file."""
        if self._target is None or options.format not in (
            options_pb2.FORMAT_UNSPECIFIED,
            options_pb2.FORMAT_RAW,
        ):
            return
        if options.output == options_pb2.OUTPUT_UNSPECIFIED:
            options.output = _OUTPUTS[self._channels]
        options.format = options_pb2.FORMAT_RAW
        options.cuda_memory_output.CopyFrom(self._target)

    def sent(self) -> None:
        """A request is on its way: until it is answered the server may write at any time.

        Raises:
            InvalidRequest: one is already, or was given up.
        """
        if self._is_away:
            raise InvalidRequest(
                "this frame is on its way already, or its last request was given up and may still "
                "be written to: make another frame of other memory"
            )
        self._is_away = True

    def answered(self) -> None:
        """The server is done with the frame."""
        self._is_away = False

    def pixels(self, shared: image_pb2.CudaMemoryImage) -> Any:
        """`out`; of a smaller result the part of it that it fills, in its shape.

        Raises:
            ServerError: the answer names another place.
        """
        layout, span, own = shared.layout, shared.range, self._target
        channels = _CHANNELS.get(layout.format, 0)
        nbytes = layout.width * layout.height * channels
        if (
            own is None
            or (span.handle, span.offset, span.device) != (own.handle, own.offset, own.device)
            or not 0 < nbytes == span.byte_size <= own.byte_size
        ):
            raise ServerError(
                f"the server says its result is {nbytes} bytes of CUDA memory at {span.offset}, "
                "which is not the place that it was given"
            )
        shape = (layout.height, layout.width, channels)
        if nbytes == own.byte_size:
            return self._arrays[1]
        return self._arrays[1].reshape(-1)[:nbytes].reshape(shape if channels > 1 else shape[:2])


@dataclass(frozen=True, slots=True)
class _Array:
    """An array on a GPU."""

    address: int
    shape: tuple[int, ...]
    row_bytes: int  # from row to row
    stream: int | None  # of the work that fills it

    @property
    def channels(self) -> int:
        return self.shape[2] if len(self.shape) == 3 else 1

    @property
    def nbytes(self) -> int:
        return self.row_bytes * self.shape[0]


def _read(array: Any, name: str) -> _Array:
    """The array by its `__cuda_array_interface__`; one that has DLPack only is shown by CuPy."""
    if not hasattr(array, "__cuda_array_interface__") and _is_dlpack_on_gpu(array):
        array = importlib.import_module("cupy").from_dlpack(array)
    try:
        told = array.__cuda_array_interface__
    except Exception as error:  # without it, or PyTorch's of an array on the host
        raise BadImage(
            f"{name} is a {type(array).__name__}: give an array on a GPU, of CuPy, PyTorch, Numba "
            "or another library with __cuda_array_interface__"
        ) from error
    shape = tuple(told["shape"])
    strides = told.get("strides") or _packed(shape)
    inner = _packed(shape)[1:]
    if told["typestr"] not in ("|u1", "<u1") or len(shape) not in (2, 3) or 0 in shape:
        raise BadImage(
            f"{name} is {told['typestr']} of shape {shape}: give uint8, (H, W) or (H, W, channels)"
        )
    if tuple(strides[1:]) != inner or strides[0] < shape[1] * (inner[0] if inner else 1):
        raise BadImage(
            f"{name} has the strides {tuple(strides)}: rows must follow each other, each of whole "
            "pixels; make a contiguous copy"
        )
    return _Array(told["data"][0], shape, strides[0], told.get("stream"))


def _is_dlpack_on_gpu(array: Any) -> bool:
    return hasattr(array, "__dlpack_device__") and array.__dlpack_device__()[0] in _DLPACK_GPUS


def _packed(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The strides of a packed uint8 array."""
    steps = [1]
    for side in reversed(shape[1:]):
        steps.insert(0, steps[0] * side)
    return tuple(steps)


def _layout(array: _Array, pixels: PixelFormatName | None) -> image_pb2.PixelLayout:
    name = pixels or BY_CHANNELS.get(array.channels)
    if not name:
        raise BadImage(f"image has {array.channels} channels: give 1, 3 (RGB) or 4 (RGBA)")
    found, samples = choose("pixels", name, PIXEL_FORMATS)
    rows, columns = array.shape[:2]
    if not samples:
        if rows % 3 or columns % 2 or array.channels != 1 or array.row_bytes != columns:
            raise BadImage(
                f"image of {name} has the shape {array.shape}: give a packed (H * 3 / 2, W) of "
                "even sides"
            )
        return image_pb2.PixelLayout(format=found, width=columns, height=rows * 2 // 3)
    if samples != array.channels:
        raise BadImage(f"image of {name} has {array.channels} channels: it must have {samples}")
    layout = image_pb2.PixelLayout(format=found, width=columns, height=rows)
    if array.row_bytes != columns * samples:
        layout.strides.append(array.row_bytes)
    return layout


def _range(array: _Array, driver: CudaDriver, device: int | None) -> image_pb2.CudaMemoryRange:
    """Where the array lies in its allocation; what fills it is done when this returns."""
    if array.stream is not None:
        driver.wait(array.stream)
    base, size = driver.allocation(array.address)
    offset = array.address - base
    if offset + array.nbytes > size:
        raise BadImage(
            f"the array's last row ends {offset + array.nbytes - size} bytes behind its memory: "
            "make a contiguous copy"
        )
    return image_pb2.CudaMemoryRange(
        handle=driver.handle(base),
        offset=offset,
        byte_size=array.nbytes,
        device=driver.device(array.address) if device is None else device,
    )
