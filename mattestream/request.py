"""Keyword arguments to messages: the one place where a request is put together.

Called by both clients and by the CLI, whose local mode hands the same messages to `server.options`.
Only what cannot be written into a message is refused here; ranges and combinations are the server's
to judge, so that every caller gets the same sentence.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Unpack

import numpy as np

from mattestream.errors import InvalidRequest
from mattestream.keywords import (
    DELIVERIES,
    FORMATS,
    OUTPUTS,
    DeliveryName,
    FormatName,
    OutputName,
    RemoveKeywords,
    SegmentKeywords,
    StreamKeywords,
    check_known,
)
from mattestream.look import BLUR, fill_background, refuse_without_background, with_look
from mattestream.picture import ImageInput, build_image, is_pillow
from mattestream.shared_frame import FrameInPlace
from mattestream.subject import fill_subject
from mattestream.treatment import TreatmentKeywords, fill_treatment
from mattestream.v1 import image_pb2, options_pb2, removal_pb2
from mattestream.values import UINT32_MAX, choose, number, whole

# What the fields can hold; narrower ranges are the server's rules.
_UINT64_MAX = 2**64 - 1
_INT64_MIN, _INT64_MAX = -(2**63), 2**63 - 1


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
    check_known(treatment, RemoveKeywords)
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


def build_request(image: ImageInput, keywords: RemoveKeywords) -> removal_pb2.RemoveRequest:
    """One image and its options as the request of `Remove`."""
    request = removal_pb2.RemoveRequest(image=build_image(image), options=build_options(**keywords))
    if isinstance(image, FrameInPlace):
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
    check_known(given, SegmentKeywords)
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


def check_frames(images: object) -> None:
    """Nothing, when `images` may be the frames of a stream; text and one picture iterate, too.

    Raises:
        InvalidRequest: it is a single picture.
    """
    one = isinstance(images, str | os.PathLike | bytes | bytearray | memoryview) or is_pillow(
        images
    )
    if isinstance(images, np.ndarray):  # (N, H, W) and (N, H, W, C) are frames
        one = images.ndim < 3 or (images.ndim == 3 and images.shape[2] in {1, 3, 4})
    if one or callable(getattr(images, "read", None)):
        raise InvalidRequest(
            f"remove_stream takes an iterable of pictures, this is one ({type(images).__name__}): "
            "give [picture], or call remove"
        )


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
    if isinstance(frame.image, FrameInPlace) and (target := frame.image.target()) is not None:
        if isinstance(target, image_pb2.SharedMemoryRange):
            message.shared_memory_output.CopyFrom(target)
        else:
            message.cuda_memory_output.CopyFrom(target)
    return removal_pb2.RemoveStreamRequest(frame=message)
