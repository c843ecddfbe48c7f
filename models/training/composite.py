"""One training sample from a seed: a photo, a composite, a cut-out on a plain ground, or nothing.

`train.py` asks a `Sampler` for sample number i; sample i is a pure function of (seed, i, side), so
a run can resume anywhere and a worker process needs no state. All pictures are stretched to the
square, as the server stretches them.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from models.training.data import U8, Picture, Pool
from models.training.jitter import blur, degrade, recolour

F32 = NDArray[np.float32]
Rng = np.random.Generator


@dataclass(frozen=True)
class Mix:
    """Shares of the kinds of sample (they need not add up to 1) and of the photo sources."""

    photo: float
    composite: float
    plain: float
    empty: float
    photo_sources: dict[str, float]
    cutout_sources: dict[str, float]


@dataclass(frozen=True)
class Layer:
    """A subject ready to be laid over a ground: premultiplied RGB (S, S, 3) and alpha (S, S).

    Both float32, RGB in [0, 255], alpha in [0, 1]. Premultiplied, because resizing straight RGBA
    bleeds the hidden colour of transparent pixels into the edges.
    """

    premultiplied: F32
    alpha: F32


class Sampler:
    """Draws samples from a pool by the shares of a mix."""

    def __init__(self, pool: Pool, mix: Mix, seed: int) -> None:
        self.pool = pool
        self.mix = mix
        self.seed = seed
        self.photo_sources = shares(mix.photo_sources, pool.photos)
        self.cutout_sources = shares(mix.cutout_sources, pool.cutouts)

    def sample(self, index: int, side: int) -> tuple[U8, U8]:
        """RGB (S, S, 3) and target maps (S, S, 4), uint8; see `targets` for the maps."""
        rng = np.random.default_rng([self.seed, index])
        m = self.mix
        kinds = np.array([m.photo, m.composite, m.plain, m.empty])
        kind = rng.choice(4, p=kinds / kinds.sum())
        if kind == 0:
            rgb, alpha = self.photo(rng, side)
        elif kind == 1:
            rgb, alpha = self.composite(rng, side, self.ground(rng, side))
        elif kind == 2:
            rgb, alpha = self.composite(rng, side, flat_ground(rng, side, bright=True))
        else:
            rgb, alpha = self.ground(rng, side), np.zeros((side, side), np.float32)
        rgb_u8 = degrade(rng, recolour(rng, to_u8(rgb)))
        return rgb_u8, targets(alpha, is_true=kind != 0)

    def photo(self, rng: Rng, side: int) -> tuple[F32, F32]:
        """A photo with its human-made mask, randomly cropped and stretched to the square."""
        rgb, mask = random_view(rng, self.draw_photo(rng), side)
        return rgb, mask

    def draw_photo(self, rng: Rng) -> Picture:
        """A photo with a mask: first the source by its share, then any picture of it."""
        return draw(rng, self.pool.photos, self.photo_sources)

    def ground(self, rng: Rng, side: int) -> F32:
        """A subject-free ground, float32 RGB in [0, 255]; one in five is flat or a gradient."""
        pick = rng.random()
        if pick < 0.2:
            return flat_ground(rng, side, bright=False)
        # photos without a mask hold things too: behind a subject they teach what is in front
        source = self.pool.plain if pick > 0.85 and self.pool.plain else self.pool.backgrounds
        picture = source[rng.integers(len(source))]
        ground, _ = random_view(rng, picture, side)
        if rng.random() < 0.3:  # shallow depth of field
            ground = blur(ground, rng.uniform(0.005, 0.03) * side)
        return ground

    def composite(self, rng: Rng, side: int, ground: F32) -> tuple[F32, F32]:
        """One or two subjects over the ground; the alpha is true by construction."""
        layers = [self.layer(rng, side)]
        if rng.random() < 0.2:
            layers.append(self.layer(rng, side, small=True))
        alpha = np.zeros((side, side), np.float32)
        for plain in layers:
            layer = match_light(rng, plain, ground) if rng.random() < 0.5 else plain
            if rng.random() < 0.25:
                ground = cast_shadow(rng, layer, ground)
            ground = layer.premultiplied + (1.0 - layer.alpha[..., None]) * ground
            alpha = layer.alpha + (1.0 - layer.alpha) * alpha
        return ground, alpha

    def layer(self, rng: Rng, side: int, small: bool = False) -> Layer:
        """A cut-out placed at random, or a masked photo's subject left where it stood."""
        if self.cutout_sources and rng.random() < (1.0 if small else 0.55):
            cutout = draw(rng, self.pool.cutouts, self.cutout_sources)
            scale = rng.uniform(0.2, 0.45) if small else rng.uniform(0.3, 1.1)
            return place(rng, cutout, side, scale)
        return lift(rng, *random_view(rng, self.draw_photo(rng), side))


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


def random_view(rng: Rng, picture: Picture, side: int) -> tuple[F32, F32]:
    """A crop that keeps at least 60 % of the subject, perhaps flipped and rotated, stretched.

    RGB float32 (S, S, 3) in [0, 255] and alpha float32 (S, S) in [0, 1] (zeros without a mask).
    """
    rgb, mask = picture.rgb, picture.alpha
    if mask is None:
        mask = np.zeros(rgb.shape[:2], np.uint8)
    h, w = mask.shape
    if rng.random() < 0.3:
        turn = cv2.getRotationMatrix2D((w / 2, h / 2), rng.uniform(-15, 15), 1.0)
        rgb, mask = (
            np.asarray(cv2.warpAffine(x, turn, (w, h), borderMode=cv2.BORDER_REFLECT_101), np.uint8)
            for x in (rgb, mask)
        )
    if rng.random() < 0.75:
        subject = float(mask.sum(dtype=np.int64))
        for _ in range(4):
            ch, cw = (max(16, int(n * rng.uniform(0.5, 1.0))) for n in (h, w))
            y, x = int(rng.integers(0, max(1, h - ch))), int(rng.integers(0, max(1, w - cw)))
            kept = float(mask[y : y + ch, x : x + cw].sum(dtype=np.int64))
            if kept >= 0.6 * subject:
                rgb, mask = rgb[y : y + ch, x : x + cw], mask[y : y + ch, x : x + cw]
                break
    if rng.random() < 0.5:
        rgb, mask = rgb[:, ::-1], mask[:, ::-1]
    view = stretch(np.ascontiguousarray(rgb), side).astype(np.float32)
    alpha = stretch(np.ascontiguousarray(mask), side).astype(np.float32) / 255.0
    return view, alpha


def stretch(image: U8, side: int) -> U8:
    """The picture as a square, its aspect given up; averaged where it shrinks."""
    shrinks = min(image.shape[:2]) > side
    how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, (side, side), interpolation=how), np.uint8)


def lift(rng: Rng, rgb: F32, mask: F32) -> Layer:
    """A photo's subject as a layer, its hard mask feathered by 1 to 2 px.

    Colours in the feather are the subject's own, averaged from inside the mask (blur fusion), so
    that the old ground does not shine through the new edge.
    """
    alpha = blur(mask, rng.uniform(0.5, 1.2))
    inside = (mask > 0.95).astype(np.float32)
    near = cv2.blur(inside, (9, 9))[..., None]
    colour = cv2.blur(rgb * inside[..., None], (9, 9)) / np.maximum(near, 0.02)
    solid = cv2.erode(inside, np.ones((3, 3), np.uint8))[..., None]
    own = solid * rgb + (1.0 - solid) * np.minimum(colour, 255.0)
    return Layer((own * alpha[..., None]).astype(np.float32), alpha)


def place(rng: Rng, cutout: Picture, side: int, scale: float) -> Layer:
    """A cut-out scaled to `scale` of the frame, turned, its centre inside the frame."""
    if cutout.alpha is None:
        raise ValueError(f"{cutout.row.file} has no alpha, so it is no cut-out")
    rgba = np.dstack([cutout.rgb, cutout.alpha]).astype(np.float32)
    rgba[..., :3] *= rgba[..., 3:] / 255.0
    h, w = rgba.shape[:2]
    zoom = scale * side / max(h, w)
    # the frame is a stretched photo: a 3:2 photo squeezes its subjects by 1.5
    aspect = float(np.exp(rng.uniform(-0.35, 0.35)))
    size = (max(4, round(w * zoom * aspect)), max(4, round(h * zoom / aspect)))
    how = cv2.INTER_AREA if zoom < 1.0 else cv2.INTER_LINEAR
    rgba = np.asarray(cv2.resize(rgba, size, interpolation=how), np.float32)
    if rng.random() < 0.5:
        rgba = rgba[:, ::-1]
    reach = 0.5 - 0.35 * min(1.0, scale)  # large subjects stay near the middle
    centre = side * (0.5 + rng.uniform(-reach, reach, 2))
    turn = cv2.getRotationMatrix2D((size[0] / 2, size[1] / 2), rng.uniform(-15, 15), 1.0)
    turn[:, 2] += centre - np.array([size[0] / 2, size[1] / 2])
    full = cv2.warpAffine(np.ascontiguousarray(rgba), turn, (side, side))
    return Layer(full[..., :3].astype(np.float32), (full[..., 3] / 255.0).astype(np.float32))


def match_light(rng: Rng, layer: Layer, ground: F32) -> Layer:
    """The layer's mean colour moved part of the way to the ground's."""
    area = float(layer.alpha.sum())
    if area < 1.0:
        return layer
    own = layer.premultiplied.sum(axis=(0, 1)) / area
    shift = (ground.mean(axis=(0, 1)) - own) * rng.uniform(0.1, 0.5)
    moved = layer.premultiplied + layer.alpha[..., None] * shift.astype(np.float32)
    return Layer(np.clip(moved, 0.0, 255.0 * layer.alpha[..., None]), layer.alpha)


def cast_shadow(rng: Rng, layer: Layer, ground: F32) -> F32:
    """The ground darkened by a soft, shifted copy of the alpha; a shadow is labelled background."""
    side = ground.shape[0]
    shift = np.array([[1, 0, rng.uniform(-0.08, 0.08) * side], [0, 1, rng.uniform(0, 0.06) * side]])
    moved = np.asarray(cv2.warpAffine(layer.alpha, shift, (side, side)), np.float32)
    shadow = blur(moved, rng.uniform(0.01, 0.05) * side)
    return ground * (1.0 - rng.uniform(0.2, 0.6) * shadow[..., None])


def flat_ground(rng: Rng, side: int, bright: bool) -> F32:
    """One colour or a gradient between two, float32 RGB; `bright` is a studio's white or grey."""
    if bright:
        grey = rng.uniform(150, 255) if rng.random() < 0.5 else 255.0
        ends = np.stack([np.full(3, grey), np.full(3, grey * rng.uniform(0.85, 1.0))])
    else:
        ends = rng.uniform(0, 255, (2, 3))
    if rng.random() < 0.5:
        ends[1] = ends[0]
    ramp = np.linspace(0.0, 1.0, side, dtype=np.float32)[:, None, None]
    ground = ends[0] * (1.0 - ramp) + ends[1] * ramp
    ground = np.broadcast_to(ground, (side, side, 3)).astype(np.float32)
    return np.ascontiguousarray(ground.transpose(1, 0, 2)) if rng.random() < 0.5 else ground


def targets(alpha: F32, is_true: bool) -> U8:
    """The maps the loss reads, (S, S, 4) uint8: alpha, 2 px edge, 5 px edge, 255 where true."""
    alpha_u8 = to_u8(alpha * 255.0)
    near = edge_band(alpha_u8, 2)
    wide = edge_band(alpha_u8, 5)
    return np.dstack([alpha_u8, near, wide, np.full_like(alpha_u8, 255 if is_true else 0)])


def edge_band(alpha_u8: U8, reach_px: int) -> U8:
    """255 within `reach_px` of where alpha changes by more than a tenth, else 0."""
    brush = np.ones((2 * reach_px + 1, 2 * reach_px + 1), np.uint8)
    spread = cv2.subtract(cv2.dilate(alpha_u8, brush), cv2.erode(alpha_u8, brush))
    return np.where(spread > 25, 255, 0).astype(np.uint8)


def to_u8(values: F32) -> U8:
    """Rounded and clipped to 0..255."""
    return np.asarray(np.clip(values + 0.5, 0.0, 255.0), np.uint8)
