"""What stands behind a composed subject where no photo does: studios, walls, gradients, shadows.

`composite.py` lays subjects over these. A shadow is part of the ground: its alpha stays 0.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from models.training.jitter import blur

F32 = NDArray[np.float32]
Rng = np.random.Generator


def flat_ground(rng: Rng, side: int) -> F32:
    """Any colour, or a gradient between two in any direction; float32 RGB (S, S, 3), 0..255."""
    ends = rng.uniform(0, 255, (2, 3))
    if rng.random() < 0.4:
        ends[1] = ends[0]
    return gradient(rng, side, ends)


def studio_ground(rng: Rng, side: int) -> F32:
    """A product photo's set: white, grey or a pale colour, lit unevenly, perhaps with a table."""
    pick = rng.random()
    if pick < 0.35:
        base = np.full(3, 255.0)
    elif pick < 0.7:
        base = np.full(3, rng.uniform(140, 255))
    else:
        base = rng.uniform(60, 255, 3)
    ground = gradient(rng, side, np.stack([base, base * rng.uniform(0.8, 1.0)]))
    if rng.random() < 0.3:
        ground *= vignette(rng, side)[..., None]
    if rng.random() < 0.3:  # a table: everything below a soft line in another tone
        line, softness = rng.uniform(0.45, 0.9) * side, rng.uniform(0.005, 0.05) * side
        rows = np.arange(side, dtype=np.float32)
        below = 1.0 / (1.0 + np.exp(np.clip((line - rows) / softness, -50, 50)))
        tone = np.asarray(base * rng.uniform(0.6, 1.1, 3), np.float32)
        ground += below[:, None, None].astype(np.float32) * (tone - ground)
    return np.clip(ground, 0.0, 255.0)


def gradient(rng: Rng, side: int, ends: NDArray[np.float64]) -> F32:
    """From one colour to another along a random direction; `ends` is (2, 3)."""
    angle = rng.uniform(0, 2 * np.pi)
    axis = np.linspace(-0.5, 0.5, side, dtype=np.float32)
    ramp = np.cos(angle) * axis[None, :] + np.sin(angle) * axis[:, None]
    ramp = (ramp - ramp.min()) / max(1e-6, float(ramp.max() - ramp.min()))
    first, second = ends.astype(np.float32)
    return np.asarray(first + ramp[..., None] * (second - first), np.float32)


def vignette(rng: Rng, side: int) -> F32:
    """A light's fall-off around a random centre: (S, S), 1 at the centre, down to 0.6."""
    axis = np.linspace(0.0, 1.0, side, dtype=np.float32)
    cx, cy = rng.uniform(0.3, 0.7, 2)
    distance = (axis[None, :] - cx) ** 2 + (axis[:, None] - cy) ** 2
    return np.asarray(1.0 - rng.uniform(0.1, 0.4) * np.minimum(1.0, 2.0 * distance), np.float32)


def cast_shadow(rng: Rng, alpha: F32, ground: F32) -> F32:
    """The ground darkened by a soft, shifted copy of the subject's alpha (S, S)."""
    side = ground.shape[0]
    shift = np.array([[1, 0, rng.uniform(-0.08, 0.08) * side], [0, 1, rng.uniform(0, 0.06) * side]])
    moved = np.asarray(cv2.warpAffine(alpha, shift, (side, side)), np.float32)
    return darkened(ground, blur(moved, rng.uniform(0.01, 0.05) * side), rng.uniform(0.2, 0.6))


def floor_shadow(rng: Rng, alpha: F32, ground: F32) -> F32:
    """The ground darkened where the subject would stand: its alpha squashed onto its lower edge."""
    side = ground.shape[0]
    rows = np.nonzero(alpha.max(axis=1) > 0.5)[0]
    if len(rows) == 0:
        return ground
    bottom, flat = float(rows[-1]), rng.uniform(0.08, 0.35)
    lean = rng.uniform(-0.5, 0.5)  # the light's side: the shadow of the top falls away from it
    squash = np.array(
        [[1, lean * flat, -lean * flat * bottom], [0, flat, (1 - flat) * bottom]], np.float64
    )
    lying = np.asarray(cv2.warpAffine(alpha, squash, (side, side)), np.float32)
    return darkened(ground, blur(lying, rng.uniform(0.008, 0.04) * side), rng.uniform(0.2, 0.7))


def darkened(ground: F32, shadow: F32, depth: float) -> F32:
    """The ground times 1 - depth where the shadow (S, S) is 1."""
    return np.asarray(ground * (1.0 - depth * shadow[..., None]), np.float32)
