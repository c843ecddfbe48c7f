"""The alpha drawn to the picture's edges: by a filter, by matting, or as a caller's trimap says.

Called by `server.finishing`, before anything else is done to an edge; `server.remover` asks what it
takes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kernels import cpu
from server.codecs.header import Limits
from server.job import WHITE, Options, Refine
from server.trimap import UNKNOWN

U8 = NDArray[np.uint8]

MODEL_SIDE = 320  # of the plane assumed where nobody says how fine the alpha was
_AT_FULL_SIZE = "the alpha was found at the picture's full size: refine was not applied"


class Refined(NamedTuple):
    """What became of an alpha."""

    alpha_u8: U8  # (H, W); the same array where nothing was done
    refine: Refine  # what was really done
    notes: tuple[str, ...] = ()


def refine_alpha(
    rgb_u8: U8,
    alpha_u8: U8,
    own_alpha_u8: U8 | None,
    options: Options,
    refine: Refine,
    *,
    cell_px: float | None,
    is_at_full_size: bool,
    check: Callable[[], None],
) -> Refined:
    """The refined alpha.

    Args:
        rgb_u8: (H, W, 3), the source.
        alpha_u8: (H, W), at the source's size.
        own_alpha_u8: (H, W), the source's own, which the result does not exceed; None: it is
            opaque.
        options: what the caller asked for.
        refine: what is to be done, where nothing below speaks against it.
        cell_px: as in `server.finishing.finish`.
        is_at_full_size: the alpha was not made of a smaller picture: there is nothing to refine.
        check: as in `server.finishing.finish`.
    """
    notes: tuple[str, ...] = ()
    known = _known(options, alpha_u8)
    if own_alpha_u8 is not None and options.refine is None and known is None:
        refine = Refine.OFF  # whoever cut it out has drawn its edges
    if is_at_full_size and refine is not Refine.OFF:
        notes = () if options.refine is None else (_AT_FULL_SIZE,)
        refine = Refine.OFF
    alpha = alpha_u8
    if refine is not Refine.OFF:
        cell = max(alpha_u8.shape) / MODEL_SIDE if cell_px is None else cell_px
        # Under a transparent pixel anything may lie: edges are what a viewer sees.
        seen = rgb_u8 if own_alpha_u8 is None else cpu.composite(rgb_u8, own_alpha_u8, WHITE.rgba)
        if refine is Refine.FAST:
            alpha = cpu.guided_refine(seen, alpha_u8, scale=cpu.window_cells(cell))
        elif known is None:
            alpha = cpu.matte(seen, alpha_u8, cell_px=cell, check=check)
        else:
            alpha = cpu.solve_trimap(seen, known, alpha_u8, check=check)
    if known is not None:
        alpha = np.where(known == UNKNOWN, alpha, known)
    if own_alpha_u8 is not None and alpha is not alpha_u8:
        alpha = np.minimum(alpha, own_alpha_u8)
    return Refined(alpha, refine, notes)


def edge_bytes(options: Options, megapixels: float, limits: Limits) -> int:
    """Memory that the work on an edge takes besides planes of the picture's own size.

    Args:
        options: what the caller asked for.
        megapixels: of the picture.
        limits: of a trimap.

    Raises:
        InvalidOption: the trimap is no picture, or larger than the server's limits.
    """
    trimap = options.trimap
    is_matted = options.refine is Refine.BEST or (trimap is not None and options.refine is None)
    nbytes = cpu.matting_bytes(round(megapixels * 1e6)) if is_matted else 0
    return nbytes if trimap is None else nbytes + trimap.nbytes(limits)


def _known(options: Options, alpha_u8: U8) -> U8 | None:
    """What the caller knows of the alpha, as `server.trimap.Trimap.levels` gives it."""
    if options.trimap is None:
        return None
    height, width = alpha_u8.shape
    return options.trimap.levels(width, height, options.max_megapixels)
