"""The training pictures as tensors that stay on the training device: no byte moves while it trains.

`device_sampler.py` draws from them. Every picture is stretched to one square, as the network's
input is, and its own aspect kept beside it, so that a subject can be laid down undistorted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from models.training.composite import Mix, shares
from models.training.data import Picture, Pool, extent
from models.training.subject import cut_sides
from models.training.view import stretch


@dataclass(frozen=True)
class Shelf:
    """Pictures of one use: RGBA (K, 4, S, S) uint8 on the device; alpha is 0 without a mask.

    `aspect` (K,) is width over height before the stretch, `box` (K, 4) the subject's left, top,
    right and bottom in shares of the square, `weight` (K,) the chance of each to be drawn, and
    `whole` (K,) is True where no side of the frame cut the subject off.
    """

    rgba: Tensor
    aspect: Tensor
    box: Tensor
    weight: Tensor
    whole: Tensor

    def __len__(self) -> int:
        return len(self.rgba)


@dataclass(frozen=True)
class Resident:
    """All shelves a run draws from."""

    photos: Shelf
    cutouts: Shelf
    grounds: Shelf
    plain: Shelf
    beside: Shelf  # the photos again, by their chance to lend a strip of ground

    @property
    def bytes_held(self) -> int:
        """Bytes of pixels on the device."""
        pixels = {id(shelf.rgba): shelf.rgba.numel() for shelf in vars(self).values()}
        return sum(pixels.values())


def make_resident(pool: Pool, mix: Mix, side: int, device: torch.device) -> Resident:
    """The pool on the device, stretched to `side` x `side`."""
    photos = shelf_by_source(pool.photos, mix.photo_sources, side, device)
    lent = torch.tensor(chances(pool.photos, mix.beside_sources), device=device)
    return Resident(
        photos=photos,
        cutouts=shelf_by_source(pool.cutouts, mix.cutout_sources, side, device),
        grounds=shelf(pool.backgrounds, [1.0] * len(pool.backgrounds), side, device),
        plain=shelf(pool.plain, [1.0] * len(pool.plain), side, device),
        beside=replace(photos, weight=lent),
    )


def shelf_by_source(
    held: dict[str, list[Picture]], wanted: dict[str, float], side: int, device: torch.device
) -> Shelf:
    """A shelf whose chances follow the sources' shares."""
    pictures = [picture for pictures in held.values() for picture in pictures]
    return shelf(pictures, chances(held, wanted), side, device)


def chances(held: dict[str, list[Picture]], wanted: dict[str, float]) -> list[float]:
    """The chance of each held picture, source by source; 0 where its source is not wanted."""
    share = shares(wanted, held)
    return [share.get(name, 0.0) / len(held[name]) for name in held for _ in held[name]]


def shelf(
    pictures: Sequence[Picture], weights: Sequence[float], side: int, device: torch.device
) -> Shelf:
    """Pictures stretched and put on the device."""
    rgba = np.zeros((len(pictures), 4, side, side), np.uint8)
    aspect = np.ones(len(pictures), np.float32)
    box = np.tile(np.array([0, 0, 1, 1], np.float32), (len(pictures), 1))
    whole = np.ones(len(pictures), bool)
    for index, picture in enumerate(pictures):
        rgba[index, :3] = stretch(picture.rgb, side).transpose(2, 0, 1)
        aspect[index] = picture.rgb.shape[1] / picture.rgb.shape[0]
        if picture.alpha is not None:
            rgba[index, 3] = stretch(picture.alpha, side)
            box[index] = subject_box(rgba[index, 3])
            # a cut-out ends at its own edge, which is no photo's frame, but for a bust
            if picture.row.is_bust:
                whole[index] = False
            elif picture.row.folder == "images":
                cuts = cut_sides(picture.alpha)
                whole[index] = not (cuts.left or cuts.top or cuts.right or cuts.bottom)
    return Shelf(
        torch.from_numpy(rgba).to(device),
        torch.from_numpy(aspect).to(device),
        torch.from_numpy(box).to(device),
        torch.tensor(list(weights), dtype=torch.float32, device=device),
        torch.from_numpy(whole).to(device),
    )


def subject_box(alpha: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> list[float]:
    """Left, top, right and bottom of alpha > 127 in shares of the side; the whole without any."""
    side = alpha.shape[0]
    return [edge / side for edge in extent(alpha > 127) or (0, 0, side, side)]
