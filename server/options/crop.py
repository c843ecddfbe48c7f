"""Which part of the picture is shown, and how large: `crop`. Called by `server.options.reader`."""

from __future__ import annotations

from collections.abc import Mapping

from kernels.framing import NO_MARGIN, Crop, Length
from mattestream.v1 import options_pb2
from server.option_rules import UINT32_MAX, Built, InvalidOption, Number, Rule

_SIDES = ("top", "right", "bottom", "left")
_PIXELS = Number(0, 500, is_built=True)
_PERCENT = Number(0, 50, is_built=True)
_SHARE = Number(0, 1, is_built=True)
_COUNT = Number(0, UINT32_MAX, is_built=True)  # `server.looks` knows the server's limits

RULES: Mapping[str, Rule] = {
    **{f"crop.margin_{side}.px": _PIXELS for side in _SIDES},
    **{f"crop.margin_{side}.percent": _PERCENT for side in _SIDES},
    "crop.aspect": Number(0.1, 10, is_built=True),
    "crop.canvas_width": _COUNT,
    "crop.canvas_height": _COUNT,
    "crop.scale": Number(0.1, 1, is_built=True),
    "crop.position_x": _SHARE,
    "crop.position_y": _SHARE,
    "crop.circle": Built(),
    "crop.keep_size": Built(),
    "crop.flush": Built(),
}


def read_crop(message: options_pb2.RemoveOptions) -> Crop | None:
    """What is shown; None for the whole source. An empty crop cuts tight around the subject.

    Raises:
        InvalidOption: a margin says no length, or two wishes contradict each other.
    """
    if not message.HasField("crop"):
        return None
    crop = message.crop
    margins = {f"margin_{side}": _length(crop, side) for side in _SIDES}
    try:
        return Crop(
            **margins,
            aspect=crop.aspect if crop.HasField("aspect") else None,
            canvas_width=crop.canvas_width,
            canvas_height=crop.canvas_height,
            scale=crop.scale if crop.HasField("scale") else None,
            position=(
                crop.position_x if crop.HasField("position_x") else 0.5,
                crop.position_y if crop.HasField("position_y") else 0.5,
            ),
            circle=crop.circle,
            keep_size=crop.keep_size,
            flush=crop.flush,
        )
    except ValueError as error:
        raise InvalidOption(f"option crop: {error}") from None


def _length(crop: options_pb2.Crop, side: str) -> Length:
    name = f"margin_{side}"
    if not crop.HasField(name):  # type: ignore[arg-type]  # one of the message's own names
        return NO_MARGIN
    margin: options_pb2.Length = getattr(crop, name)
    match margin.WhichOneof("value"):
        case "px":
            return Length(margin.px, "px")
        case "percent":
            return Length(margin.percent, "percent")
        case None:
            raise InvalidOption(
                f"option crop.{name} says no length: set its px (0 to 500) or its percent (0 to "
                "50), or leave it out"
            )
