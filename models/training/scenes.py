"""Scenes of several subjects with the exact alpha of each, and a prompt that asks for one of them.

The click model's counterpart of `composite.Sampler`: `train.py` asks for scene number i, a pure
function of (seed, i, side).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.training.composite import Mix, Sampler, draw, targets, to_u8
from models.training.data import U8, Pool
from models.training.jitter import degrade, recolour
from models.training.prompts import (
    Box,
    Click,
    draw_maps,
    inner_click,
    next_click,
    rough_alpha,
    rough_box,
)
from models.training.subject import match_light
from models.training.view import random_view

F32 = NDArray[np.float32]
Rng = np.random.Generator

PHOTO_SHARE = 0.4  # of scenes that begin with a masked photo and not with an empty ground
SMALLEST = 0.004  # of the picture: a subject hidden further is nobody's wish


class SceneSampler:
    """Draws scenes from a pool by the shares of a mix."""

    def __init__(self, pool: Pool, mix: Mix, seed: int) -> None:
        self.subjects = Sampler(pool, mix, seed)
        self.pool, self.seed = pool, seed

    def sample(self, index: int, side: int) -> tuple[U8, U8, U8]:
        """RGB (S, S, 3), the wanted subject's target maps (S, S, 4), prompt maps (S/2, S/2, 4)."""
        rng = np.random.default_rng([self.seed, index])
        rgb, alphas, true_alpha = self.scene(rng, side)
        wanted = int(rng.integers(len(alphas)))
        alpha = alphas[wanted]
        others = np.zeros_like(alpha)
        for number, other in enumerate(alphas):
            others = others if number == wanted else np.maximum(others, other)
        maps = prompt_for(rng, alpha, others)
        rgb_u8 = degrade(rng, recolour(rng, to_u8(rgb)))
        return rgb_u8, targets(alpha, is_true=true_alpha[wanted]), maps

    def scene(self, rng: Rng, side: int) -> tuple[F32, list[F32], list[bool]]:
        """RGB in [0, 255], each visible subject's alpha (S, S), and whether that alpha is true."""
        alphas: list[F32] = []
        is_true: list[bool] = []
        if rng.random() < PHOTO_SHARE:
            photo = draw(rng, self.pool.photos, self.subjects.photo_sources)
            picture, mask = random_view(rng, photo, side)
            alphas.append(mask)
            is_true.append(False)
        else:
            picture = self.subjects.ground(rng, side, subjects_behind=False)
        layers = int(rng.integers(0, 3)) if alphas else int(rng.integers(1, 5))
        for _ in range(layers):
            layer = self.subjects.layer(rng, side, rng.uniform(0.2, 0.8))
            layer = match_light(rng, layer, picture) if rng.random() < 0.5 else layer
            left = 1.0 - layer.alpha
            picture = layer.premultiplied + left[..., None] * picture
            alphas = [np.asarray(alpha * left, np.float32) for alpha in alphas]
            alphas.append(layer.alpha)
            is_true.append(True)
        seen = [float((alpha > 0.5).mean()) > SMALLEST for alpha in alphas]
        if not any(seen):
            return self.scene(rng, side)
        kept = [number for number, visible in enumerate(seen) if visible]
        return picture, [alphas[n] for n in kept], [is_true[n] for n in kept]


def prompt_for(rng: Rng, alpha: F32, others: F32) -> U8:
    """Prompt maps (S/2, S/2, 4) of somebody who wants `alpha` (S, S) and not `others`.

    Clicks in 55 % of cases, a box in 20 %, both in 10 %, a correction of an earlier alpha in 15 %.
    """
    side = alpha.shape[0] // 2
    region, rest = alpha >= 0.5, alpha < 0.1
    pick = rng.random()
    if pick < 0.15:
        earlier = rough_alpha(rng, alpha, others)
        fix = next_click(earlier, alpha)
        return draw_maps([fix] if fix else [], None, earlier, side)
    box: Box | None = rough_box(rng, region) if pick < 0.45 else None
    clicks: list[Click | None] = []
    if pick >= 0.35:
        clicks += [inner_click(rng, region, True) for _ in range(int(rng.integers(1, 4)))]
        if rng.random() < 0.4:
            unwanted = (others >= 0.5) & rest
            clicks.append(inner_click(rng, unwanted if unwanted.any() else rest, False))
    return draw_maps([click for click in clicks if click], box, None, side)
