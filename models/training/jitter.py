"""Makes a clean square look like any camera's: colour, light, blur, noise and JPEG.

`composite.py` applies `recolour` then `degrade` to every sample; alpha is never touched here.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

U8 = NDArray[np.uint8]
F32 = NDArray[np.float32]
Rng = np.random.Generator


def recolour(rng: Rng, rgb: U8) -> U8:
    """Gamma, contrast, brightness and a colour cast in one look-up; then hue and saturation.

    How far is drawn for each picture: most photos that the model meets were never recoloured.
    """
    levels = np.linspace(0.0, 1.0, 256)
    table = np.empty((256, 3))  # level to level, per channel
    far = rng.uniform()
    gamma = np.exp(far * rng.uniform(-0.45, 0.45))
    contrast, light = 1.0 + far * rng.uniform(-0.35, 0.3), far * rng.uniform(-0.15, 0.15)
    for channel in range(3):
        cast = 1.0 + far * rng.uniform(-0.15, 0.15)
        table[:, channel] = (levels**gamma - 0.5) * contrast + 0.5 + light
        table[:, channel] *= cast
    lookup = np.clip(table * 255.0 + 0.5, 0, 255).astype(np.uint8)[None]
    out: U8 = np.asarray(cv2.LUT(rgb, lookup), np.uint8)
    if rng.random() < 0.1:
        out = turn_hue(out, int(rng.integers(-25, 26)))
    pick = rng.random()
    if pick < 0.4:
        colour = 0.0 if pick < 0.04 else rng.uniform(0.4, 1.4)
        grey = cv2.cvtColor(out, cv2.COLOR_RGB2GRAY)
        flat = cv2.merge([grey, grey, grey])
        out = np.asarray(cv2.addWeighted(out, colour, flat, 1.0 - colour, 0.0), np.uint8)
    return out


def turn_hue(rgb: U8, steps: int) -> U8:
    """Every hue moved by `steps` of 180, light and saturation kept."""
    hsv = cv2.cvtColor(rgb, cv2.COLOR_RGB2HSV)
    table = ((np.arange(256) + steps) % 180).astype(np.uint8)
    hsv[..., 0] = cv2.LUT(hsv[..., 0], table)
    return np.asarray(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB), np.uint8)


def degrade(rng: Rng, rgb: U8) -> U8:
    """Perhaps of low resolution, blurred, noisy, or through JPEG at quality 35 to 95."""
    pick = rng.random()
    if pick < 0.1:
        rgb = coarsen(rgb, rng.uniform(0.35, 0.8))
    elif pick < 0.22:
        rgb = np.asarray(cv2.GaussianBlur(rgb, (0, 0), rng.uniform(0.4, 1.5)), np.uint8)
    if rng.random() < 0.2:
        noise = rng.standard_normal(rgb.shape, dtype=np.float32) * rng.uniform(2, 12)
        rgb = np.clip(rgb + noise, 0, 255).astype(np.uint8)
    if rng.random() < 0.3:
        quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(35, 96))]
        _, packed = cv2.imencode(".jpg", rgb, quality)
        rgb = np.asarray(cv2.imdecode(packed, cv2.IMREAD_COLOR), np.uint8)
    return rgb


def coarsen(rgb: U8, share: float) -> U8:
    """Shrunk to `share` of its side and back: a small picture that somebody enlarged."""
    h, w = rgb.shape[:2]
    size = (max(8, round(w * share)), max(8, round(h * share)))
    small = cv2.resize(rgb, size, interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(small, (w, h), interpolation=cv2.INTER_LINEAR), np.uint8)


def blur(image: F32, sigma_px: float) -> F32:
    """Gaussian blur of a float picture or alpha; wide ones at a quarter of the size, for time."""
    if sigma_px > 6.0:
        h, w = image.shape[:2]
        small = cv2.resize(image, (max(8, w // 4), max(8, h // 4)), interpolation=cv2.INTER_AREA)
        small = cv2.GaussianBlur(small, (0, 0), sigma_px / 4)
        return np.asarray(cv2.resize(small, (w, h), interpolation=cv2.INTER_LINEAR), np.float32)
    return np.asarray(cv2.GaussianBlur(image, (0, 0), max(0.3, sigma_px)), np.float32)
