"""The steps by which somebody puts a mask right, in a few words: polygons, the largest part, holes.

`eye_masks.py` reads them from its file; all but its `click`, which asks a network, are here.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from models.training.data import U8

F32 = NDArray[np.float32]

BAND = 0.02  # of the long side: how far a drawn edge may move to meet the picture's


def apply(word: str, rest: str, rgb: U8, alpha: F32) -> F32:
    """`alpha` (H, W) after one step that needs no network."""
    inside = (alpha > 0.5).astype(np.uint8)
    if word == "largest":
        return alpha * dilated(largest(inside))
    if word == "fill":
        return np.maximum(alpha, filled(inside).astype(np.float32))
    if word == "grab":
        return grab(rgb, numbers(rest, 4))
    action, drawn_only = word.rstrip("!"), word.endswith("!")
    if action not in ("only", "add", "cut"):
        raise ValueError(
            f"step '{word}' is none: allowed are click, grab, only, add, cut, largest and fill"
        )
    shape = polygon(rest, inside.shape)
    after = {"only": shape, "add": inside | shape, "cut": inside & (1 - shape)}[action]
    moved = outline(after) & (1 if action == "only" else 1 - dilated(outline(inside), 2))
    if drawn_only or not moved.any():
        return after.astype(np.float32)
    return snapped(rgb, after, moved)


def numbers(text: str, count: int) -> list[float]:
    """`count` shares from `a,b,...`."""
    values = [float(value) for value in text.split(",") if value]
    if len(values) != count or not all(-0.05 <= value <= 1.05 for value in values):
        raise ValueError(f"'{text}' is not {count} shares between 0 and 1 with commas")
    return [min(1.0, max(0.0, value)) for value in values]


def polygon(text: str, shape: tuple[int, ...]) -> U8:
    """The filled polygon of `x,y x,y ...`, (H, W) of 0 and 1."""
    h, w = shape
    corners = [numbers(corner, 2) for corner in text.split()]
    if len(corners) < 3:
        raise ValueError(f"polygon '{text}' has {len(corners)} corners: at least 3 are needed")
    pixels = np.array([[x * w, y * h] for x, y in corners]).round().astype(np.int32)
    return np.asarray(cv2.fillPoly(np.zeros((h, w), np.uint8), [pixels], 1), np.uint8)


def outline(mask: U8) -> U8:
    """1 on the inner edge of a mask of 0 and 1; the frame of the photo is no edge."""
    return mask - np.asarray(cv2.erode(mask, np.ones((3, 3), np.uint8)), np.uint8)


def dilated(mask: U8, reach_px: int = 3) -> U8:
    """A mask of 0 and 1 grown by `reach_px`."""
    side = 2 * reach_px + 1
    return np.asarray(cv2.dilate(mask, np.ones((side, side), np.uint8)), np.uint8)


def largest(mask: U8) -> U8:
    """The largest connected part of a mask of 0 and 1."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask)
    if count < 2:
        return mask
    return (labels == 1 + int(stats[1:, cv2.CC_STAT_AREA].argmax())).astype(np.uint8)


def filled(mask: U8) -> U8:
    """A mask of 0 and 1 without holes."""
    outlines, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return np.asarray(cv2.drawContours(mask.copy(), outlines, -1, 1, cv2.FILLED), np.uint8)


def snapped(rgb: U8, mask: U8, moved: U8) -> F32:
    """A mask of 0 and 1 whose edge, near the 1s of `moved`, goes where the colours part."""
    band = dilated(moved, max(2, round(BAND * max(mask.shape))))
    guess = np.where(mask == 1, cv2.GC_FGD, cv2.GC_BGD).astype(np.uint8)
    guess[(band == 1) & (mask == 1)] = cv2.GC_PR_FGD
    guess[(band == 1) & (mask == 0)] = cv2.GC_PR_BGD
    return cut_by_colour(rgb, guess, cv2.GC_INIT_WITH_MASK, None)


def grab(rgb: U8, box: list[float]) -> F32:
    """What differs in colour from all that lies outside of a box (shares of the sides)."""
    h, w = rgb.shape[:2]
    left, top, right, bottom = box
    x, y = round(left * w), round(top * h)
    area = (x, y, max(1, round(right * w) - x), max(1, round(bottom * h) - y))
    return cut_by_colour(rgb, np.zeros((h, w), np.uint8), cv2.GC_INIT_WITH_RECT, area)


def cut_by_colour(rgb: U8, guess: U8, how: int, box: tuple[int, int, int, int] | None) -> F32:
    """OpenCV's GrabCut, four rounds; seeded, so that the same photo gives the same mask."""
    cv2.setRNGSeed(1)
    background, subject = np.zeros((1, 65)), np.zeros((1, 65))
    found, _, _ = cv2.grabCut(rgb, guess, box, background, subject, 4, how)  # type: ignore[call-overload]
    inside = (found == cv2.GC_FGD) | (found == cv2.GC_PR_FGD)
    return cv2.medianBlur(inside.astype(np.uint8), 3).astype(np.float32)
