"""What the clients' calls can be told by keyword: names, types and what they stand for on the wire.

Read by `mattestream.request`, which makes messages of them, and by the command line, whose flags
have the same words. `treatment`, `look`, `subject` and others hold a group of keywords each.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Literal

from mattestream.picture import ImageInput
from mattestream.subject import SubjectKeywords
from mattestream.treatment import TreatmentKeywords
from mattestream.v1 import options_pb2, removal_pb2

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
# True where the first failed frame ends the stream.
ON_ERROR: Mapping[str, bool] = {"yield": False, "raise": True}


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


# What only a stream can be told.
_OF_STREAMS = StreamKeywords.__annotations__.keys() - RemoveKeywords.__annotations__.keys()


def check_known(given: Iterable[str], known: type) -> None:
    """Nothing, when every name in `given` is a keyword of `known`, one of the classes above.

    Raises:
        TypeError: one is not, as Python itself says of a keyword that a function does not have.
    """
    names = known.__annotations__
    for name in sorted(set(given) - names.keys()):
        hint = ""
        if name in StreamKeywords.__annotations__:
            hint = (
                ": it belongs to remove_stream" if name in _OF_STREAMS else ": it belongs to remove"
            )
        elif near := difflib.get_close_matches(name, names, 1):
            hint = f": did you mean {near[0]}?"
        raise TypeError(f"unknown keyword {name}{hint}")
