"""Keyword arguments to messages: the one place where a request is put together.

Called by both clients and by the CLI, whose local mode hands the same messages to `server.options`.
Only what cannot be written into a message is refused here; ranges and combinations are the server's
to judge, so that every caller gets the same sentence.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal, Protocol, Unpack

import numpy as np
from numpy.typing import NDArray

from mattestream.errors import BadImage, InvalidRequest
from mattestream.look import BLUR, fill_background, refuse_without_background, with_look
from mattestream.shared_frame import SharedFrame
from mattestream.subject import SubjectKeywords, fill_subject
from mattestream.treatment import TreatmentKeywords, fill_treatment
from mattestream.v1 import image_pb2, options_pb2, removal_pb2
from mattestream.values import UINT32_MAX, choose, number, whole

__all__ = [
    "DELIVERIES",
    "FORMATS",
    "ON_ERROR",
    "OUTPUTS",
    "DeliveryName",
    "FormatName",
    "Frame",
    "ImageInput",
    "OutputName",
    "ReadableFile",
    "RemoveKeywords",
    "StreamKeywords",
    "build_frame",
    "build_image",
    "build_options",
    "build_request",
    "build_stream_config",
    "choose",
    "image_bytes",
]

OutputName = Literal["cutout", "alpha", "composite", "rle", "polygons", "tensor"]
FormatName = Literal["png", "webp", "jpeg", "zip", "raw", "zlib"]
DeliveryName = Literal["in_order", "latest"]

OUTPUTS: Mapping[str, options_pb2.Output.ValueType] = {
    "cutout": options_pb2.OUTPUT_CUTOUT,
    "alpha": options_pb2.OUTPUT_ALPHA,
    "composite": options_pb2.OUTPUT_COMPOSITE,
    "rle": options_pb2.OUTPUT_MASK_RLE,
    "polygons": options_pb2.OUTPUT_POLYGONS,
    "tensor": options_pb2.OUTPUT_TENSOR,
}
FORMATS: Mapping[str, options_pb2.Format.ValueType] = {
    "png": options_pb2.FORMAT_PNG,
    "webp": options_pb2.FORMAT_WEBP,
    "jpeg": options_pb2.FORMAT_JPEG,
    "zip": options_pb2.FORMAT_ZIP,
    "raw": options_pb2.FORMAT_RAW,
    "zlib": options_pb2.FORMAT_ZLIB,
}
DELIVERIES: Mapping[str, removal_pb2.Delivery.ValueType] = {
    "in_order": removal_pb2.DELIVERY_IN_ORDER,
    "latest": removal_pb2.DELIVERY_LATEST,
}
_CHANNELS = {
    1: image_pb2.PIXEL_FORMAT_GRAY8,
    3: image_pb2.PIXEL_FORMAT_RGB8,
    4: image_pb2.PIXEL_FORMAT_RGBA8,
}
# True where the first failed frame ends the stream.
ON_ERROR: Mapping[str, bool] = {"yield": False, "raise": True}
# What the fields can hold; narrower ranges are the server's rules.
_UINT64_MAX = 2**64 - 1
_INT64_MIN, _INT64_MAX = -(2**63), 2**63 - 1


class ReadableFile(Protocol):
    """An open binary file, or anything else with a `read` that gives bytes."""

    def read(self) -> bytes:
        """All of the rest."""


ImageInput = (
    bytes
    | bytearray
    | memoryview
    | str
    | os.PathLike[str]
    | NDArray[np.uint8]
    | BinaryIO
    | ReadableFile
    | image_pb2.Image
    | SharedFrame
)


class RemoveKeywords(TreatmentKeywords, total=False):
    """The options that `remove` and `remove_stream` take as keywords; all have a good default."""

    model: str | None  # default: the server's default model
    output: OutputName | None  # default: cutout for images, alpha for streams
    format: FormatName | None  # default: png for images, raw for streams
    quality: int | None  # 1..100, WebP and JPEG; default 80 and 90
    background: ImageInput | None  # CSS name, hex, "blur", "inpaint" or a picture; with one the
    # output is a composite; default white for a composite
    keep_metadata: bool  # carry ICC profile and resolution over; default False
    mask: ImageInput | None  # where about the subject is: 0 background, 255 subject
    trimap: ImageInput | None  # of the image's size: 0 background, 255 subject, between unknown
    options: options_pb2.RemoveOptions | None  # a ready message instead of the keywords above


class SegmentKeywords(SubjectKeywords, total=False):
    """The options that `segment` takes as keywords; without any: every subject by itself."""

    mask: ImageInput | None  # where about the subject is, an image of the same size
    model: str | None  # that answers prompts; without prompts the one that finds subjects
    format: FormatName | None  # "png" (the default), "raw" or "zlib", of each alpha
    max_subjects: int | None  # 1..64, default 16


class StreamKeywords(RemoveKeywords, total=False):
    """The options that `remove_stream` takes besides."""

    smooth: float | None  # 0..0.95, weight of the alpha before where nothing moves; default 0
    skip_unchanged: bool  # a frame that equals the one before has its result; default False
    resume_id: str | None  # a stream that ended goes on under this name; default: none does


@dataclass(frozen=True, slots=True)
class Frame:
    """One picture of a stream, with numbers of the caller's own that come back with its result."""

    image: ImageInput
    frame_id: int | None = None  # 0 or more; None: its place in the stream, from 0
    pts: int = 0  # presentation time in the caller's unit


def build_options(
    *,
    model: str | None = None,
    output: OutputName | None = None,
    format: FormatName | None = None,  # noqa: A002 - the option's name on the wire
    quality: int | None = None,
    background: ImageInput | None = None,
    keep_metadata: bool = False,
    mask: ImageInput | None = None,
    trimap: ImageInput | None = None,
    options: options_pb2.RemoveOptions | None = None,
    **treatment: Unpack[TreatmentKeywords],
) -> options_pb2.RemoveOptions:
    """The options as a message; unset fields take the server's defaults.

    Args:
        model: a name as `list_models` gives it.
        output: "cutout", "alpha" or "composite"; "rle", "polygons" or "tensor" for programs, which
            take no `format`.
        format: "png", "webp", "jpeg", "zip", "raw" or "zlib".
        quality: 1..100 for WebP and JPEG.
        background: CSS colour name or hex with 3, 4, 6 or 8 digits; "blur" or "inpaint"; or a
            picture, as `remove` takes one (a path has a dot or a slash). Makes a composite.
        keep_metadata: carry ICC profile and resolution into the result.
        mask: a rough mask of the one subject that is wanted, an image of the same size. For single
            images.
        trimap: what is known of the alpha, an image of the same size: 0 background, 255 subject,
            what lies between is solved. For single images.
        options: a ready message, for options that have no keyword; excludes all others.
        **treatment: of edges, colours and looks, see `TreatmentKeywords`.

    Raises:
        InvalidRequest: a name is unknown, a number does not fit its field, or `options` came
            together with a keyword.
        BadImage: a picture behind the subject cannot be read.
    """
    if options is not None:
        keywords = (model, output, format, quality, background, mask, trimap, *treatment.values())
        if keep_metadata or any(value is not None for value in keywords):
            raise InvalidRequest(
                "options= came together with other keywords: set those fields in the message, "
                "or leave options= out"
            )
        return options
    given, looks_background = with_look(treatment, background)
    if output in (None, "composite", "tensor"):
        background = looks_background
    message = options_pb2.RemoveOptions(keep_metadata=keep_metadata)
    if model is not None:
        message.model = model
    if output is not None:
        message.output = choose("output", output, OUTPUTS)
    if format is not None:
        message.format = choose("format", format, FORMATS)
    if quality is not None:
        # 0 means "default" on the wire; asked for by name it is a mistake.
        message.quality = whole("quality", quality, 1, UINT32_MAX, "from 1 to 100")
    background = _behind(background, output, given)
    if background is None:
        refuse_without_background(given)
    else:
        fill_background(message.background, background, given, build_image)
        if output is None:
            message.output = options_pb2.OUTPUT_COMPOSITE
    if mask is not None:
        message.subject.mask.CopyFrom(build_image(mask))
    if trimap is not None:
        message.subject.trimap.CopyFrom(build_image(trimap))
    fill_treatment(message, given)
    return message


def _behind(
    background: ImageInput | None, output: OutputName | None, given: Mapping[str, Any]
) -> ImageInput | None:
    """What lies behind the subject, where the other keywords say it as well."""
    if background is not None:
        return background
    if "background_blur_px" in given:
        return BLUR
    return "white" if output == "composite" else None


def build_image(image: ImageInput) -> image_pb2.Image:
    """The picture as a message.

    Args:
        image: the bytes of an image file, a path, an open binary file, pixels as a uint8 array of
            (H, W), (H, W, 1), (H, W, 3) RGB or (H, W, 4) RGBA, a frame of `SharedFrames`, or a
            ready message.

    Raises:
        BadImage: the file cannot be read, or the array has another type or shape.
    """
    if isinstance(image, SharedFrame | image_pb2.Image):
        return image.message() if isinstance(image, SharedFrame) else image
    if isinstance(image, bytes):
        return image_pb2.Image(encoded=image)
    if isinstance(image, bytearray | memoryview):
        return image_pb2.Image(encoded=bytes(image))
    if isinstance(image, np.ndarray):
        return image_pb2.Image(raw=_raw(image))
    if isinstance(image, str | os.PathLike):
        try:
            return image_pb2.Image(encoded=Path(image).read_bytes())
        except OSError as error:
            raise BadImage(f"cannot read {os.fspath(image)}: {error.strerror or error}") from error
    if callable(getattr(image, "read", None)):
        data = image.read()
        if isinstance(data, bytes):
            return image_pb2.Image(encoded=data)
        raise BadImage(f"the file object gave {type(data).__name__}: open it in binary mode ('rb')")
    raise BadImage(
        f"cannot take a {type(image).__name__} for an image: give bytes, a path, an open binary "
        "file or a uint8 array"
    )


def build_request(image: ImageInput, keywords: RemoveKeywords) -> removal_pb2.RemoveRequest:
    """One image and its options as the request of `Remove`."""
    request = removal_pb2.RemoveRequest(image=build_image(image), options=build_options(**keywords))
    if isinstance(image, SharedFrame):
        image.ask(request.options)
    return request


def build_segment_request(
    image: ImageInput, keywords: SegmentKeywords
) -> removal_pb2.SegmentRequest:
    """One image, and which of its subjects are wanted, as the request of `Segment`.

    Raises:
        InvalidRequest: a place, a name or a number does not fit its field.
        BadImage: as `build_image`.
    """
    given: dict[str, Any] = {name: value for name, value in keywords.items() if value is not None}
    if unknown := given.keys() - SegmentKeywords.__annotations__.keys():
        raise TypeError(f"unknown keyword {', '.join(sorted(unknown))}")
    request = removal_pb2.SegmentRequest(image=build_image(image), model=given.get("model", ""))
    fill_subject(request.subject, given)
    if "mask" in given:
        request.subject.mask.CopyFrom(build_image(given["mask"]))
    if "format" in given:
        request.format = choose("format", given["format"], FORMATS)
    if "max_subjects" in given:
        request.max_subjects = whole(
            "max_subjects", given["max_subjects"], 1, UINT32_MAX, "from 1 to 64"
        )
    return request


def build_stream_config(
    keywords: StreamKeywords, *, window: int, delivery: DeliveryName
) -> removal_pb2.RemoveStreamRequest:
    """The first message of a stream.

    Args:
        keywords: options of every frame.
        window: frames in work at once, 1 or more; 0 takes the server's setting.
        delivery: "in_order" or "latest".

    Raises:
        InvalidRequest: a name is unknown, or `window` is negative or no whole number.
    """
    window = whole("window", window, 0, UINT32_MAX, "of 1 or more, or 0 for the server's setting")
    own = {"smooth", "skip_unchanged", "resume_id"}
    options = {name: value for name, value in keywords.items() if name not in own}
    config = removal_pb2.StreamConfig(
        options=build_options(**options),  # type: ignore[arg-type]
        delivery=choose("delivery", delivery, DELIVERIES),
        window=window,
        resume_id=keywords.get("resume_id") or "",
        skip_unchanged=keywords.get("skip_unchanged", False),
    )
    smooth = keywords.get("smooth")
    if smooth is not None:
        config.options.temporal.smooth = number("smooth", smooth)
    return removal_pb2.RemoveStreamRequest(config=config)


def build_frame(frame: Frame, frame_id: int) -> removal_pb2.RemoveStreamRequest:
    """One frame as a message of a stream.

    Raises:
        InvalidRequest: `frame_id` or `pts` does not fit its field.
        BadImage: as `build_image`.
    """
    message = removal_pb2.Frame(
        frame_id=whole("frame_id", frame_id, 0, _UINT64_MAX, "from 0 to 2**64 - 1"),
        pts=whole("pts", frame.pts, _INT64_MIN, _INT64_MAX, "of 64 bits with a sign"),
        image=build_image(frame.image),
    )
    if isinstance(frame.image, SharedFrame) and (target := frame.image.target()) is not None:
        message.shared_memory_output.CopyFrom(target)
    return removal_pb2.RemoveStreamRequest(frame=message)


def image_bytes(message: image_pb2.Image) -> int:
    """Bytes of the picture itself, for a check against the message limit."""
    return len(message.encoded) if message.HasField("encoded") else len(message.raw.data)


def _raw(pixels: NDArray[Any]) -> image_pb2.RawImage:
    channels = pixels.shape[2] if pixels.ndim == 3 else 1
    if pixels.dtype != np.uint8 or pixels.ndim not in (2, 3) or channels not in _CHANNELS:
        raise BadImage(
            f"the array is {pixels.dtype} {pixels.shape}: give uint8 of (H, W), (H, W, 1), "
            "(H, W, 3) in RGB order or (H, W, 4) in RGBA order"
        )
    height, width = pixels.shape[:2]
    layout = image_pb2.PixelLayout(format=_CHANNELS[channels], width=width, height=height)
    return image_pb2.RawImage(layout=layout, data=pixels.tobytes())  # C order, whatever the strides
