"""Where a batch on the training device looks: sampling grids (N, S, S, 2) into resident pictures.

The GPU's counterpart of `view.py` and of `subject.place`; `device_sampler.py` draws them. Places
are in [-1, 1], as `grid_sample` reads them.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from models.training.device_jitter import Dice
from models.training.resident import Shelf
from models.training.subject import HEADROOM, NEARER
from models.training.view import CLOSE, CLOSE_PX, OUTSIDE_PX, TALL


def view_grid(dice: Dice, side: int) -> Tensor:
    """Grids (N, S, S, 2) of random crops, flips and small turns of the whole picture."""
    zoom = torch.where(dice.chance(0.8), dice.between(0.5, 1.0), torch.ones_like(dice.zero))
    stretch = dice.between(-0.15, 0.15).exp()
    zx, zy = (zoom * stretch).clamp(max=1.0), (zoom / stretch).clamp(max=1.0)
    x, y = (1 - zx) * dice.between(-1, 1), (1 - zy) * dice.between(-1, 1)
    flip = torch.where(dice.chance(0.5), -1.0, 1.0)
    turn = torch.where(dice.chance(0.35), dice.between(-0.38, 0.38), dice.zero)
    return affine_grid((zx * flip, zy), (x, y), turn, side)


def place_grid(
    dice: Dice, side: int, box: Tensor, aspect: Tensor, *, small: bool, bust: Tensor | None = None
) -> Tensor:
    """Grids that put each picture's subject box (N, 4) into the frame at a random scale.

    `bust` (N,) says which subjects the frame's lower edge cuts, as `subject.place` puts them.
    """
    scale = dice.between(0.2, 0.6) if small else dice.between(0.3, 1.1)
    if bust is not None:
        scale = torch.where(bust, scale * NEARER, scale)
    width, height = box[:, 2] - box[:, 0], box[:, 3] - box[:, 1]
    jitter = dice.between(-0.35, 0.35).exp()
    w, h = width * aspect * jitter, height / jitter  # in units of the picture's own height
    longest = torch.maximum(w, h)
    # frame -> picture: the frame covers 1 / scale of the box's longer side
    zx, zy = width * longest / (w * scale), height * longest / (h * scale)
    reach = (1.0 - 0.7 * scale.clamp(max=1.0)) * 1.0
    x = box[:, 0] + box[:, 2] - 1 + zx * reach * dice.between(-1, 1)
    y = box[:, 1] + box[:, 3] - 1 + zy * reach * dice.between(-1, 1)
    flip = torch.where(dice.chance(0.5), -1.0, 1.0)
    turn = dice.between(-0.3, 0.3)
    if bust is not None:
        low, high = 2 * box[:, 3] - 1 - zy, 2 * box[:, 1] - 1 + zy * (1 - 2 * HEADROOM)
        y = torch.where(bust, torch.minimum(low, high), y)
        turn = torch.where(bust, 0.0, turn)
    return affine_grid((zx * flip, zy), (x, y), turn, side)


def close_grid(dice: Dice, shelf: Shelf, picks: Tensor, side: int) -> tuple[Tensor, Tensor]:
    """Grids of the upper part of each tall subject, as `view.close_up`; and which are tall (N,)."""
    box, aspect = shelf.box[picks], shelf.aspect[picks]
    left, top, right, bottom = box.unbind(1)
    tall, wide = bottom - top, (right - left) * aspect  # both in units of the picture's height
    least = (CLOSE_PX / (tall * shelf.rgba.shape[-1])).clamp(*CLOSE)
    can = (tall >= TALL * wide) & (least < CLOSE[1])
    kept = tall * torch.lerp(least.log(), dice.zero + math.log(CLOSE[1]), dice.between(0, 1)).exp()
    y0, y1 = (top - dice.between(0.02, 0.3) * kept).clamp(min=0.0), top + kept
    width = dice.between(0.6, 1.6) * (y1 - y0) / aspect
    across = (left + right) / 2 + dice.between(-0.2, 0.2) * width
    x0, x1 = (across - width / 2).clamp(min=0.0), (across + width / 2).clamp(max=1.0)
    flip = torch.where(dice.chance(0.5), -1.0, 1.0)
    return affine_grid(
        ((x1 - x0) * flip, y1 - y0), (x0 + x1 - 1, y0 + y1 - 1), dice.zero, side
    ), can


def beside_grid(dice: Dice, shelf: Shelf, picks: Tensor, side: int) -> tuple[Tensor, Tensor]:
    """Grids of a strip beside each subject, as `view.beside`; and which have room for one (N,)."""
    left, top, right, bottom = shelf.box[picks].unbind(1)
    none, full = torch.zeros_like(left), torch.ones_like(left)
    strips = torch.stack(
        [
            torch.stack([none, none, left, full], 1),
            torch.stack([right, none, full, full], 1),
            torch.stack([none, none, full, top], 1),
            torch.stack([none, bottom, full, full], 1),
        ],
        1,
    )
    wide = (strips[..., 2:] - strips[..., :2]).amin(2) * shelf.rgba.shape[-1] >= OUTSIDE_PX
    can = wide.any(1)
    chosen = dice.choose(torch.where(can[:, None], wide, True).float())
    x0, y0, x1, y1 = strips[torch.arange(len(picks)), chosen].unbind(1)
    # mirrored at the strip's own sides: what lies beyond one of them is the subject
    inside = 1 - ((view_grid(dice, side) + 1) % 4 - 2).abs()
    size, middle = torch.stack([x1 - x0, y1 - y0], 1), torch.stack([x0 + x1, y0 + y1], 1) - 1
    return inside * size[:, None, None] + middle[:, None, None], can


def affine_grid(
    zoom: tuple[Tensor, Tensor], centre: tuple[Tensor, Tensor], turn: Tensor, side: int
) -> Tensor:
    """Grids (N, S, S, 2) that see `zoom` of the picture around `centre` (in [-1, 1]), turned."""
    c, s = turn.cos(), turn.sin()
    across = torch.stack([zoom[0] * c, -zoom[0] * s, centre[0]], -1)
    down = torch.stack([zoom[1] * s, zoom[1] * c, centre[1]], -1)
    theta = torch.stack([across, down], 1)
    return functional.affine_grid(theta, [len(turn), 1, side, side], align_corners=False)


def share_seen(grid: Tensor) -> Tensor:
    """The area that each grid (N, S, S, 2) covers, 1 for the whole picture: (N,)."""
    corner = grid[:, 0, 0]
    u, v = grid[:, 0, -1] - corner, grid[:, -1, 0] - corner
    return (u[:, 0] * v[:, 1] - u[:, 1] * v[:, 0]).abs() / 4.0
