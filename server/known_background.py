"""Pictures whose background's colour tells their subject: paper found, results finished.

`find_drawing` is asked by the pipelines of networks before the network is; `close_found` makes the
result there and in `server.key_pipeline`. What is found is as large as the picture and has the
subject's own colours, so it is neither refined nor un-mixed again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter

import cv2
import numpy as np
from numpy.typing import NDArray

from kernels import cpu
from kernels.cpu.flat_background import flat_background
from kernels.cpu.flat_paper import find_paper
from server.codecs.decode import Decoded
from server.codecs.encode import encode_result
from server.codecs.header import Limits
from server.finishing import COLOURS_FOUND, finish, plan
from server.job import Color, FlatUse, Method, Options
from server.pipeline import Outcome

U8 = NDArray[np.uint8]

NO_PAPER = "no colour has half of the picture's border, so there is no paper: the model was used"
NOT_OPAQUE = "the image has an alpha of its own, so no paper was looked for: the model was used"


@dataclass(frozen=True, slots=True)
class Found:
    """A subject that its background's colour told."""

    alpha: U8  # (H, W)
    colours: U8  # (H, W, 3)
    method: Method
    removed_color: Color | None = None
    notes: tuple[str, ...] = ()  # sentences for the report


def find_drawing(rgb_u8: U8, own_alpha_u8: U8 | None, options: Options) -> Found | None:
    """The drawing cut out of its paper; None where the model is to be asked.

    Args:
        rgb_u8: (H, W, 3), the source.
        own_alpha_u8: (H, W), the source's own; None: it is opaque.
        options: as the caller gave them.
    """
    use = options.flat_background.use
    if use is FlatUse.OFF or (use is FlatUse.AUTO and options.trimap is not None):
        return None
    if own_alpha_u8 is not None and cv2.minMaxLoc(own_alpha_u8)[0] < 255:
        return None
    paper = find_paper(rgb_u8, forced=use is FlatUse.ON)
    if paper is None:
        return None
    cut = flat_background(rgb_u8, paper, options.flat_background.enclosed)
    return Found(cut.alpha, cut.colours, Method.FLAT_BACKGROUND, Color(*paper.color))


def why_not(own_alpha_u8: U8 | None, options: Options) -> tuple[str, ...]:
    """A sentence for the report where flat paper was insisted on and none found."""
    if options.flat_background.use is not FlatUse.ON:
        return ()
    is_opaque = own_alpha_u8 is None or cv2.minMaxLoc(own_alpha_u8)[0] == 255
    return (NO_PAPER if is_opaque else NOT_OPAQUE,)


def close_found(
    decoded: Decoded,
    found: Found,
    options: Options,
    limits: Limits,
    check: Callable[[], None] = lambda: None,
) -> Outcome:
    """The result made of `found`.

    Raises:
        ImageTooLarge, InvalidOption: as `server.finishing.finish`.
    """
    started = perf_counter()
    alpha = found.alpha
    if decoded.alpha is not None:
        alpha = cpu.multiply_alpha(alpha, decoded.alpha)
    finished = finish(
        decoded.rgb,
        alpha,
        decoded.alpha,
        plan(options, COLOURS_FOUND),
        colours_u8=found.colours,
        check=check,
        limits=limits,
    )
    finished_at = perf_counter()
    encoded = encode_result(
        finished.pixels, finished.alpha_u8, options, icc=decoded.icc, dpi=decoded.dpi
    )
    return Outcome(
        encoded=encoded,
        statistics=finished.statistics,
        finish_ms=(finished_at - started) * 1e3,
        encode_ms=(perf_counter() - finished_at) * 1e3,
        refine=finished.refine,
        decontaminate=finished.decontaminate,
        notes=found.notes + finished.notes,
        shown=finished.shown,
        method=found.method,
        removed_color=found.removed_color,
    )
