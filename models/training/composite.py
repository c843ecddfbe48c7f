"""One training sample from a seed: a photo, a composite, a cut-out in a studio, or nothing.

`train.py` asks a `Sampler` for sample number i; sample i is a pure function of (seed, i, side), so
a run can resume anywhere and a worker process needs no state. All pictures are stretched to the
square, as the server stretches them.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from models.training.data import U8, Picture, Pool
from models.training.ground import cast_shadow, flat_ground, floor_shadow, studio_ground
from models.training.jitter import blur, degrade, recolour
from models.training.subject import (
    CUT_BELOW,
    NEARER,
    Layer,
    from_cutout,
    from_photo,
    lift,
    match_light,
    place,
)
from models.training.view import beside, close_up, random_view

F32 = NDArray[np.float32]
Rng = np.random.Generator


@dataclass(frozen=True)
class Mix:
    """Shares of the kinds of sample (they need not add up to 1) and of the sources.

    `lifted` is the share of composed subjects that come from masked photos and not from cut-outs,
    `beside` that of grounds which are a strip beside the subject of a masked photo, and `close`
    that of the photos of tall subjects of which only the upper part is shown.
    """

    photo: float
    composite: float
    plain: float
    empty: float
    lifted: float
    photo_sources: dict[str, float]
    lifted_sources: dict[str, float]
    cutout_sources: dict[str, float]
    beside: float = 0.0
    beside_sources: dict[str, float] = field(default_factory=dict)
    close: float = 0.0


class Sampler:
    """Draws samples from a pool by the shares of a mix."""

    def __init__(self, pool: Pool, mix: Mix, seed: int) -> None:
        self.pool = pool
        self.mix = mix
        self.seed = seed
        self.photo_sources = shares(mix.photo_sources, pool.photos)
        self.lifted_sources = shares(mix.lifted_sources, pool.photos)
        self.cutout_sources = shares(mix.cutout_sources, pool.cutouts)
        self.beside_sources = shares(mix.beside_sources, pool.photos) if mix.beside else {}

    def sample(self, index: int, side: int) -> tuple[U8, U8]:
        """RGB (S, S, 3) and target maps (S, S, 4), uint8; see `targets` for the maps."""
        rng = np.random.default_rng([self.seed, index])
        m = self.mix
        kinds = np.array([m.photo, m.composite, m.plain, m.empty])
        kind = rng.choice(4, p=kinds / kinds.sum())
        if kind == 0:
            rgb, alpha = random_view(rng, self.photo(rng, self.photo_sources), side)
        elif kind == 1:
            rgb, alpha = self.composite(rng, side, self.ground(rng, side))
        elif kind == 2:
            rgb, alpha = self.composite(rng, side, studio_ground(rng, side), studio=True)
        else:
            rgb, alpha = self.empty(rng, side), np.zeros((side, side), np.float32)
        rgb_u8 = degrade(rng, recolour(rng, to_u8(rgb)))
        return rgb_u8, targets(alpha, is_true=kind != 0)

    def photo(self, rng: Rng, weights: dict[str, float]) -> Picture:
        """A masked photo, or a close-up of one."""
        photo = draw(rng, self.pool.photos, weights)
        if self.mix.close and rng.random() < self.mix.close:
            return close_up(rng, photo) or photo
        return photo

    def empty(self, rng: Rng, side: int) -> F32:
        """A picture without a subject, float32 RGB in [0, 255]."""
        pick = rng.random()
        if pick < 0.1:
            return studio_ground(rng, side)
        return self.ground(rng, side, subjects_behind=False)

    def ground(self, rng: Rng, side: int, subjects_behind: bool = True) -> F32:
        """What stands behind, float32 RGB in [0, 255]; one in five is flat or a gradient.

        `subjects_behind` also allows photos that hold things themselves: behind a subject they
        teach what is in front.
        """
        pick = rng.random()
        if pick < 0.2:
            return flat_ground(rng, side)
        crowded = subjects_behind and pick > 0.85 and self.pool.plain
        source = self.pool.plain if crowded else self.pool.backgrounds
        picture = source[rng.integers(len(source))]
        if self.beside_sources and not crowded and rng.random() < self.mix.beside:
            strip = beside(rng, draw(rng, self.pool.photos, self.beside_sources))
            picture = strip or picture
        ground, _ = random_view(rng, picture, side)
        if rng.random() < 0.3:  # shallow depth of field
            ground = blur(ground, rng.uniform(0.005, 0.03) * side)
        return ground

    def composite(self, rng: Rng, side: int, ground: F32, studio: bool = False) -> tuple[F32, F32]:
        """One or two subjects over the ground; the alpha is true by construction."""
        layers = [self.layer(rng, side, rng.uniform(0.3, 1.1))]
        if rng.random() < 0.25:
            layers.append(self.layer(rng, side, rng.uniform(0.2, 0.6)))
        alpha = np.zeros((side, side), np.float32)
        for plain in layers:
            layer = match_light(rng, plain, ground) if rng.random() < 0.5 else plain
            if rng.random() < (0.3 if studio else 0.25):
                ground = cast_shadow(rng, layer.alpha, ground)
            if studio and rng.random() < 0.5:
                ground = floor_shadow(rng, layer.alpha, ground)
            ground = layer.premultiplied + (1.0 - layer.alpha[..., None]) * ground
            alpha = layer.alpha + (1.0 - layer.alpha) * alpha
        return ground, alpha

    def layer(self, rng: Rng, side: int, scale: float) -> Layer:
        """A cut-out or a masked photo's subject, somewhere in the frame at `scale` of it."""
        if self.cutout_sources and rng.random() >= self.mix.lifted:
            cutout = draw(rng, self.pool.cutouts, self.cutout_sources)
            if cutout.row.is_bust:
                return place(rng, from_cutout(cutout), side, scale * NEARER, CUT_BELOW)
            return place(rng, from_cutout(cutout), side, scale)
        photo = self.photo(rng, self.lifted_sources)
        layer, cuts = from_photo(rng, photo)
        if cuts.opposite or rng.random() < 0.3:  # left where it stood
            return lift(rng, *random_view(rng, photo, side))
        return place(rng, layer, side, scale, cuts)


def shares(wanted: dict[str, float], held: dict[str, list[Picture]]) -> dict[str, float]:
    """Shares over the sources that are held, adding up to 1; `rest` is split over the others."""
    rest = [name for name in held if name not in wanted]
    weights = {name: wanted[name] for name in held if name in wanted}
    count = sum(len(held[name]) for name in rest)
    for name in rest:
        weights[name] = wanted.get("rest", 0.0) * len(held[name]) / count
    total = sum(weights.values())
    return {name: value / total for name, value in weights.items() if value > 0}


def draw(rng: Rng, held: dict[str, list[Picture]], weights: dict[str, float]) -> Picture:
    """A picture: first its source by weight, then any of that source."""
    names = list(weights)
    pictures = held[names[rng.choice(len(names), p=list(weights.values()))]]
    return pictures[rng.integers(len(pictures))]


def targets(alpha: F32, is_true: bool) -> U8:
    """The maps the loss reads, (S, S, 4) uint8: alpha, doubt, 5 px edge, 255 where true.

    `doubt` is 255 within 2 px of an edge: there a hard mask is a guess.
    """
    alpha_u8 = to_u8(alpha * 255.0)
    doubt = edge_band(alpha_u8, 2)
    wide = edge_band(alpha_u8, 5)
    return np.dstack([alpha_u8, doubt, wide, np.full_like(alpha_u8, 255 if is_true else 0)])


def edge_band(alpha_u8: U8, reach_px: int) -> U8:
    """255 within `reach_px` of where alpha changes by more than a tenth, else 0."""
    brush = np.ones((2 * reach_px + 1, 2 * reach_px + 1), np.uint8)
    spread = cv2.subtract(cv2.dilate(alpha_u8, brush), cv2.erode(alpha_u8, brush))
    return np.where(spread > 25, 255, 0).astype(np.uint8)


def to_u8(values: F32) -> U8:
    """Rounded and clipped to 0..255."""
    return np.asarray(np.clip(values + 0.5, 0.0, 255.0), np.uint8)
