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
    """Gamma, contrast, brightness and a colour cast in one look-up; then saturation."""
    levels = np.linspace(0.0, 1.0, 256)
    table = np.empty((256, 3))  # level to level, per channel
    gamma = np.exp(rng.uniform(-0.35, 0.35))
    contrast, light = rng.uniform(0.75, 1.25), rng.uniform(-0.12, 0.12)
    for channel in range(3):
        cast = rng.uniform(0.9, 1.1)
        table[:, channel] = (levels**gamma - 0.5) * contrast + 0.5 + light
        table[:, channel] *= cast
    lookup = np.clip(table * 255.0 + 0.5, 0, 255).astype(np.uint8)[None]
    out: U8 = np.asarray(cv2.LUT(rgb, lookup), np.uint8)
    pick = rng.random()
    if pick < 0.5:
        colour = 0.0 if pick < 0.05 else rng.uniform(0.5, 1.3)
        grey = cv2.cvtColor(out, cv2.COLOR_RGB2GRAY)
        flat = cv2.merge([grey, grey, grey])
        out = np.asarray(cv2.addWeighted(out, colour, flat, 1.0 - colour, 0.0), np.uint8)
    return out


def degrade(rng: Rng, rgb: U8) -> U8:
    """Perhaps blurred, perhaps noisy, perhaps through JPEG at quality 40 to 95."""
    if rng.random() < 0.15:
        rgb = np.asarray(cv2.GaussianBlur(rgb, (0, 0), rng.uniform(0.4, 1.3)), np.uint8)
    if rng.random() < 0.2:
        noise = rng.standard_normal(rgb.shape, dtype=np.float32) * rng.uniform(2, 10)
        rgb = np.clip(rgb + noise, 0, 255).astype(np.uint8)
    if rng.random() < 0.3:
        quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(40, 96))]
        _, packed = cv2.imencode(".jpg", rgb, quality)
        rgb = np.asarray(cv2.imdecode(packed, cv2.IMREAD_COLOR), np.uint8)
    return rgb


def blur(image: F32, sigma_px: float) -> F32:
    """Gaussian blur of a float picture or alpha."""
    return np.asarray(cv2.GaussianBlur(image, (0, 0), max(0.3, sigma_px)), np.float32)
