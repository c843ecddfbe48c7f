"""Keywords about how a result looks: what lies behind the subject, how it is cut, its shadow; and
the messages made of them.

Called by `mattestream.treatment`, whose keywords these are a part of, and by `mattestream.request`
for `background`. Short forms are read here, so that the command line has the same: "8%", "16:9",
"800x600", "0.5,1". What a number may be is the server's to judge.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypedDict

from mattestream.errors import InvalidRequest
from mattestream.v1 import image_pb2, options_pb2
from mattestream.values import UINT32_MAX, choose, number, whole

if TYPE_CHECKING:
    from mattestream.picture import ImageInput

FitName = Literal["cover", "contain", "tile"]
ShadowName = Literal["contact", "drop"]
LookName = Literal["studio", "avatar"]

FITS: Mapping[str, options_pb2.Fit.ValueType] = {
    "cover": options_pb2.FIT_COVER,
    "contain": options_pb2.FIT_CONTAIN,
    "tile": options_pb2.FIT_TILE,
}
SHADOWS: Mapping[str, options_pb2.ShadowKind.ValueType] = {
    "contact": options_pb2.SHADOW_KIND_CONTACT,
    "drop": options_pb2.SHADOW_KIND_DROP,
}
BLUR, INPAINT = "blur", "inpaint"
# What a look stands for; a keyword given besides goes before it.
LOOKS: Mapping[str, Mapping[str, Any]] = {
    "studio": {"background": "white", "shadow": "contact", "margin": "8%", "flush": True},
    "avatar": {"background": "#e6e8ec", "circle": True, "margin": "8%", "flush": True},
}


class LookKeywords(TypedDict, total=False):
    """Keywords of `remove` and `remove_stream` for the look of a result; None: the default.

    Pixels are those of the source. Any of `margin` to `flush` cuts the result to the subject.
    """

    look: LookName | None  # "studio": white, contact shadow, margin; "avatar": a circle of grey
    background_fit: FitName | None  # of a picture: default "cover"
    background_position: str | tuple[float, float] | None  # (0..1, 0..1), left and top are 0
    background_color: str | None  # where the picture does not reach; default white
    background_blur_px: float | None  # 0..200, standard deviation of "blur"; default: 1 % of the
    # longer side
    crop: bool | None  # cut tight around the subject
    margin: str | float | Sequence[str | float] | None  # px or "8%"; one, or top, right, bottom,
    # left
    aspect: str | float | None  # width / height, or "16:9"
    canvas: str | tuple[int, int] | None  # (width, height) of the result; 0: as it falls out;
    # "source": of the source's size, and the subject keeps its own
    scale: float | None  # 0.1..1, share of the canvas that the subject's longer side takes
    position: str | tuple[float, float] | None  # where the subject stands; default (0.5, 0.5)
    circle: bool | None  # cut to a circle
    flush: bool | None  # where the picture's edge cuts the subject off, so does the result's
    shadow: ShadowName | None  # laid under the subject; default: none
    shadow_opacity: float | None  # 0..1; default 0.5
    shadow_blur_px: float | None  # 0..200; default 2 % of the subject's height
    shadow_offset_px: str | tuple[float, float] | None  # (right, down); default by the kind


_CROPS = ("crop", "margin", "aspect", "canvas", "scale", "position", "circle", "flush")
_OF_A_PICTURE = ("background_fit", "background_position", "background_color")
_SIDES = ("top", "right", "bottom", "left")


def with_look(
    given: Mapping[str, Any], background: ImageInput | None
) -> tuple[dict[str, Any], ImageInput | None]:
    """The keywords and the background with what `look` stands for filled in.

    Raises:
        InvalidRequest: there is no such look.
    """
    keywords = {name: value for name, value in given.items() if value is not None}
    name = keywords.pop("look", None)
    if name is None:
        return keywords, background
    preset = dict(choose("look", name, LOOKS))
    behind = preset.pop("background", None)
    return preset | keywords, behind if background is None else background


def fill_background(
    message: options_pb2.Background,
    background: ImageInput,
    given: Mapping[str, Any],
    read: Callable[[ImageInput], image_pb2.Image],
) -> None:
    """Puts what lies behind the subject into `message`.

    Args:
        message: empty.
        background: a colour's name or hex, "blur", "inpaint", or a picture; text that has a dot or
            a slash is a picture's path.
        given: `LookKeywords` without None.
        read: a picture as a message.

    Raises:
        InvalidRequest: a value does not fit its field, or belongs to another kind of background.
        BadImage: the picture cannot be read.
    """
    kind = _kind(background)
    for name in _OF_A_PICTURE:
        if name in given and kind != "picture":
            raise InvalidRequest(f"{name} is set, but the background is no picture: leave it out")
    if "background_blur_px" in given and kind != BLUR:
        raise InvalidRequest('background_blur_px is set: give background="blur" with it')
    if kind == BLUR:
        message.blur.SetInParent()
        if "background_blur_px" in given:
            message.blur.radius_px = number("background_blur_px", given["background_blur_px"])
    elif kind == INPAINT:
        message.inpaint.SetInParent()
    elif kind == "color":
        assert isinstance(background, str)
        message.color = background
    else:
        picture = message.image
        picture.image.CopyFrom(read(background))
        if "background_fit" in given:
            picture.fit = choose("background_fit", given["background_fit"], FITS)
        if "background_position" in given:
            position = _pair("background_position", given["background_position"])
            picture.position_x, picture.position_y = position
        picture.color = given.get("background_color", "")


def refuse_without_background(given: Mapping[str, Any]) -> None:
    """Nothing when no keyword is about a picture behind the subject.

    Raises:
        InvalidRequest: one is, and nothing is there.
    """
    for name in _OF_A_PICTURE:
        if name in given:
            raise InvalidRequest(
                f"{name} is set, but there is no background: give a picture for it, or leave it out"
            )


def fill_look(message: options_pb2.RemoveOptions, given: Mapping[str, Any]) -> None:
    """Puts crop and shadow of `given`, `LookKeywords` without None, into `message`.

    Raises:
        InvalidRequest: a value cannot be read, or does not fit its field.
    """
    if any(given.get(name, False) is not False for name in _CROPS):
        _fill_crop(message.crop, given)
    shadow = message.shadow
    if "shadow" in given:
        shadow.kind = choose("shadow", given["shadow"], SHADOWS)
    if "shadow_opacity" in given:
        shadow.opacity = number("shadow_opacity", given["shadow_opacity"])
    if "shadow_blur_px" in given:
        shadow.blur_px = number("shadow_blur_px", given["shadow_blur_px"])
    if "shadow_offset_px" in given:
        right, down = _pair("shadow_offset_px", given["shadow_offset_px"])
        shadow.offset_x_px, shadow.offset_y_px = right, down


def _fill_crop(crop: options_pb2.Crop, given: Mapping[str, Any]) -> None:
    crop.SetInParent()
    if "margin" in given:
        for side, length in zip(_SIDES, _margins(given["margin"]), strict=True):
            _fill_length(getattr(crop, f"margin_{side}"), length)
    if "aspect" in given:
        crop.aspect = _aspect(given["aspect"])
    if given.get("canvas") == "source":
        crop.keep_size = True
    elif "canvas" in given:
        crop.canvas_width, crop.canvas_height = _canvas(given["canvas"])
    if "scale" in given:
        crop.scale = number("scale", given["scale"])
    if "position" in given:
        crop.position_x, crop.position_y = _pair("position", given["position"])
    crop.circle = bool(given.get("circle", False))
    crop.flush = bool(given.get("flush", False))


def _kind(background: ImageInput) -> str:
    if not isinstance(background, str):
        return "picture"
    if background in {BLUR, INPAINT}:
        return background
    is_path = "." in background or "/" in background or os.sep in background
    return "picture" if is_path else "color"


def _margins(value: Any) -> list[Any]:
    """Top, right, bottom, left, of one for all or of four."""
    if isinstance(value, str):
        value = value.split(",")
    parts = list(value) if isinstance(value, Sequence) else [value]
    if len(parts) == 1:
        parts *= len(_SIDES)
    if len(parts) != len(_SIDES):
        raise InvalidRequest(
            f"margin has {len(parts)} values: give one, or four (top, right, bottom, left)"
        )
    return parts


def _fill_length(message: options_pb2.Length, value: Any) -> None:
    text = value.strip() if isinstance(value, str) else value
    if isinstance(text, str) and text.endswith("%"):
        message.percent = _number("margin", text[:-1], 'pixels, or per cent as in "8%"')
    else:
        message.px = _number("margin", text, 'pixels, or per cent as in "8%"')


def _aspect(value: Any) -> float:
    allowed = 'a number, or two as in "16:9"'
    if isinstance(value, str) and ":" in value:
        width, height = (_number("aspect", part, allowed) for part in value.split(":", 1))
        if height == 0:
            raise InvalidRequest(f"aspect is {value!r}: its height must be above 0")
        return width / height
    return _number("aspect", value, allowed)


def _canvas(value: Any) -> tuple[int, int]:
    allowed = (
        'width and height, as in (800, 600) or "800x600", with 0 for what shall fall out, or '
        '"source"'
    )
    parts = value.lower().split("x") if isinstance(value, str) else value
    if not isinstance(parts, Sequence) or len(parts) != 2:
        raise InvalidRequest(f"canvas is {value!r}: give {allowed}")
    sides = [part.strip() if isinstance(part, str) else part for part in parts]
    read: list[Any] = [
        int(side) if isinstance(side, str) and side.isdecimal() else side for side in sides
    ]
    width, height = (whole("canvas", side, 0, UINT32_MAX, f"for {allowed}") for side in read)
    return width, height


def _pair(name: str, value: Any) -> tuple[float, float]:
    allowed = 'two numbers, as in (0.5, 1) or "0.5,1"'
    parts = value.split(",") if isinstance(value, str) else value
    if not isinstance(parts, Sequence) or len(parts) != 2:
        raise InvalidRequest(f"{name} is {value!r}: give {allowed}")
    first, second = (_number(name, part, allowed) for part in parts)
    return first, second


def _number(name: str, value: Any, allowed: str) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        raise InvalidRequest(f"{name} has {value!r}: give {allowed}") from None
