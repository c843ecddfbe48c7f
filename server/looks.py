"""How a result looks: what lies behind the subject, its shadow, and the part that is shown.

    colours, alpha -> cut to the frame -> shadow under it -> on the background -> circle

Called by `server.finishing` once alpha and colours are final, for both pipelines. The plain cases,
a cut-out, an alpha or a composite on one colour of the whole source, cost what they did before.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from kernels import cpu
from kernels.backdrop import lay
from kernels.cpu.blur_background import blur_background
from kernels.cpu.composite_over import composite_over, over
from kernels.cpu.crop import (
    circle,
    crop_alpha,
    crop_background,
    crop_subject,
    middle_of,
    visible_box,
)
from kernels.cpu.inpaint import inpaint
from kernels.cpu.shadow import Shadow, lay_shadow, shadow
from kernels.framing import Crop, Frame, frame
from server.codecs.errors import ImageTooLarge
from server.codecs.header import Limits
from server.job import Behind, BlurBehind, Color, InpaintBehind, PictureBehind

U8 = NDArray[np.uint8]
# Of the source's longer side, at most 200 px of standard deviation.
BLUR_SHARE = 0.01
Wanted = Literal["cutout", "alpha", "composite", "colors"]


@dataclass(frozen=True, slots=True)
class Look:
    """Everything that is done to a finished subject; nothing unless it is set."""

    behind: Behind | None = None  # read for composites, which need one
    crop: Crop | None = None
    shadow: Shadow | None = None  # not read for alphas

    @property
    def is_plain(self) -> bool:
        """True when the GPU's own last pass makes all of it."""
        plain_behind = self.behind is None or isinstance(self.behind, Color)
        return plain_behind and self.crop is None and self.shadow is None


class Dressed(NamedTuple):
    """A result's pixels, and which part of the source they show."""

    pixels: U8  # (h, w) alpha, (h, w, 3) or (h, w, 4)
    alpha: U8  # (h, w), the subject's with its shadow; "colors" needs it beside the pixels
    frame: Frame | None  # None: the whole source


def dress(
    look: Look,
    wanted: Wanted,
    rgb_u8: U8,
    alpha_u8: U8,
    *,
    source_rgb_u8: U8 | None = None,
    limits: Limits | None = None,
) -> Dressed:
    """The result's pixels: alpha (h, w); cut-out (h, w, 4); composite (h, w, 3), or (h, w, 4) where
    what lies behind is translucent or the result is a circle; "colors" (h, w, 3), for a file of
    their own beside the alpha.

    Args:
        look: what to do.
        wanted: what to make.
        rgb_u8: (H, W, 3), the subject's colours.
        alpha_u8: (H, W), the subject's.
        source_rgb_u8: (H, W, 3), the source's own colours, where `rgb_u8` has others: what is
            blurred or filled in.
        limits: of the sizes of the result and of a picture behind it; None: none.

    Raises:
        ImageTooLarge: the crop asks for more pixels than the server makes.
        ValueError: a composite without anything behind it.
    """
    source = rgb_u8 if source_rgb_u8 is None else source_rgb_u8
    shown = None if look.crop is None else _frame(look.crop, alpha_u8, limits)
    rim = None
    if look.crop is not None and look.crop.circle and shown is not None:
        rim = circle(shown.columns, shown.rows)
    if wanted == "alpha":
        alpha = alpha_u8 if shown is None else crop_alpha(alpha_u8, shown)
        alpha = alpha if rim is None else cpu.multiply_alpha(alpha, rim)
        return Dressed(alpha, alpha, shown)
    rgb, alpha = (rgb_u8, alpha_u8) if shown is None else crop_subject(rgb_u8, alpha_u8, shown)
    if look.shadow is not None:
        scale = 1.0 if shown is None else shown.scale
        rgb, alpha = lay_shadow(rgb, alpha, shadow(alpha, look.shadow, scale))
    if wanted == "composite":
        pixels = _composite(
            look.behind, rgb, alpha, source=(source, alpha_u8), shown=shown, limits=limits
        )
        return Dressed(pixels if rim is None else _rounded(pixels, rim), alpha, shown)
    if rim is not None:
        alpha = cpu.multiply_alpha(alpha, rim)
    return Dressed(rgb if wanted == "colors" else cpu.cutout(rgb, alpha), alpha, shown)


def _frame(crop: Crop, alpha_u8: U8, limits: Limits | None) -> Frame:
    height, width = alpha_u8.shape
    # Without a subject the whole source stands for it: the result is empty, but has its size.
    whole = (0, 0, width, height)
    shown = frame(
        crop,
        visible_box(alpha_u8) or whole,
        (width, height),
        middle_of(alpha_u8) if crop.flush else None,
    )
    megapixels = shown.columns * shown.rows / 1e6
    if limits is not None and (
        megapixels > limits.max_megapixels or max(shown.columns, shown.rows) > limits.max_side_px
    ):
        raise ImageTooLarge(
            f"the crop gives a result of {shown.columns}x{shown.rows} ({megapixels:.1f} MP), this "
            f"server makes up to {limits.max_megapixels:g} MP and {limits.max_side_px} px a side: "
            "give a smaller canvas, a larger scale, or an aspect closer to the subject's"
        )
    return shown


def _composite(
    behind: Behind | None,
    rgb: U8,
    alpha: U8,
    *,
    source: tuple[U8, U8],
    shown: Frame | None,
    limits: Limits | None,
) -> U8:
    """The subject, cut to the frame already, on what lies behind it.

    `source` is the colours and the alpha of the whole source.
    """
    match behind:
        case None:
            raise ValueError("a composite needs a background; server.options should have said so")
        case Color():
            return cpu.composite(rgb, alpha, behind.rgba)
        case PictureBehind():
            return _on_picture(behind, rgb, alpha, limits)
        case BlurBehind(sigma_px):
            if sigma_px is None:
                sigma_px = BLUR_SHARE * max(source[1].shape)
            old = blur_background(*source, sigma_px) if sigma_px else source[0]
            return over(rgb, alpha, old if shown is None else crop_background(old, shown))
        case InpaintBehind():
            old = inpaint(*source)
            return old if shown is None else crop_background(old, shown)


def _on_picture(behind: PictureBehind, rgb: U8, alpha: U8, limits: Limits | None) -> U8:
    pixels = behind.picture.pixels(limits)
    height, width = alpha.shape
    rows, columns = pixels.shape[:2]
    at = lay((columns, rows), (width, height), behind.fit, behind.position)
    return composite_over(rgb, alpha, behind.color.rgba, pixels, at)


def _rounded(pixels: U8, rim: U8) -> U8:
    """The composite within the circle, (h, w, 4)."""
    if pixels.shape[2] == 3:
        return cpu.cutout(pixels, rim)
    alpha = cpu.multiply_alpha(np.ascontiguousarray(pixels[..., 3]), rim)
    return cpu.cutout(np.ascontiguousarray(pixels[..., :3]), alpha)
