"""Prompts as the network sees them, and people who prompt: clicks, boxes and rough masks.

`scenes.py` draws prompts for training; `evaluate_click.py` clicks like a patient user. `draw_maps`
is the definition of the four maps: whoever serves the model draws the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from models.training.data import extent

U8 = NDArray[np.uint8]
F32 = NDArray[np.float32]
Rng = np.random.Generator

CLICK_RADIUS = 0.02  # of the picture's side


@dataclass(frozen=True)
class Click:
    """A point in shares of width and height, 0..1; `wanted` says which side it is on."""

    x: float
    y: float
    wanted: bool = True


@dataclass(frozen=True)
class Box:
    """Sides in shares of width and height, 0..1."""

    left: float
    top: float
    right: float
    bottom: float


def draw_maps(clicks: Sequence[Click], box: Box | None, earlier: F32 | None, side: int) -> U8:
    """The prompt maps (side, side, 4) uint8: wanted clicks, unwanted clicks, box, earlier alpha.

    A click is a disc of 255, a box its filled rectangle, a missing prompt an empty map. `earlier`
    is an alpha of any size in [0, 1]. `side` is half the network's.
    """
    maps = np.zeros((4, side, side), np.uint8)
    radius = max(1, round(CLICK_RADIUS * side))
    for click in clicks:
        centre = (int(click.x * side), int(click.y * side))
        cv2.circle(maps[0 if click.wanted else 1], centre, radius, 255, -1)
    if box is not None:
        first = (round(box.left * side), round(box.top * side))
        last = (round(box.right * side) - 1, round(box.bottom * side) - 1)
        cv2.rectangle(maps[2], first, last, 255, -1)
    if earlier is not None:
        small = cv2.resize(earlier, (side, side), interpolation=cv2.INTER_AREA)
        maps[3] = np.clip(small * 255.0 + 0.5, 0, 255).astype(np.uint8)
    return np.ascontiguousarray(maps.transpose(1, 2, 0))


def inner_click(rng: Rng, region: NDArray[np.bool_], wanted: bool) -> Click | None:
    """A random point well inside a region (H, W); None where it is empty."""
    if not region.any():
        return None
    depth = depth_inside(region)
    ys, xs = np.nonzero(depth >= rng.uniform(0.3, 0.9) * depth.max())
    return at_pixel(region.shape, ys, xs, int(rng.integers(len(ys))), wanted)


def next_click(predicted: F32, truth: F32) -> Click | None:
    """Where a patient user clicks next: the deepest point of the largest error; None when right."""
    missed, extra = (truth >= 0.5) & (predicted < 0.5), (truth < 0.5) & (predicted >= 0.5)
    deep_missed, deep_extra = depth_inside(missed), depth_inside(extra)
    wanted = bool(deep_missed.max() >= deep_extra.max())
    depth = deep_missed if wanted else deep_extra
    if depth.max() < 1.0:
        return None
    y, x = np.unravel_index(int(depth.argmax()), depth.shape)
    return at_pixel(depth.shape, np.array([y]), np.array([x]), 0, wanted)


def at_pixel(
    shape: tuple[int, ...], ys: NDArray[np.int64], xs: NDArray[np.int64], index: int, wanted: bool
) -> Click:
    """The click on the centre of one listed pixel."""
    return Click((float(xs[index]) + 0.5) / shape[1], (float(ys[index]) + 0.5) / shape[0], wanted)


def depth_inside(region: NDArray[np.bool_]) -> F32:
    """Distance to the region's outside in pixels, (H, W); the frame counts as outside."""
    padded = np.pad(region.astype(np.uint8), 1)
    return np.asarray(cv2.distanceTransform(padded, cv2.DIST_L2, 3)[1:-1, 1:-1], np.float32)


def rough_box(rng: Rng, region: NDArray[np.bool_]) -> Box:
    """The region's box with each side moved by up to a tenth of its length."""
    h, w = region.shape
    found = extent(region)
    assert found is not None  # a subject that is asked for has pixels
    left, top, right, bottom = np.array(found) / (w, h, w, h)
    move = rng.uniform(-0.05, 0.1, 4) * np.array([right - left, bottom - top] * 2)
    return Box(
        max(0.0, float(left - move[0])),
        max(0.0, float(top - move[1])),
        min(1.0, float(right + move[2])),
        min(1.0, float(bottom + move[3])),
    )


def rough_alpha(rng: Rng, truth: F32, others: F32) -> F32:
    """What an earlier answer may be: grown or shrunk, a part lost, a neighbour taken along."""
    side = truth.shape[0]
    brush = np.ones((int(rng.integers(1, max(2, side // 24))),) * 2, np.uint8)
    rough = cv2.dilate(truth, brush) if rng.random() < 0.5 else cv2.erode(truth, brush)
    if rng.random() < 0.5:
        rough = np.maximum(rough, others)
    if rng.random() < 0.6:
        centre = tuple(int(v) for v in rng.integers(0, side, 2))
        hole = cv2.circle(np.ones_like(truth), centre, int(rng.uniform(0.08, 0.35) * side), 0.0, -1)
        rough = rough * hole
    return np.asarray(cv2.GaussianBlur(rough, (0, 0), rng.uniform(0.5, 4.0)), np.float32)
