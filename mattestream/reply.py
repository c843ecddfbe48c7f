"""Messages to result objects: what `remove` returns and `remove_stream` yields, in both clients."""

from __future__ import annotations

import io
import os
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from mattestream.cuda_frame import CudaFrame
from mattestream.errors import InvalidRequest, MattestreamError, ServerError, from_frame_error
from mattestream.files import write_file
from mattestream.shapes import JSON, NPY, Polygon, Rle, read_shape
from mattestream.shared_frame import FrameInPlace, SharedFrame
from mattestream.v1 import image_pb2, removal_pb2, report_pb2

_CHANNELS = {
    image_pb2.PIXEL_FORMAT_GRAY8: 1,
    image_pb2.PIXEL_FORMAT_RGB8: 3,
    image_pb2.PIXEL_FORMAT_RGBA8: 4,
}
EXTENSIONS = {
    "image/png": ".png",
    "image/webp": ".webp",
    "image/jpeg": ".jpg",
    "application/zip": ".zip",
    JSON: ".json",
    NPY: ".npy",
}


# Further endings that say what a file is.
_SAME = {".jpeg": ".jpg"}


@dataclass(frozen=True, slots=True)
class Removal:
    """One finished image.

    Attributes:
        data: the file's bytes; for raw results the pixels, rows tightly packed; empty for those in
            shared memory.
        media_type: "image/png", "image/webp", "image/jpeg", "application/zip",
            "application/json", "application/x-npy"; "" for raw pixels.
        width: columns of the result.
        height: rows of the result.
        report: what happened: model, timings, subject box, coverage, notes.
        channels: samples a pixel in `data` for raw results (1, 3 or 4), 0 for files.
        frame_id: the frame's number in its stream; 0 outside of streams.
        pts: the frame's presentation time as the caller gave it.
        dropped_before: frames skipped just before this one (`delivery="latest"` only).
        unchanged: the frame equalled the one before and has its result (`skip_unchanged` only).
        pixels: of a result in shared memory, where the server wrote it; its frame of the ring stays
            taken as long as the array is held; of a `CudaFrame` its `out`, on the GPU. None for all
            others.
        rle: the mask, for `output="rle"`; `data` is then a JSON file of it.
        polygons: its outlines, for `output="polygons"`; `data` is then a JSON file of them.
        tensor: for `output="tensor"`, (1, 3, H, W) or (H, W, 3); `data` is then NumPy's file of it.
    """

    data: bytes
    media_type: str
    width: int
    height: int
    report: report_pb2.Report
    channels: int = 0
    frame_id: int = 0
    pts: int = 0
    dropped_before: int = 0
    unchanged: bool = False
    pixels: NDArray[np.uint8] | None = None
    rle: Rle | None = None
    polygons: list[Polygon] | None = None
    tensor: NDArray[Any] | None = None

    def __repr__(self) -> str:
        """What it is, without the megabytes."""
        kind = self.media_type or ("pixels" if self.pixels is None else "shared pixels")
        nbytes = len(self.data) or self.width * self.height * self.channels
        return f"<Removal {self.width}x{self.height} {kind}, {nbytes} bytes, frame {self.frame_id}>"

    @property
    def extension(self) -> str:
        """The file name's ending that fits, with the dot; ".raw" for pixels."""
        return EXTENSIONS.get(self.media_type, ".raw")

    def save(self, target: str | os.PathLike[str] | BinaryIO, *, replace: bool = True) -> None:
        """Writes `data` to a path or an open binary file; a path is replaced in one step.

        A crash leaves the old file or the new one, never half of one.

        Args:
            target: a path whose folder is there, or the file.
            replace: False keeps what a path holds already.

        Raises:
            InvalidRequest: the path's ending is that of another kind of file, or the result is on a
                GPU.
            FileExistsError: something is at the path, and `replace` is False.
        """
        data = self.data
        if self.pixels is not None:
            if not hasattr(self.pixels, "tobytes"):  # PyTorch's, of a `CudaFrame`
                raise InvalidRequest(
                    "the result is on a GPU: bring .pixels to the host and save that, or ask for "
                    'format="png", which comes in the message'
                )
            data = self.pixels.tobytes()
        if not isinstance(target, str | os.PathLike):
            target.write(data)
            return
        self._check_ending(Path(target))
        write_file(Path(target), data, replace=replace)

    def _check_ending(self, path: Path) -> None:
        ending = path.suffix.lower()
        if _SAME.get(ending, ending) in {*EXTENSIONS.values()} - {self.extension}:
            raise InvalidRequest(
                f"the result is {self.media_type or 'raw pixels'}, {path.name} would be another "
                f"kind of file: ask for that with format=, or name it {path.stem}{self.extension}"
            )

    def array(self) -> NDArray[np.uint8]:
        """The pixels, (H, W) for an alpha, (H, W, 3) RGB or (H, W, 4) RGBA, uint8.

        Raises:
            MattestreamError: the result is a zip, which holds two pictures, or the file is damaged.
        """
        if self.pixels is not None:
            return self.pixels
        if self.channels:
            shape = (self.height, self.width, self.channels)
            pixels = np.frombuffer(self.data, np.uint8).reshape(shape)
            return pixels[:, :, 0] if self.channels == 1 else pixels
        if self.media_type in {JSON, NPY}:
            raise MattestreamError(
                "the result is a mask or a tensor, no picture: read .rle (with "
                "mattestream.shapes.rle_mask), .polygons or .tensor"
            )
        if self.media_type == "application/zip":
            raise MattestreamError(
                "the result is a zip of two pictures: open .data with zipfile, or ask for another "
                "format"
            )
        from PIL import Image  # takes 40 ms to import, and raw results do without

        try:
            with Image.open(io.BytesIO(self.data)) as image:
                return np.asarray(image)
        except OSError as error:
            raise MattestreamError(f"the {self.media_type} is damaged: {error}") from error


@dataclass(frozen=True, slots=True)
class FrameFailed:
    """One frame that could not be worked on; the stream goes on.

    Attributes:
        frame_id: the frame's number.
        pts: the frame's presentation time as the caller gave it.
        error: what `remove` would have raised for it.
        report: what happened as far as the frame came.
        dropped_before: frames skipped just before this one.
    """

    frame_id: int
    pts: int
    error: MattestreamError
    report: report_pb2.Report
    dropped_before: int = 0


def removal(response: removal_pb2.RemoveResponse, shared: FrameInPlace | None = None) -> Removal:
    """What `Remove` answered, for the frame that was sent where it lay in shared memory."""
    return _removal(response.result, response.report, shared)


def frame_outcome(
    message: removal_pb2.FrameResult, shared: FrameInPlace | None = None
) -> Removal | FrameFailed:
    """What a stream answered for one frame, which lay in shared memory where `shared` is set."""
    if message.HasField("error"):
        error = message.error
        return FrameFailed(
            frame_id=message.frame_id,
            pts=message.pts,
            error=from_frame_error(error, message.report.request_id),
            report=message.report,
            dropped_before=message.dropped_before,
        )
    return _removal(
        message.result,
        message.report,
        shared,
        frame_id=message.frame_id,
        pts=message.pts,
        dropped_before=message.dropped_before,
        unchanged=message.unchanged,
    )


def _removal(
    result: image_pb2.Result,
    report: report_pb2.Report,
    shared: FrameInPlace | None,
    *,
    frame_id: int = 0,
    pts: int = 0,
    dropped_before: int = 0,
    unchanged: bool = False,
) -> Removal:
    kind = result.WhichOneof("data")
    media_type, channels, pixels = "", 0, None
    shape = read_shape(result)
    if kind == "encoded":
        data, media_type = result.encoded.data, result.encoded.media_type
    elif kind == "raw":
        data, channels = _pixels(result.raw), _CHANNELS.get(result.raw.layout.format, 0)
    elif kind == "shared_memory" and isinstance(shared, SharedFrame):
        data, pixels = b"", shared.pixels(result.shared_memory)
        channels = 1 if pixels.ndim == 2 else pixels.shape[2]
    elif kind == "cuda_memory" and isinstance(shared, CudaFrame):
        data, pixels = b"", shared.pixels(result.cuda_memory)
        channels = _CHANNELS[result.cuda_memory.layout.format]
    elif shape is not None:
        data, media_type = shape.data, shape.media_type
    else:
        raise ServerError(
            f"the server answered with {kind or 'no data'}, this client reads files, raw "
            "pixels, masks and tensors: use a client of the server's version",
            request_id=report.request_id,
        )
    return Removal(
        data=data,
        media_type=media_type,
        width=result.width,
        height=result.height,
        report=report,
        channels=channels,
        frame_id=frame_id,
        pts=pts,
        dropped_before=dropped_before,
        unchanged=unchanged,
        pixels=pixels,
        rle=shape.rle if shape else None,
        polygons=shape.polygons if shape else None,
        tensor=shape.tensor if shape else None,
    )


def _pixels(raw: image_pb2.RawImage) -> bytes:
    """The pixels of a raw result, unpacked and of the length that its layout says."""
    layout = raw.layout
    channels = _CHANNELS.get(layout.format)
    if channels is None:
        name = image_pb2.PixelFormat.Name(layout.format)
        raise ServerError(f"the server answered with {name}, which this client does not know")
    expected = layout.width * layout.height * channels
    if raw.compression == image_pb2.COMPRESSION_ZLIB:
        # The limit keeps a hostile server from filling the client's memory.
        unpack = zlib.decompressobj()
        data = unpack.decompress(raw.data, expected + 1)
    else:
        data = raw.data
    if len(data) != expected:
        raise ServerError(
            f"the server's pixels are {len(data)} bytes, {layout.width}x{layout.height} with "
            f"{channels} channels takes {expected}"
        )
    return data
