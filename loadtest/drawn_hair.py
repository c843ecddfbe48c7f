"""Drawn subjects with hair at any size, whose alpha and colours are known to the pixel.

Called by `loadtest.quality`. Cut-outs that were scaled up have no detail that a network could miss;
these have strands of one to five pixels at the size that is asked for, over real backgrounds.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

U8 = NDArray[np.uint8]
F32 = NDArray[np.float32]

STRANDS = 700
_STEPS = 20  # of a strand's curve
_LARGER = 2  # drawn at twice the size, so that a strand covers pixels by its true share
_NOISE = 3.0  # levels, of a camera


@dataclass(frozen=True, slots=True)
class Drawn:
    """A picture with what is true of it.

    Attributes:
        rgb_u8: (H, W, 3).
        alpha: (H, W) float32 in [0, 1].
        colours: (H, W, 3) float32, the subject's own, 0..255.
    """

    rgb_u8: U8
    alpha: F32
    colours: F32

    def coarse_alpha_u8(self, side_px: int) -> U8:
        """The alpha as a network that never errs would give it, (H, W): averaged to a plane of
        `side_px` x `side_px` and brought back.
        """
        height, width = self.alpha.shape
        alpha_u8 = (self.alpha * 255 + 0.5).astype(np.uint8)
        plane = cv2.resize(alpha_u8, (side_px, side_px), interpolation=cv2.INTER_AREA)
        return np.asarray(cv2.resize(plane, (width, height)), np.uint8)


def draw(side_px: int, seed: int, background: Path) -> Drawn:
    """A round, hairy thing before a picture; the same for a seed on every machine.

    Args:
        side_px: longer side; the other is three quarters of it.
        seed: of everything but the background.
        background: a picture's file.

    Raises:
        ValueError: the background cannot be read.
    """
    ground = cv2.imread(str(background))
    if ground is None:
        raise ValueError(f"{background} is no picture that OpenCV reads: give a JPEG or PNG")
    random = np.random.default_rng(seed)
    width, height = side_px, side_px * 3 // 4
    alpha = _alpha(random, width, height)
    fine = cv2.GaussianBlur(random.normal(0, 40, (height, width)), (0, 0), 1.5)
    wide = cv2.GaussianBlur(random.normal(0, 200, (height, width)), (0, 0), 12)
    texture = (fine + wide)[..., None] * np.array([1.0, 0.9, 0.8])
    colours = np.clip(random.uniform(20, 110, 3) + texture, 0, 255).astype(np.float32)
    behind = cv2.resize(ground[..., ::-1], (width, height), interpolation=cv2.INTER_CUBIC)
    share = alpha[..., None]
    mixed = share * colours + (1 - share) * behind + random.normal(0, _NOISE, (height, width, 3))
    return Drawn(np.clip(mixed + 0.5, 0, 255).astype(np.uint8), alpha, colours)


def _alpha(random: np.random.Generator, width: int, height: int) -> F32:
    canvas = np.zeros((height * _LARGER, width * _LARGER), np.uint8)
    unit = width / 1920 * _LARGER
    centre = np.array([width * _LARGER / 2, height * _LARGER * 0.55])
    radius = height * _LARGER * 0.28
    middle = (round(centre[0]), round(centre[1]))
    axes = (round(radius), round(radius * 1.1))
    cv2.ellipse(canvas, middle, axes, 0, 0, 360, 255, -1, cv2.LINE_AA)
    for _ in range(STRANDS):
        turn = random.uniform(0, 2 * np.pi)
        outward = np.array([np.cos(turn), np.sin(turn)])
        at = centre + outward * radius * np.array([0.95, 1.05])
        heading = turn + random.normal(0, 0.3)
        length = random.uniform(20, 150) * unit / _STEPS
        bend = random.normal(0, 0.012) * 3 * length
        curve = [at]
        for _ in range(_STEPS):
            heading += bend
            at = at + length * np.array([np.cos(heading), np.sin(heading)])
            curve.append(at)
        points = np.round(np.array(curve) * 16).astype(np.int32)  # sixteenths of a pixel
        thick = max(1, round(random.uniform(0.8, 2.4) * unit))
        cv2.polylines(canvas, [points], False, 255, thick, cv2.LINE_AA, 4)
    shrunk = cv2.resize(canvas, (width, height), interpolation=cv2.INTER_AREA)
    return shrunk * np.float32(1 / 255)
