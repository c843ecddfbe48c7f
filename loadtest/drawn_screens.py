"""Subjects before a green or blue screen, drawn with their true alpha and colours.

A round body with hairs of a pixel, a coat that moves, a pane of glass, under light that is uneven
and comes back from the screen onto the subject; with a camera's noise and a JPEG's losses. Called
by `loadtest.solved`; a seed gives the same scene.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from loadtest.drawn_pages import as_jpeg

U8 = NDArray[np.uint8]
F32 = NDArray[np.float32]
Rgb = tuple[int, int, int]

SCREENS: dict[str, Rgb] = {"green": (50, 175, 75), "blue": (30, 70, 185)}
SKIN, COAT, PANE = (205, 150, 125), (75, 65, 60), (190, 200, 205)
_LARGER = 4  # drawn at so many times the size
_HAIRS = 80
_NOISE = 3.0  # levels
_SPILL = 0.12  # of the screen's light, on what is near to it
_GLASS = 0.35  # alpha of the pane
_SHADOW = 0.6  # of the light that is left in the subject's shadow on the screen
_JPEG = 88


@dataclass(frozen=True, slots=True)
class Scene:
    """A picture with what is true of it."""

    picture: U8  # (H, W, 3)
    alpha: F32  # (H, W)
    colours: F32  # (H, W, 3), 0..255, the subject's own
    key: Rgb  # nominal


def scene(screen: str, seed: int, width: int, height: int) -> Scene:
    """A subject before a screen of `SCREENS`."""
    rng = np.random.default_rng([seed, list(SCREENS).index(screen)])
    key = SCREENS[screen]
    alpha, colours = _subject(rng, width, height)
    light = 1 + 0.2 * _wide(rng, (3, 3), width, height)
    moved = np.roll(alpha, round(0.06 * width), axis=1)
    light *= 1 - (1 - _SHADOW) * cv2.GaussianBlur(moved, (0, 0), 0.015 * width)
    behind = np.asarray(key, np.float32) * light[..., None]
    near = cv2.GaussianBlur(1 - alpha, (0, 0), 0.03 * width)
    lit = colours + _SPILL * near[..., None] * behind
    mixed = alpha[..., None] * lit + (1 - alpha[..., None]) * behind
    noisy = mixed + rng.normal(0, _NOISE, mixed.shape)
    picture = as_jpeg(np.clip(np.rint(noisy), 0, 255).astype(np.uint8), _JPEG)
    return Scene(picture, alpha, colours, key)


def _subject(rng: np.random.Generator, width: int, height: int) -> tuple[F32, F32]:
    big = np.zeros((_LARGER * height, _LARGER * width), np.uint8)
    middle = np.array([0.5 * width, 0.55 * height]) * _LARGER
    reach = np.array([0.16 * width, 0.36 * height]) * _LARGER
    cv2.ellipse(big, middle.astype(int).tolist(), reach.astype(int).tolist(), 0, 0, 360, 255, -1)
    head = middle - (0, 0.3 * height * _LARGER)
    for angle in rng.uniform(0, 2 * np.pi, _HAIRS):
        way = np.array([np.cos(angle), np.sin(angle)])
        end = head + rng.uniform(0.12, 0.3) * height * _LARGER * way
        cv2.line(big, head.astype(int).tolist(), end.astype(int).tolist(), 255, _LARGER)
    alpha = cv2.resize(big, (width, height), interpolation=cv2.INTER_AREA) / np.float32(255)
    rows = np.arange(height)[:, None]
    moved = cv2.blur(alpha, (max(3, width // 60) | 1, 1))
    alpha = np.where(rows > 0.68 * height, moved, alpha)
    colours = np.empty((height, width, 3), np.float32)
    colours[:] = COAT
    colours[: height // 2] = SKIN
    top, left = round(0.3 * height), round(0.75 * width)
    pane = np.s_[top : top + height // 4, left : left + width // 8]
    alpha[pane] = np.maximum(alpha[pane], _GLASS)
    colours[pane] = PANE
    return np.asarray(alpha, np.float32), colours


def _wide(rng: np.random.Generator, knots: tuple[int, int], width: int, height: int) -> F32:
    """Slow changes of light, about -1..1, (H, W)."""
    coarse = rng.uniform(-1, 1, knots).astype(np.float32)
    smooth = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.asarray(smooth, np.float32)
