"""What is put behind the subject: `background`. Called by `server.options.reader`."""

from __future__ import annotations

from collections.abc import Mapping

from kernels.backdrop import BackgroundFit
from mattestream.v1 import options_pb2
from server.behind import Picture
from server.colors import read_color
from server.job import (
    WHITE,
    Behind,
    BlurBehind,
    Color,
    InpaintBehind,
    Output,
    PictureBehind,
)
from server.option_rules import Built, Choice, InvalidOption, Number, Rule
from server.options.source import read_source

_FITS: Mapping[int, BackgroundFit] = {
    options_pb2.FIT_UNSPECIFIED: "cover",
    options_pb2.FIT_COVER: "cover",
    options_pb2.FIT_CONTAIN: "contain",
    options_pb2.FIT_TILE: "tile",
}
_SHARE = Number(0, 1, is_built=True)

NEUTRAL = Color(128, 128, 128)  # behind the subject of a tensor, unless another is asked for

RULES: Mapping[str, Rule] = {
    "background.color": Built(),
    "background.image.image": Built(),
    "background.image.fit": Choice(frozenset(_FITS)),
    "background.image.position_x": _SHARE,
    "background.image.position_y": _SHARE,
    "background.image.color": Built(),
    "background.blur.radius_px": Number(0, 200, is_built=True),
}


def read_background(message: options_pb2.Background, output: Output) -> Behind | None:
    """What lies behind the subject; None for outputs without a background.

    Raises:
        InvalidOption: there is one and the output has no place for it, or there is none and it
            needs one; or it is no colour, or no picture.
    """
    kind = message.WhichOneof("kind")
    if output is Output.TENSOR and kind is None:
        return NEUTRAL
    if not output.has_background:
        if kind is not None:
            raise InvalidOption(
                f"option background.{kind} is set, but the output is {output}: choose "
                "OUTPUT_COMPOSITE, or leave background unset"
            )
        return None
    match kind:
        case None:
            raise InvalidOption(
                "OUTPUT_COMPOSITE needs a background: set background.color, for instance to "
                '"white", or background.image, background.blur or background.inpaint'
            )
        case "color":
            return _color(message.color, "background.color")
        case "image":
            return _picture(message.image)
        case "blur":
            blur = message.blur
            return BlurBehind(blur.radius_px) if blur.HasField("radius_px") else BlurBehind()
        case "inpaint":
            return InpaintBehind()


def _picture(message: options_pb2.BackgroundImage) -> PictureBehind:
    x = message.position_x if message.HasField("position_x") else 0.5
    y = message.position_y if message.HasField("position_y") else 0.5
    color = _color(message.color, "background.image.color") if message.color else WHITE
    source = read_source(message.image, "option background.image.image")
    return PictureBehind(Picture(source), _FITS[message.fit], (x, y), color)


def _color(text: str, path: str) -> Color:
    try:
        return read_color(text)
    except ValueError as error:
        raise InvalidOption(f"option {path}: {error}") from None
