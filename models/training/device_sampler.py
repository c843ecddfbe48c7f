"""Whole batches of samples made on the training device: warps, composites, shadows and colour.

The GPU's counterpart of `composite.py`, with the same kinds of sample in the same shares; batch k
is a pure function of (seed, k, side, size, device). What it leaves out: JPEG noise, and photos
behind subjects being blurred by more than a few pixels.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional

from models.training.composite import Mix
from models.training.device_jitter import Dice, degrade, recolour, soften
from models.training.device_view import (
    affine_grid,
    beside_grid,
    close_grid,
    place_grid,
    share_seen,
    view_grid,
)
from models.training.resident import Resident, Shelf

SUBJECTS = 2  # at most, in one composite
SECOND = 0.25  # share of composites with a second subject


class DeviceSampler:
    """Draws batches from resident pictures by the shares of a mix."""

    def __init__(self, resident: Resident, mix: Mix, seed: int) -> None:
        self.resident, self.mix, self.seed = resident, mix, seed
        self.device = resident.photos.rgba.device

    def batches(self, side: int, size: int, first: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Endless batches, from batch number `first`: see `batch`."""
        number = first
        while True:
            yield self.batch(number, side, size)
            number += 1

    def batch(self, number: int, side: int, size: int) -> tuple[Tensor, Tensor]:
        """RGB (N, 3, S, S) and target maps (N, 4, S, S) as `composite.targets`, both uint8."""
        dice = Dice(self.seed, number, size, self.device)
        m = self.mix
        kind = dice.choose(torch.tensor([m.photo, m.composite, m.plain, m.empty]))
        base, alpha = self.photos(dice, side)
        ground = self.grounds(dice, side, studio=kind == 2, crowded=kind == 1)
        mixed, true_alpha = self.compose(dice, ground, side)
        is_photo, is_empty = (kind == 0).view(-1, 1, 1, 1), (kind == 3).view(-1, 1, 1, 1)
        rgb = torch.where(is_photo, base, torch.where(is_empty, ground, mixed))
        alpha = torch.where(is_photo, alpha, torch.where(is_empty, 0.0, true_alpha))
        rgb = degrade(dice, recolour(dice, rgb))
        maps = targets(alpha, is_true=~is_photo)
        return to_u8(rgb), to_u8(maps)

    def photos(self, dice: Dice, side: int) -> tuple[Tensor, Tensor]:
        """Masked photos in random views: RGB (N, 3, S, S) and alpha (N, 1, S, S) in [0, 1].

        A view that loses more than 40 % of its subject gives way to the whole photo.
        """
        shelf = self.resident.photos
        picks, grid = dice.draw(shelf), view_grid(dice, side)
        grid, close = self.nearer(dice, shelf, picks, grid)
        _, alpha = look(shelf, picks, grid)
        kept = alpha.mean((1, 2, 3)) * share_seen(grid)
        lost = ~close & (kept < 0.6 * shelf.rgba[picks, 3].float().mean((1, 2)) / 255.0)
        still = torch.zeros_like(dice.zero)
        whole = affine_grid((still + 1, still + 1), (still, still), still, side)
        return look(shelf, picks, torch.where(lost.view(-1, 1, 1, 1), whole, grid))

    def nearer(
        self, dice: Dice, shelf: Shelf, picks: Tensor, grid: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The grids, the mix's share of the tall subjects seen as close-ups; and which are (N,)."""
        if not self.mix.close:
            return grid, torch.zeros_like(dice.zero, dtype=torch.bool)
        closer, can = close_grid(dice, shelf, picks, grid.shape[1])
        close = can & dice.chance(self.mix.close)
        return torch.where(close.view(-1, 1, 1, 1), closer, grid), close

    def grounds(self, dice: Dice, side: int, *, studio: Tensor, crowded: Tensor) -> Tensor:
        """What stands behind, (N, 3, S, S) in [0, 1]: backgrounds, gradients, studios.

        `studio` and `crowded` (N,) say where a bright even ground is wanted and where a photo with
        things of its own may be taken.
        """
        shelf = self.resident.grounds
        rgb, _ = look(shelf, dice.draw(shelf), view_grid(dice, side))
        if self.mix.beside and len(self.resident.beside):
            photos = self.resident.beside
            picks = dice.draw(photos)
            grid, can = beside_grid(dice, photos, picks, side)
            strip = can & dice.chance(self.mix.beside)
            rgb = torch.where(strip.view(-1, 1, 1, 1), look(photos, picks, grid)[0], rgb)
        plain = self.resident.plain
        if len(plain):
            other, _ = look(plain, dice.draw(plain), view_grid(dice, side))
            rgb = torch.where((crowded & dice.chance(0.15)).view(-1, 1, 1, 1), other, rgb)
        rgb = torch.where(dice.chance(0.3).view(-1, 1, 1, 1), soften(rgb, 4.0), rgb)
        flat = studio | dice.chance(0.2)
        low = torch.where(studio, 0.5, 0.0).view(-1, 1, 1, 1)
        return torch.where(flat.view(-1, 1, 1, 1), gradient(dice, side, low), rgb)

    def compose(self, dice: Dice, ground: Tensor, side: int) -> tuple[Tensor, Tensor]:
        """Subjects laid over the ground: RGB (N, 3, S, S) and their exact alpha (N, 1, S, S)."""
        alpha = torch.zeros_like(ground[:, :1])
        for turn in range(SUBJECTS):
            rgb, own = self.subject(dice, side, small=turn > 0)
            if turn > 0:
                own = own * dice.chance(SECOND).view(-1, 1, 1, 1)
            shade = dice.chance(0.35).view(-1, 1, 1, 1) * dice.between(0.2, 0.6).view(-1, 1, 1, 1)
            ground = ground * (1.0 - shade * shadow(dice, own))
            tint = (ground.mean((2, 3), keepdim=True) - rgb.mean((2, 3), keepdim=True)) * 0.3
            rgb = torch.where(dice.chance(0.5).view(-1, 1, 1, 1), (rgb + tint).clamp(0, 1), rgb)
            ground = own * rgb + (1.0 - own) * ground
            alpha = own + (1.0 - own) * alpha
        return ground, alpha

    def subject(self, dice: Dice, side: int, small: bool) -> tuple[Tensor, Tensor]:
        """Straight RGB and alpha of one subject for every sample, put somewhere in the frame."""
        cut, photo = self.resident.cutouts, self.resident.photos
        lifted = dice.chance(self.mix.lifted)
        picks = dice.draw(photo)
        # a subject that its photo cut off stays where it stood, or the cut would show
        stays = ~photo.whole[picks] | dice.chance(0.3)
        placed = place_grid(dice, side, photo.box[picks], photo.aspect[picks], small=small)
        grid = torch.where(stays.view(-1, 1, 1, 1), view_grid(dice, side), placed)
        grid, _ = self.nearer(dice, photo, picks, grid)
        rgb, alpha = look(photo, picks, grid, outside="zeros")
        alpha = soften(alpha, 0.8)  # a mask's hard edge, feathered
        if len(cut):
            chosen = dice.draw(cut)
            grid = place_grid(
                dice,
                side,
                cut.box[chosen],
                cut.aspect[chosen],
                small=small,
                bust=~cut.whole[chosen],
            )
            cut_rgb, cut_alpha = look(cut, chosen, grid, outside="zeros")
            pick = lifted.view(-1, 1, 1, 1)
            rgb, alpha = torch.where(pick, rgb, cut_rgb), torch.where(pick, alpha, cut_alpha)
        return rgb, alpha


def look(
    shelf: Shelf, picks: Tensor, grid: Tensor, outside: str = "reflection"
) -> tuple[Tensor, Tensor]:
    """Pictures seen through sampling grids (N, S, S, 2): RGB and alpha in [0, 1]."""
    rgba = shelf.rgba[picks].float() / 255.0
    # premultiplied while it is resampled, as in subject.py
    alpha = rgba[:, 3:]
    seen = functional.grid_sample(
        torch.cat([rgba, rgba[:, :3] * alpha], dim=1),
        grid,
        padding_mode=outside,
        align_corners=False,
    )
    own = seen[:, 3:4]
    if outside == "reflection":
        return seen[:, :3], own
    return seen[:, 4:] / own.clamp(min=1e-3), own


def gradient(dice: Dice, side: int, low: Tensor) -> Tensor:
    """A colour or a gradient between two along a random direction, (N, 3, S, S) in [low, 1]."""
    first, second = (low + (1.0 - low) * dice.colours() for _ in range(2))
    axis = torch.linspace(-0.5, 0.5, side, device=dice.device)
    angle = dice.between(0.0, 6.2832).view(-1, 1, 1, 1)
    ramp = angle.cos() * axis.view(1, 1, 1, -1) + angle.sin() * axis.view(1, 1, -1, 1)
    return first + (second - first) * (ramp + 0.71) / 1.42


def shadow(dice: Dice, alpha: Tensor) -> Tensor:
    """A soft copy of the alphas (N, 1, S, S), moved by up to 8 % of the frame."""
    side = alpha.shape[-1]
    one, still = torch.ones_like(dice.zero), dice.zero
    away = (dice.between(-0.16, 0.16), dice.between(-0.12, 0.0))
    grid = affine_grid((one, one), away, still, side)
    moved = functional.grid_sample(alpha, grid, padding_mode="zeros", align_corners=False)
    return soften(moved, 0.03 * side)


def targets(alpha: Tensor, is_true: Tensor) -> Tensor:
    """`composite.targets` for a batch: (N, 4, S, S) in [0, 1]."""
    doubt, wide = edge_band(alpha, 2), edge_band(alpha, 5)
    return torch.cat([alpha, doubt, wide, is_true.expand_as(alpha).float()], dim=1)


def edge_band(alpha: Tensor, reach_px: int) -> Tensor:
    """1 within `reach_px` of where alpha changes by more than a tenth, else 0."""
    size = 2 * reach_px + 1
    most = functional.max_pool2d(alpha, size, 1, reach_px)
    least = -functional.max_pool2d(-alpha, size, 1, reach_px)
    return (most - least > 0.1).float()


def to_u8(values: Tensor) -> Tensor:
    """[0, 1] to rounded 0..255."""
    return (values.clamp(0, 1) * 255.0 + 0.5).to(torch.uint8)
