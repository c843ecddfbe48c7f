"""From the alpha of a model to finished pixels, on the host: edges, then colours, then what is put
behind.

    alpha -> refine -> levels -> specks, holes -> shift -> feather
          -> the subject's colours -> despill -> crop, shadow, background

Called by `server.host_pipeline` for every image, and by `server.device_pipeline` for what its fused
kernel does not do. Colours are un-mixed with the refined alpha, which is nearest to the truth; what
a caller does to the edge after that is taste, and shows more or less of those colours.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from kernels import cpu
from kernels.framing import Frame
from kernels.reference import AlphaStatistics
from server.codecs.header import Limits
from server.job import Edges, FlatUse, Format, Options, Output, Refine
from server.looks import Look, Wanted, dress
from server.refining import refine_alpha

U8 = NDArray[np.uint8]

_MADE: Mapping[Output, Wanted] = {
    Output.CUTOUT: "cutout",
    Output.ALPHA: "alpha",
    Output.COMPOSITE: "composite",
    Output.MASK: "alpha",
    Output.TENSOR: "composite",
}
_OWN_COLOURS = (
    "the image has an alpha of its own, so its colours were taken for the subject's: "
    "decontaminate was not applied"
)


@dataclass(frozen=True, slots=True)
class Defaults:
    """What a pipeline does where the caller leaves it the choice."""

    refine: Refine
    decontaminate: float  # 0..1; for outputs that have colours


# Both win in nearly every figure of docs/quality.md, for about 10 ms of a core at 1080p.
# `best` wins by more and takes 0.1 to 0.3 s: who wants it asks for it.
DEFAULTS = Defaults(refine=Refine.FAST, decontaminate=1.0)
# A GPU does both itself (server/device_edges.py), but what that costs there has not been measured:
# until it has, both are for those who ask.
DEVICE_DEFAULTS = Defaults(refine=Refine.OFF, decontaminate=0.0)
# Where the background's colour is known, the subject's own colours come with the alpha for nothing.
COLOURS_FOUND = Defaults(refine=Refine.OFF, decontaminate=1.0)
# A model whose pixel is no larger than this many of the picture's has seen all there is to see, as
# a chroma key does: its alpha is left as it is.
FINE_CELL_PX = 1.0


@dataclass(frozen=True, slots=True)
class Plan:
    """The options with the choices made that they leave open."""

    options: Options
    refine: Refine
    decontaminate: float  # 0..1

    @property
    def look(self) -> Look:
        """What lies behind and under the subject, and which part is shown."""
        return Look(self.options.background, self.options.crop, self.options.shadow)

    @property
    def is_plain(self) -> bool:
        """True when nothing is done to edges or colours, and the look is one of the plain ones."""
        return (
            self.look.is_plain
            and self.refine is Refine.OFF
            and self.decontaminate == 0
            and self.options.edges == Edges()
            and self.options.subject is None
            and self.options.trimap is None
            and self.options.despill is None
        )


@dataclass(frozen=True, slots=True)
class Finished:
    """Pixels ready for `server.codecs.encode`, and what the report says of them."""

    pixels: U8  # (h, w) alpha, (h, w, 3) RGB or (h, w, 4) RGBA
    alpha_u8: U8  # (h, w), as in the result
    statistics: AlphaStatistics
    refine: Refine
    decontaminate: float
    notes: tuple[str, ...] = ()
    shown: Frame | None = None  # the part of the source in the result; None: all of it


def needs_colours(options: Options) -> bool:
    """False when a model with a network looks at the source's pixels and nothing else does: not
    what is shown, nor what is done to the alpha.
    """
    return (
        options.output.has_colors
        or options.refine is not Refine.OFF
        or options.subject is not None
        or options.trimap is not None
        or options.flat_background.use is not FlatUse.OFF
        or options.max_megapixels > 0  # another size, and every length is in its pixels
    )


def plan(options: Options, defaults: Defaults, cell_px: float = math.inf) -> Plan:
    """What will be done for `options`.

    Args:
        options: as the caller gave them.
        defaults: for what they leave open.
        cell_px: as in `finish`.
    """
    refine = defaults.refine if options.refine is None else options.refine
    if options.refine is None and cell_px <= FINE_CELL_PX:
        refine = Refine.OFF
    if options.refine is None and options.trimap is not None:
        refine = Refine.BEST  # who draws a trimap wants what lies between solved
    if not options.output.has_colors:
        return Plan(options, refine, 0.0)  # there are no colours
    strength = defaults.decontaminate if options.decontaminate is None else options.decontaminate
    return Plan(options, refine, strength)


def finish(
    rgb_u8: U8,
    alpha_u8: U8,
    own_alpha_u8: U8 | None,
    wanted: Plan,
    *,
    cell_px: float | None = None,
    colours_u8: U8 | None = None,
    check: Callable[[], None] = lambda: None,
    limits: Limits | None = None,
) -> Finished:
    """The finished image.

    Args:
        rgb_u8: (H, W, 3), the source.
        alpha_u8: (H, W), the model's at the source's size, multiplied by `own_alpha_u8`.
        own_alpha_u8: (H, W), the source's own; None: it is opaque.
        wanted: what to make.
        cell_px: pixels of the source along one pixel of the model's own alpha; None: as of a model
            whose alpha is 320 px long.
        colours_u8: (H, W, 3), the subject's own, where what found the alpha found them too; they
            take the place of those that `decontaminate` would un-mix. Such an alpha is as fine as
            the picture: it is not refined.
        check: called between the parts of long work; what it raises ends that.
        limits: of the result's size and of a picture behind it; None: none.

    Raises:
        ImageTooLarge: the crop asks for more pixels than `limits` allow.
        InvalidOption: the picture behind the subject is none.
    """
    options = wanted.options
    if options.subject is not None:
        alpha_u8 = options.subject.choose(rgb_u8, alpha_u8, cell_px)
    # How sure the model was does not change by what is done afterwards; box and coverage do.
    seen = cpu.alpha_statistics(alpha_u8)
    own = own_alpha_u8
    if own is not None and cv2.minMaxLoc(own)[0] == 255:
        own = None
    refined, refine, notes = refine_alpha(
        rgb_u8,
        alpha_u8,
        own,
        options,
        wanted.refine,
        cell_px=cell_px,
        is_at_full_size=colours_u8 is not None,
        check=check,
    )
    alpha = shape(refined, options.edges)
    statistics = seen
    if alpha is not alpha_u8:
        after = cpu.alpha_statistics(alpha)
        statistics = AlphaStatistics(after.box, after.coverage, seen.uncertainty)
    strength = wanted.decontaminate
    if strength and own is not None and colours_u8 is None:
        # Its colours are un-mixed already, or its edges would be cleaned twice.
        strength = 0.0
        if options.decontaminate:
            notes += (_OWN_COLOURS,)
    colours = rgb_u8
    if options.output.has_colors:
        if colours_u8 is not None:
            colours = _mixed(rgb_u8, colours_u8, strength)
        elif strength:
            colours = cpu.foreground(rgb_u8, refined, strength, shown_u8=alpha)
        if options.despill is not None:
            colours = cpu.despill(colours, options.despill.value)
    dressed = dress(
        wanted.look,
        # Colours and alpha travel as two files in a zip.
        "colors" if options.format is Format.ZIP else _MADE[options.output],
        colours,
        alpha,
        source_rgb_u8=rgb_u8,
        limits=limits,
    )
    return Finished(
        dressed.pixels, dressed.alpha, statistics, refine, strength, notes, dressed.frame
    )


def shape(alpha_u8: U8, edges: Edges) -> U8:
    """The alpha with its edge treated, (H, W) uint8; the same array when nothing is asked for."""
    alpha = alpha_u8
    if edges.black_level > 0 or edges.white_level < 1 or edges.threshold is not None:
        alpha = cpu.levels(alpha, edges.black_level, edges.white_level, edges.threshold)
    if edges.remove_specks_px:
        alpha = cpu.remove_specks(alpha, edges.remove_specks_px)
    if edges.fill_holes_px:
        alpha = cpu.fill_holes(alpha, edges.fill_holes_px)
    if edges.shift_px:
        alpha = cpu.shift(alpha, edges.shift_px)
    if edges.feather_px:
        alpha = cpu.feather(alpha, edges.feather_px)
    return alpha


def _mixed(first_u8: U8, second_u8: U8, share: float) -> U8:
    """`share` of the second, the rest of the first."""
    if share in (0, 1):
        return second_u8 if share else first_u8
    return np.asarray(cv2.addWeighted(second_u8, share, first_u8, 1 - share, 0), np.uint8)
