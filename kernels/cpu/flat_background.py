"""Cuts a drawing out of the paper that it is drawn on: alpha and the inks' own colours.

Called by `server.flat_background` once `kernels.cpu.flat_paper` has found the paper. An
anti-aliased edge is a mixture of two colours that both stand nearby: the paper, and the ink next to
it. So its alpha is how far it lies on the way from the one to the other, and its colour is the
ink's. Whatever paper does not reach through such edges is ink through and through.
"""

from __future__ import annotations

from typing import Literal, NamedTuple, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from kernels.cpu.flat_paper import FLAT, RINGING, Paper, square, sure_ink

U8 = NDArray[np.uint8]
I32 = NDArray[np.int32]
F32 = NDArray[np.float32]
Mask = NDArray[np.bool_]
Enclosed = Literal["auto", "keep", "remove"]

REACH_PX = 5  # that the softest edge is wide
OFF_LINE = 28  # levels from the way between paper and ink: it is neither, but another ink
SAME_WAY = 0.985  # cosine between the ways to two colours that may be one ink, thin and thick
OTHER_INK = 64  # levels
LEAST_OTHER = 0.03  # of a piece of ink: another ink is no accident
INKS = 24  # told apart at most
OWN_INK = 0.3  # of the middles of all lines of a hue: a shade of it is an ink of its own
LEAST_INK = 0.002  # of the drawing that one of them must have


class CutOut(NamedTuple):
    """A drawing without its paper."""

    alpha: U8  # (H, W)
    colours: U8  # (H, W, 3), the picture's where alpha is 0 or 255


def flat_background(rgb_u8: U8, paper: Paper, enclosed: Enclosed = "auto") -> CutOut:
    """Alpha, (H, W), and the inks' colours, (H, W, 3).

    Args:
        rgb_u8: (H, W, 3).
        paper: what it is drawn on.
        enclosed: what becomes of paper inside of the drawing: "keep", "remove", or "auto", which
            keeps it where the piece of ink around it is of several colours.
    """
    distance = paper.distance(rgb_u8)
    blank = distance <= paper.tolerance
    flat, sure = sure_ink(rgb_u8, distance, paper)
    if not sure.any():
        return CutOut(_as_u8(~blank), rgb_u8)
    inks = _inks(rgb_u8, flat, sure, paper)
    nearest = _nearest(sure)
    kept = np.zeros_like(blank)
    if enclosed != "remove":
        kept = _kept(blank, inks, sure, enclosed)
    through = blank & ~kept
    alpha = _as_u8(~through)
    colours = rgb_u8.copy()
    soft = _reached(through, flat | kept, sure)
    at = np.flatnonzero(soft)
    own = rgb_u8.reshape(-1, 3)[at].astype(np.float32)
    ink = inks[nearest.reshape(-1)[at]]
    share, off = _share(own, ink, paper)
    faint = distance.reshape(-1)[at] <= RINGING * paper.tolerance
    solid = (off > OFF_LINE + paper.tolerance) & ~faint
    share[solid] = 1
    alpha.reshape(-1)[at] = np.rint(255 * share)
    colours.reshape(-1, 3)[at] = np.where((share < 1)[:, None], ink, own)
    return CutOut(alpha, colours)


def _share(own: F32, ink: F32, paper: Paper) -> tuple[F32, F32]:
    """How much of each pixel is ink, (N,) in 0..1, and how many levels it is off the way there."""
    ground = np.asarray(paper.color, np.float32)
    way, gone = ink - ground, own - ground
    length = np.maximum((way * way).sum(axis=1), 1)
    share = (gone * way).sum(axis=1) / length
    off = np.abs(gone - share[:, None] * way).max(axis=1)
    if paper.is_lossy:  # what ringing leaves on the paper and takes from the ink
        rings = np.minimum(paper.tolerance / np.sqrt(length), 0.25)
        share = (share - rings) / (1 - 2 * rings)
    return np.clip(share, 0, 1), off


def _inks(rgb_u8: U8, flat: Mask, sure: Mask, paper: Paper) -> F32:
    """The ink of each sure pixel, (N, 3): its own colour within areas; in the middle of a line,
    which smoothing may have thinned, the ink of that hue that stands out no less.
    """
    pixels = rgb_u8[sure]
    own = pixels.astype(np.float32)
    thin = ~flat[sure]
    if not thin.any():
        return own
    ground = np.asarray(paper.color, np.float32)
    ways = own[thin] - ground
    reach = np.linalg.norm(ways, axis=1)
    chosen = own[thin]
    least = np.full(len(ways), np.inf, np.float32)
    for ink in _pens(pixels, thin, ground):
        length = np.linalg.norm(ink)
        same = ways @ ink >= SAME_WAY * reach * length
        same &= (length >= reach - FLAT) & (length < least)
        chosen[same] = ink + ground
        least[same] = length
    own[thin] = chosen
    return own


def _pens(pixels: U8, thin: Mask, ground: F32) -> F32:
    """The inks that lines are drawn with, (N, 3), as ways from the paper's colour.

    A thin black line has all greys in its middle, none of them often. A grey that is an ink of its
    own is frequent among those, or fills an area.
    """
    code = (pixels >> 4).astype(np.int64) @ np.array([256, 16, 1])
    counts = np.bincount(code, minlength=4096)
    most = np.argsort(counts)[::-1][:INKS]
    most = most[counts[most] >= max(2, LEAST_INK * len(pixels))]
    sums = [np.bincount(code, pixels[:, channel], 4096)[most] for channel in range(3)]
    ways = np.asarray(np.stack(sums, axis=1) / counts[most][:, None], np.float32) - ground
    lengths = np.linalg.norm(ways, axis=1)
    in_lines = np.bincount(code[thin], minlength=4096)[most]
    same = ways @ ways.T >= SAME_WAY * np.outer(lengths, lengths)
    is_longest = lengths >= np.where(same, lengths, 0).max(axis=1)
    is_frequent = in_lines > OWN_INK * (same @ in_lines)
    fills = counts[most] - in_lines >= np.maximum(in_lines, LEAST_INK * len(pixels))
    kept: F32 = ways[is_longest | is_frequent | fills]
    return kept


def _nearest(sure: Mask) -> I32:
    """Which of the sure pixels, counted row by row, is nearest to each, (H, W)."""
    _, labels = cv2.distanceTransformWithLabels(
        _as_u8(~sure), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    number = np.empty(int(labels.max()) + 1, np.int32)
    number[labels[sure]] = np.arange(np.count_nonzero(sure), dtype=np.int32)
    return cast(I32, number[labels])


def _reached(through: Mask, flat: Mask, sure: Mask) -> Mask:
    """What is mixed with paper: from the paper on, through what is no area of ink, and not past the
    middle of a line.
    """
    may, ends = _as_u8(~flat), _as_u8(~sure)
    front, reached = _as_u8(through), np.zeros(through.shape, np.uint8)
    for _ in range(REACH_PX):
        # The middle of a line may be mixed itself, but what lies behind is not.
        front = np.asarray(cv2.bitwise_and(cv2.dilate(front, square(1)), may), np.uint8)
        cv2.bitwise_or(reached, front, reached)
        cv2.bitwise_and(front, ends, front)
    return (reached > 0) & ~through


def _kept(blank: Mask, inks: F32, sure: Mask, enclosed: Enclosed) -> Mask:
    """Paper inside of the drawing that stays."""
    holes, stats = _parts(blank, 4)
    outside = np.unique(np.concatenate([holes[0], holes[-1], holes[:, 0], holes[:, -1]]))
    keeps = np.ones(len(stats), bool)
    keeps[outside] = keeps[0] = False
    if enclosed == "auto" and keeps.any():
        pieces, sizes = _parts(~blank, 8)
        several = _several_inks(pieces[sure], inks, len(sizes))
        around = _above(holes, stats, pieces)  # the piece of ink around each hole
        beyond = _above(pieces, sizes, holes)  # the paper around each piece
        # From the outside in: what lies in paper that stays, stays too.
        for hole in sorted(np.flatnonzero(keeps), key=lambda each: -stats[each, cv2.CC_STAT_AREA]):
            keeps[hole] = several[around[hole]] or keeps[beyond[around[hole]]]
    kept: Mask = keeps[holes]
    return kept


def _parts(mask: Mask, connectivity: int) -> tuple[I32, I32]:
    """Which part each pixel belongs to, (H, W), 0 for none; and OpenCV's statistics of each."""
    found = cv2.connectedComponentsWithStats(_as_u8(mask), connectivity=connectivity)
    return cast(I32, found[1]), cast(I32, found[2])


def _above(labels: I32, stats: I32, others: I32) -> I32:
    """What each labelled part lies in, by the others' labels: that of the pixel above its first
    one; 0 for parts at the top of the picture.
    """
    found = np.zeros(len(stats), np.int32)
    for label in range(1, len(stats)):
        left, top, width = stats[label, :3]  # in OpenCV's order: left, top, width, height, area
        if top:
            row = labels[top, left : left + width]
            found[label] = others[top - 1, left + int(np.argmax(row == label))]
    return found


def _several_inks(piece: I32, inks: F32, count: int) -> Mask:
    """For each piece of ink, by its number, whether it has more than one, (count,).

    Args:
        piece: of each sure pixel, (N,).
        inks: of each, (N, 3).
        count: of pieces, and one.
    """
    code = (inks.astype(np.int64) >> 4) @ np.array([256, 16, 1])
    by_ink = np.bincount(piece.astype(np.int64) * 4096 + code)
    used = np.flatnonzero(by_ink)
    owner, ink = used >> 12, used & 4095
    colours = np.stack([ink >> 8, (ink >> 4) & 15, ink & 15], axis=1) * 16 + 8
    weight = by_ink[used]
    first = np.zeros(count, np.int64)
    order = np.argsort(weight, kind="stable")
    first[owner[order]] = order  # the last one written is the most frequent
    other = np.abs(colours - colours[first[owner]]).max(axis=1) > OTHER_INK
    others = np.bincount(owner[other], weight[other], count)
    return np.asarray(others > LEAST_OTHER * np.bincount(owner, weight, count))


def _as_u8(mask: Mask) -> U8:
    """255 where it holds."""
    return mask.astype(np.uint8) * np.uint8(255)
