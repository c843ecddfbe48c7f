"""remove.bg's parameters, read as its documentation describes them, and the options they stand for.

Called by `server.gateway.removebg`. Each error carries remove.bg's own word for it. What has no
counterpart here is in docs/removebg.md, which is made from the tests of this file.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from mattestream.v1 import options_pb2
from server.colors import read_color
from server.gateway.body import Form
from server.gateway.errors import BadRequest
from server.gateway.pictures import Size
from server.gateway.removebg_values import (
    NO_MARGINS,
    Length,
    read_bool,
    read_margins,
    read_opacity,
    read_position,
    read_roi,
    read_scale,
)
from server.job import Color
from server.shrink import size_within

T = TypeVar("T")

# Largest area of a result by `size`, megapixels; and of any PNG.
SIZES = {
    "preview": 0.25,
    "small": 0.25,
    "regular": 0.25,
    "medium": 1.5,
    "hd": 4.0,
    "full": 25.0,
    "4k": 25.0,
    "auto": 25.0,
    "50MP": 50.0,
}
MAX_PNG_MP = 10.0
FORMATS = ("auto", "png", "jpg", "webp", "zip")
# What `type` may be, and the word of the X-Type header for it. Nothing is classified here.
TYPES = {
    "auto": "other",
    "person": "person",
    "product": "product",
    "car": "car",
    "animal": "animal",
    "graphic": "graphics",
    "transportation": "transportation",
    "other": "other",
}
TYPE_LEVELS = ("none", "1", "2", "latest")
CHANNELS = ("rgba", "alpha")
SHADOWS = {
    "none": options_pb2.SHADOW_KIND_UNSPECIFIED,
    "drop": options_pb2.SHADOW_KIND_DROP,
    "3D": options_pb2.SHADOW_KIND_CONTACT,
    "car": options_pb2.SHADOW_KIND_CONTACT,
    "auto": options_pb2.SHADOW_KIND_CONTACT,
}
_PROTO_FORMATS = {
    "png": options_pb2.FORMAT_PNG,
    "jpg": options_pb2.FORMAT_JPEG,
    "webp": options_pb2.FORMAT_WEBP,
    "zip": options_pb2.FORMAT_ZIP,
}


@dataclass(frozen=True, slots=True)
class Wish:
    """What a caller of remove.bg asked for; defaults as there.

    Attributes:
        max_megapixels: of the result, by `size`.
        format: one of FORMATS.
        x_type: for the header; "" where the caller wants none.
        margins: top, right, bottom, left, around a cropped subject.
        scale: share of the picture that the subject takes, None: as it is.
        position: where it stands then, 0..1 each; None: where it stood.
        has_background: a colour or a picture lies behind the subject.
    """

    max_megapixels: float
    format: str
    x_type: str
    is_alpha: bool
    crop: bool
    margins: tuple[Length, Length, Length, Length]
    scale: float | None
    position: tuple[float, float] | None
    roi: tuple[Length, Length, Length, Length] | None
    shadow: options_pb2.ShadowKind.ValueType
    shadow_opacity: float | None
    color: Color | None
    has_picture: bool

    @property
    def has_background(self) -> bool:
        """True when something is put behind the subject."""
        return self.has_picture or self.color is not None

    @property
    def packed(self) -> str:
        """The format that it comes to, "auto" decided."""
        if self.format != "auto":
            return self.format
        is_opaque = self.has_picture or (self.color is not None and self.color.is_opaque)
        return "jpg" if is_opaque and not self.is_alpha else "png"

    @property
    def limit(self) -> float:
        """Most megapixels of the result."""
        return min(self.max_megapixels, MAX_PNG_MP if self.packed == "png" else 50.0)

    def options(self, source: Size) -> options_pb2.RemoveOptions:
        """The same in our own words, but for a background's picture.

        Args:
            source: the picture's size; lengths in `roi` are its pixels.

        Raises:
            BadRequest: the region lies outside the picture, or is empty.
        """
        made = options_pb2.RemoveOptions(format=_PROTO_FORMATS[self.packed])
        made.max_megapixels = self.limit
        if self.is_alpha:
            made.output = options_pb2.OUTPUT_ALPHA
        elif self.has_background or self.packed == "jpg":
            made.output = options_pb2.OUTPUT_COMPOSITE
        if self.color is not None:
            color = self.color
            made.background.color = (
                f"#{color.red:02x}{color.green:02x}{color.blue:02x}{color.alpha:02x}"
            )
        elif made.output == options_pb2.OUTPUT_COMPOSITE and not self.has_picture:
            made.background.color = "white"  # as remove.bg fills a JPG
        width, height = size_within(source.width, source.height, self.limit)
        self._place(made.crop, width, height)
        if self.roi is not None:
            made.subject.region.CopyFrom(_region(self.roi, source, width / source.width))
        if self.shadow:
            made.shadow.kind = self.shadow
            if self.shadow_opacity is not None:
                made.shadow.opacity = self.shadow_opacity
        return made

    def _place(self, crop: options_pb2.Crop, width: int, height: int) -> None:
        if self.crop:
            crop.SetInParent()
            if self.scale is None:
                for name, margin in zip(
                    ("top", "right", "bottom", "left"), self.margins, strict=True
                ):
                    kind = "percent" if margin.is_percent else "px"
                    setattr(getattr(crop, f"margin_{name}"), kind, margin.value)
        if self.scale is not None:
            crop.scale = self.scale
            if not self.crop:
                crop.canvas_width, crop.canvas_height = width, height
        if self.position is not None:
            crop.keep_size = self.scale is None and not self.crop
            crop.position_x, crop.position_y = self.position


def read_wish(form: Form) -> Wish:
    """What the form asks for. Fields that remove.bg does not have are ignored, as there.

    Raises:
        BadRequest: a value is none of those that remove.bg takes, with its word for that.
    """
    has_picture = bool(form.text("bg_image_url")) or _has_file(form, "bg_image_file")
    sources = [
        name
        for name, is_there in (
            ("bg_color", form.text("bg_color")),
            ("bg_image_url", form.text("bg_image_url")),
            ("bg_image_file", _has_file(form, "bg_image_file")),
        )
        if is_there
    ]
    if len(sources) > 1:
        raise BadRequest(
            f"there are {len(sources)} backgrounds ({', '.join(sources)}): send one of them",
            reason="multiple_bg_sources",
        )
    crop = _read(form, "crop", read_bool, False)
    scale = _read(form, "scale", read_scale, None)
    position = _read(form, "position", read_position, None)
    is_alpha = _choice(form, "channels", CHANNELS, "rgba") == "alpha"
    format_ = _choice(form, "format", FORMATS, "auto")
    color = _read(form, "bg_color", read_color, None)
    type_ = _choice(form, "type", tuple(TYPES), "auto")
    level = _choice(form, "type_level", TYPE_LEVELS, "1")
    opacity = _read(form, "shadow_opacity", read_opacity, None)
    _read(form, "semitransparency", read_bool, True)
    wish = Wish(
        max_megapixels=SIZES[_choice(form, "size", tuple(SIZES), "preview")],
        format=format_,
        x_type="" if level == "none" else TYPES[type_],
        is_alpha=is_alpha,
        crop=crop,
        margins=_read(form, "crop_margin", read_margins, NO_MARGINS),
        scale=scale,
        position=(0.5, 0.5) if position is None and scale is not None else position,
        roi=_read(form, "roi", read_roi, None),
        shadow=_shadow(form),
        shadow_opacity=opacity,
        color=color,
        has_picture=has_picture,
    )
    _check_together(wish, form)
    return wish


def _check_together(wish: Wish, form: Form) -> None:
    if wish.is_alpha and (wish.has_background or wish.shadow):
        raise BadRequest(
            "channels is alpha, which has no colours, but a background or a shadow is asked for: "
            "leave one of them out",
            reason="invalid_channels",
        )
    if wish.format == "zip" and (wish.is_alpha or wish.has_background):
        raise BadRequest(
            "format zip holds the subject's colours and its alpha apart: leave out the background "
            "and channels=alpha, or choose another format",
            reason="invalid_format",
        )
    if wish.format == "jpg" and wish.color is not None and not wish.color.is_opaque:
        raise BadRequest(
            "format jpg has no transparency, but bg_color has: choose png or webp, or an opaque "
            "colour",
            reason="invalid_format",
        )
    if (form.text("position") or "") == "original" and wish.scale is not None:
        raise BadRequest(
            "position is original and a scale is asked for: leave out one of them",
            reason="invalid_position",
        )
    if wish.crop and wish.scale is not None and wish.margins != NO_MARGINS:
        raise BadRequest(
            "crop_margin and scale both say how large the subject is: leave out one of them",
            reason="invalid_crop_margin",
        )


def _has_file(form: Form, name: str) -> bool:
    return name in form.files and bool(form.files[name].data)


def _read(form: Form, name: str, read: Callable[[str], T], default: T) -> T:
    text = form.text(name)
    if text is None:
        return default
    try:
        return read(text)
    except ValueError as error:
        reason = {"bg_color": "invalid_bg_color"}.get(name, f"invalid_{name}")
        raise BadRequest(f"{name} is {text[:60]!r}: {error}", reason=reason) from None


def _choice(form: Form, name: str, allowed: tuple[str, ...], default: str) -> str:
    def read(text: str) -> str:
        if text not in allowed:
            raise ValueError(f"it must be one of {', '.join(allowed)}")
        return text

    return _read(form, name, read, default)


def _shadow(form: Form) -> options_pb2.ShadowKind.ValueType:
    asked = form.text("shadow_type")
    if asked is not None:
        return SHADOWS[_choice(form, "shadow_type", tuple(SHADOWS), "none")]
    return SHADOWS["car" if _read(form, "add_shadow", read_bool, False) else "none"]


def _region(
    roi: tuple[Length, Length, Length, Length], source: Size, factor: float
) -> options_pb2.Box:
    sides = (source.width, source.height, source.width, source.height)
    left, top, right, bottom = (each.pixels(side) for each, side in zip(roi, sides, strict=True))
    if right > source.width or bottom > source.height:
        raise BadRequest(
            f"roi reaches to {right:g}x{bottom:g}, the picture has {source.width}x{source.height} "
            "pixels",
            reason="roi_exceeds_bounds",
        )
    if right <= left or bottom <= top:
        raise BadRequest(
            "roi is empty: its second corner must lie right of and below its first",
            reason="roi_region_empty",
        )
    return options_pb2.Box(
        left=left * factor, top=top * factor, right=right * factor, bottom=bottom * factor
    )
