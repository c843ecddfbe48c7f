"""A subject ready to be laid over a ground: lifted from a masked photo, or a cut-out put in place.

`composite.py` draws them. Everything here works on premultiplied colour, because resizing straight
RGBA bleeds the hidden colour of transparent pixels into the edges.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from models.training.data import U8, Picture
from models.training.jitter import blur

F32 = NDArray[np.float32]
Rng = np.random.Generator

HEADROOM = 0.03  # of the frame, over a subject that its lower edge cuts
NEARER = 1.25  # scale of a bust against that of other cut-outs
TOUCHES = 0.04  # of a side's length under the subject: then the frame cut the subject there


@dataclass(frozen=True)
class Layer:
    """Premultiplied RGB (H, W, 3) in [0, 255] and alpha (H, W) in [0, 1], both float32."""

    premultiplied: F32
    alpha: F32


@dataclass(frozen=True)
class Cuts:
    """The sides on which the frame of the photo cut its subject off."""

    left: bool = False
    top: bool = False
    right: bool = False
    bottom: bool = False

    @property
    def opposite(self) -> bool:
        """True when the subject runs through the whole photo, so that it can only stay there."""
        return (self.left and self.right) or (self.top and self.bottom)


NO_CUTS = Cuts()
CUT_BELOW = Cuts(bottom=True)


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


def cut_sides(mask: U8) -> Cuts:
    """Where the subject of an (H, W) uint8 mask runs out of the frame."""
    inside = mask > 127
    left, right = float(inside[:, 0].mean()), float(inside[:, -1].mean())
    top, bottom = float(inside[0].mean()), float(inside[-1].mean())
    return Cuts(left > TOUCHES, top > TOUCHES, right > TOUCHES, bottom > TOUCHES)


def from_cutout(cutout: Picture) -> Layer:
    """A cut-out with true alpha as a layer of its own size."""
    if cutout.alpha is None:
        raise ValueError(f"{cutout.row.file} has no alpha, so it is no cut-out")
    alpha = cutout.alpha.astype(np.float32) / 255.0
    return Layer(cutout.rgb.astype(np.float32) * alpha[..., None], alpha)


def from_photo(rng: Rng, photo: Picture) -> tuple[Layer, Cuts]:
    """A masked photo's subject cropped to its box, and where the photo's frame cut it."""
    if photo.alpha is None:
        raise ValueError(f"{photo.row.file} has no mask, so nothing can be lifted from it")
    ys, xs = (np.nonzero(photo.alpha.max(axis=axis) > 127)[0] for axis in (1, 0))
    if len(ys) < 8 or len(xs) < 8:  # next to nothing: the whole photo's layer, nearly empty
        ys, xs = (np.arange(n) for n in photo.alpha.shape)
    spare = 4  # px, room for the feather
    h, w = photo.alpha.shape
    box = (
        slice(max(0, ys[0] - spare), min(h, ys[-1] + 1 + spare)),
        slice(max(0, xs[0] - spare), min(w, xs[-1] + 1 + spare)),
    )
    mask = photo.alpha[box].astype(np.float32) / 255.0
    return lift(rng, photo.rgb[box].astype(np.float32), mask), cut_sides(photo.alpha)


def place(rng: Rng, layer: Layer, side: int, scale: float, cuts: Cuts = NO_CUTS) -> Layer:
    """The layer scaled to `scale` of a square frame, turned, its centre inside the frame.

    A side on which the subject was cut is put on the frame's own side, where a cut is natural. What
    is cut below and higher than the frame keeps its head.
    """
    rgba = np.dstack([layer.premultiplied, layer.alpha * 255.0])
    h, w = layer.alpha.shape
    zoom = scale * side / max(h, w)
    # the frame is a stretched photo: a 3:2 photo squeezes its subjects by 1.5
    aspect = float(np.exp(rng.uniform(-0.35, 0.35)))
    size = (max(4, round(w * zoom * aspect)), max(4, round(h * zoom / aspect)))
    how = cv2.INTER_AREA if zoom < 1.0 else cv2.INTER_LINEAR
    rgba = np.asarray(cv2.resize(rgba, size, interpolation=how), np.float32)
    left, right = cuts.left, cuts.right
    if rng.random() < 0.5:
        rgba, left, right = rgba[:, ::-1], right, left
    reach = 0.5 - 0.35 * min(1.0, scale)  # large subjects stay near the middle
    x, y = side * (0.5 + rng.uniform(-reach, reach, 2))
    degrees = rng.uniform(-25, 25) if rng.random() < 0.5 else rng.uniform(-6, 6)
    if cuts != NO_CUTS:
        degrees = 0.0
        x = size[0] / 2 if left else side - size[0] / 2 if right else x
        low = max(side - size[1] / 2, size[1] / 2 + HEADROOM * side)
        y = size[1] / 2 if cuts.top else low if cuts.bottom else y
    turn = cv2.getRotationMatrix2D((size[0] / 2, size[1] / 2), degrees, 1.0)
    turn[:, 2] += np.array([x - size[0] / 2, y - size[1] / 2])
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
