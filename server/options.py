"""Messages to validated options: every field of RemoveOptions has its rule here, and nowhere else.

Called by the services for each request and by the CLI's local mode. A field that is not built yet
is refused by name unless its value asks for nothing; a field without a rule cannot slip through,
see `_check`. Fields that the contract itself does not know were refused before, by `server.wire`.
"""

from __future__ import annotations

from google.protobuf.message import Message

from mattestream import __version__
from mattestream.v1 import image_pb2, options_pb2
from server.colors import read_color
from server.job import (
    Color,
    ColorMatrix,
    Despill,
    Edges,
    EncodedSource,
    Format,
    Options,
    Output,
    PixelFormat,
    RawSource,
    Refine,
    Source,
)
from server.option_rules import RULES, Built, Choice, InvalidOption, NotBuilt, Number, shown

__all__ = ["InvalidOption", "NotBuilt", "read_options", "read_source"]

_OUTPUTS = {
    options_pb2.OUTPUT_CUTOUT: Output.CUTOUT,
    options_pb2.OUTPUT_ALPHA: Output.ALPHA,
    options_pb2.OUTPUT_COMPOSITE: Output.COMPOSITE,
}
_FORMATS = {
    options_pb2.FORMAT_PNG: Format.PNG,
    options_pb2.FORMAT_WEBP: Format.WEBP,
    options_pb2.FORMAT_JPEG: Format.JPEG,
    options_pb2.FORMAT_ZIP: Format.ZIP,
    options_pb2.FORMAT_RAW: Format.RAW,
    options_pb2.FORMAT_ZLIB: Format.ZLIB,
}
_PIXEL_FORMATS = {
    image_pb2.PIXEL_FORMAT_RGB8: PixelFormat.RGB8,
    image_pb2.PIXEL_FORMAT_BGR8: PixelFormat.BGR8,
    image_pb2.PIXEL_FORMAT_RGBA8: PixelFormat.RGBA8,
    image_pb2.PIXEL_FORMAT_NV12: PixelFormat.NV12,
    image_pb2.PIXEL_FORMAT_I420: PixelFormat.I420,
    image_pb2.PIXEL_FORMAT_GRAY8: PixelFormat.GRAY8,
}
_MATRICES = {
    image_pb2.COLOR_MATRIX_UNSPECIFIED: None,
    image_pb2.COLOR_MATRIX_BT601: ColorMatrix.BT601,
    image_pb2.COLOR_MATRIX_BT709: ColorMatrix.BT709,
}
_REFINES = {options_pb2.REFINE_OFF: Refine.OFF, options_pb2.REFINE_FAST: Refine.FAST}
_DESPILLS = {
    options_pb2.DESPILL_GREEN: Despill.GREEN,
    options_pb2.DESPILL_BLUE: Despill.BLUE,
}
_LOSSY_QUALITY = {Format.JPEG: 90, Format.ZIP: 90, Format.WEBP: 80}
_CARRIES_METADATA = {Format.PNG, Format.WEBP, Format.JPEG}


def read_options(message: options_pb2.RemoveOptions, *, stream: bool) -> Options:
    """The options that `message` asks for, defaults filled in.

    Args:
        message: as it came.
        stream: True for a stream's config, whose defaults are the raw alpha.

    Raises:
        InvalidOption: a value, or a combination, makes no sense; the sentence says what does.
        NotBuilt: an option of a later version.
    """
    _check(message, "")
    output = _OUTPUTS.get(message.output, Output.ALPHA if stream else Output.CUTOUT)
    format_ = _FORMATS.get(message.format, Format.RAW if stream else Format.PNG)
    background = _background(message, output)
    _check_format(output, format_, background)
    _check_colours(message.foreground, output)
    if message.quality and format_ not in _LOSSY_QUALITY:
        raise InvalidOption(
            f"option quality is {message.quality}, but format {format_.upper()} is lossless: leave "
            "quality unset, "
            "or choose WEBP, JPEG or ZIP"
        )
    if message.keep_metadata and format_ not in _CARRIES_METADATA:
        raise InvalidOption(
            f"option keep_metadata is set, but format {format_.upper()} has no place for it: leave "
            "it unset, or "
            "choose PNG, WEBP or JPEG"
        )
    return Options(
        model=message.model or None,
        output=output,
        format=format_,
        quality=message.quality or _LOSSY_QUALITY.get(format_, 90),
        background=background,
        keep_metadata=message.keep_metadata,
        refine=_REFINES.get(message.edges.refine),
        edges=_edges(message.edges),
        decontaminate=(
            message.foreground.decontaminate
            if message.foreground.HasField("decontaminate")
            else None
        ),
        despill=_DESPILLS.get(message.foreground.despill),
    )


def read_source(message: image_pb2.Image) -> Source:
    """The picture in `message`, its bytes untouched.

    Raises:
        InvalidOption: there is none, or a raw image's description makes no sense.
        NotBuilt: it comes in a way of a later version.
    """
    kind = message.WhichOneof("source")
    if kind == "encoded":
        return EncodedSource(message.encoded)
    if kind == "raw":
        return _raw(message.raw)
    if kind == "shared_memory":
        raise _not_built("image.shared_memory", "send the bytes in encoded or raw")
    raise InvalidOption(
        "the image is empty: set encoded (the bytes of an image file) or raw (pixels)"
    )


def _raw(message: image_pb2.RawImage) -> RawSource:
    layout = message.layout
    if layout.format not in _PIXEL_FORMATS:
        names = ", ".join(sorted(image_pb2.PixelFormat.Name(value) for value in _PIXEL_FORMATS))
        raise InvalidOption(
            f"image.raw.layout.format is {shown(layout, 'format')}: it must be one of {names}"
        )
    if layout.color_matrix not in _MATRICES:
        raise InvalidOption(
            f"image.raw.layout.color_matrix is {layout.color_matrix}: it must be "
            "COLOR_MATRIX_BT601, "
            "COLOR_MATRIX_BT709 or unset"
        )
    if message.compression != image_pb2.COMPRESSION_UNSPECIFIED:
        raise InvalidOption(
            f"image.raw.compression is {shown(message, 'compression')}: pixels of a request must "
            "be uncompressed, "
            "leave it unset"
        )
    return RawSource(
        data=message.data,
        format=_PIXEL_FORMATS[layout.format],
        width=layout.width,
        height=layout.height,
        strides=tuple(layout.strides),
        color_matrix=_MATRICES[layout.color_matrix],
        full_range=layout.full_range,
    )


def _background(message: options_pb2.RemoveOptions, output: Output) -> Color | None:
    kind = message.background.WhichOneof("kind")
    if output is not Output.COMPOSITE:
        if kind is not None:
            raise InvalidOption(
                f"option background.{kind} is set, but the output is {output}: choose "
                "OUTPUT_COMPOSITE, or leave "
                "background unset"
            )
        return None
    if kind is None:
        raise InvalidOption(
            'OUTPUT_COMPOSITE needs a background: set background.color, for instance to "white"'
        )
    try:
        return read_color(message.background.color)
    except ValueError as error:
        raise InvalidOption(f"option background.color: {error}") from None


def _edges(message: options_pb2.Edges) -> Edges:
    white = message.white_level if message.HasField("white_level") else 1.0
    if message.black_level >= white:
        raise InvalidOption(
            f"option edges.black_level is {message.black_level:g} and edges.white_level "
            f"{white:g}: the black level must be less than the white level"
        )
    return Edges(
        black_level=message.black_level,
        white_level=white,
        threshold=message.threshold if message.HasField("threshold") else None,
        remove_specks_px=message.remove_specks_px,
        fill_holes_px=message.fill_holes_px,
        shift_px=message.shift_px,
        feather_px=message.feather_px,
    )


def _check_colours(message: options_pb2.Foreground, output: Output) -> None:
    """What treats colours makes no sense where there are none."""
    if output is not Output.ALPHA:
        return
    for name, value in (("decontaminate", message.decontaminate), ("despill", message.despill)):
        if value:
            raise InvalidOption(
                f"option foreground.{name} is set, but the output is alpha, which has no colours: "
                f"choose OUTPUT_CUTOUT or OUTPUT_COMPOSITE, or leave it unset"
            )


def _check_format(output: Output, format_: Format, background: Color | None) -> None:
    if format_ is Format.ZIP and output is not Output.CUTOUT:
        raise InvalidOption(
            f"FORMAT_ZIP holds a cut-out's colour and alpha, but the output is {output}: choose "
            "OUTPUT_CUTOUT, or "
            "another format"
        )
    if format_ is not Format.JPEG:
        return
    if output is Output.CUTOUT:
        raise InvalidOption(
            "FORMAT_JPEG has no alpha, so it cannot hold a cut-out: choose PNG, WEBP or ZIP, or "
            "OUTPUT_COMPOSITE on "
            "an opaque background.color"
        )
    if background is not None and not background.is_opaque:
        raise InvalidOption(
            f"FORMAT_JPEG has no alpha, but background.color has an alpha of {background.alpha} of "
            "255: choose PNG or "
            "WEBP, or an opaque colour"
        )


def _check(message: Message, prefix: str) -> None:
    """Walks every field that is set, down to the leaves; each must have a rule that lets its value
    pass.
    """
    for field, value in message.ListFields():
        path = prefix + field.name
        rule = RULES.get(path)
        if isinstance(rule, Choice):
            rule.check(path, value, field)
        elif isinstance(rule, Number):
            rule.check(path, value)
        elif isinstance(rule, Built):
            continue
        elif rule is None and isinstance(value, Message):
            _check(value, f"{path}.")
        else:
            raise _not_built(f"option {path}", "leave it unset")


def _not_built(what: str, instead: str) -> NotBuilt:
    return NotBuilt(f"{what} is not built yet in this server ({__version__}): {instead}")
