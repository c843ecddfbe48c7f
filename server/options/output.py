"""What is made and how it is packed: `output`, `format`, `quality`, `keep_metadata`.

Called by `server.options.reader`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from mattestream.v1 import options_pb2
from server.job import Behind, Format, Output
from server.option_rules import Built, Choice, InvalidOption, Number, Rule, shown

_OUTPUTS = {
    options_pb2.OUTPUT_CUTOUT: Output.CUTOUT,
    options_pb2.OUTPUT_ALPHA: Output.ALPHA,
    options_pb2.OUTPUT_COMPOSITE: Output.COMPOSITE,
    options_pb2.OUTPUT_MASK_RLE: Output.MASK,
    options_pb2.OUTPUT_POLYGONS: Output.MASK,
    options_pb2.OUTPUT_TENSOR: Output.TENSOR,
}
# Outputs with a form of their own.
_OWN_FORMATS = {
    options_pb2.OUTPUT_MASK_RLE: Format.RLE,
    options_pb2.OUTPUT_POLYGONS: Format.POLYGONS,
    options_pb2.OUTPUT_TENSOR: Format.TENSOR,
}
_FORMATS = {
    options_pb2.FORMAT_PNG: Format.PNG,
    options_pb2.FORMAT_WEBP: Format.WEBP,
    options_pb2.FORMAT_JPEG: Format.JPEG,
    options_pb2.FORMAT_ZIP: Format.ZIP,
    options_pb2.FORMAT_RAW: Format.RAW,
    options_pb2.FORMAT_ZLIB: Format.ZLIB,
}
_LOSSY_QUALITY = {Format.JPEG: 90, Format.ZIP: 90, Format.WEBP: 80}
_CARRIES_METADATA = {Format.PNG, Format.WEBP, Format.JPEG}

RULES: Mapping[str, Rule] = {
    "output": Choice(frozenset(_OUTPUTS)),
    "format": Choice(frozenset(_FORMATS)),
    "quality": Number(1, 100, is_built=True),
    "keep_metadata": Built(),
    "max_megapixels": Number(0, 1000, neutral=0, is_built=True),
}


class Packing(NamedTuple):
    """How a result is packed."""

    format: Format
    quality: int  # 1..100


def output_of(message: options_pb2.RemoveOptions, *, stream: bool) -> Output:
    """What is asked for, or the default: of a stream the alpha."""
    return _OUTPUTS.get(message.output, Output.ALPHA if stream else Output.CUTOUT)


def read_packing(
    message: options_pb2.RemoveOptions,
    output: Output,
    background: Behind | None,
    *,
    stream: bool,
    is_circle: bool,
) -> Packing:
    """The format, which must be able to hold what is made, and its quality.

    Raises:
        InvalidOption: it cannot hold it, or quality or metadata mean nothing to it.
    """
    own = _OWN_FORMATS.get(message.output)
    if own is not None and message.format:
        raise InvalidOption(
            f"option format is {shown(message, 'format')}, but {shown(message, 'output')} has a "
            "form of its own: leave format unset"
        )
    format_ = own or _FORMATS.get(message.format, Format.RAW if stream else Format.PNG)
    _check_format(output, format_, background, is_circle=is_circle)
    if message.quality and format_ not in _LOSSY_QUALITY:
        raise InvalidOption(
            f"option quality is {message.quality}, but format {format_.upper()} is lossless: leave "
            "quality unset, or choose WEBP, JPEG or ZIP"
        )
    if message.keep_metadata and format_ not in _CARRIES_METADATA:
        raise InvalidOption(
            f"option keep_metadata is set, but format {format_.upper()} has no place for it: leave "
            "it unset, or choose PNG, WEBP or JPEG"
        )
    return Packing(format_, message.quality or _LOSSY_QUALITY.get(format_, 90))


def _check_format(
    output: Output, format_: Format, background: Behind | None, *, is_circle: bool
) -> None:
    if format_ is Format.ZIP and output is not Output.CUTOUT:
        raise InvalidOption(
            f"FORMAT_ZIP holds a cut-out's colour and alpha, but the output is {output}: choose "
            "OUTPUT_CUTOUT, or another format"
        )
    if format_ is not Format.JPEG:
        return
    if output is Output.CUTOUT:
        raise InvalidOption(
            "FORMAT_JPEG has no alpha, so it cannot hold a cut-out: choose PNG, WEBP or ZIP, or "
            "OUTPUT_COMPOSITE on an opaque background"
        )
    if background is not None and not background.is_opaque:
        raise InvalidOption(
            "FORMAT_JPEG has no alpha, but the background's color is translucent: choose PNG or "
            "WEBP, or an opaque colour"
        )
    if is_circle and output is Output.COMPOSITE:
        raise InvalidOption(
            "FORMAT_JPEG has no alpha, but outside of crop.circle a composite is transparent: "
            "choose PNG or WEBP, or leave the circle unset"
        )
