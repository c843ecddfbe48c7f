"""How a run does on the val photos while it goes on: two numbers for the curve.

Called by `train.py`; the full table, by the server's own way, is `evaluate.py`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from models.training.click_network import ClickNet
from models.training.data import Picture
from models.training.metrics import iou, mae
from models.training.network import MatteNet
from models.training.scenes import SceneSampler
from models.training.team import Team
from models.training.trainer import normalise
from models.training.view import stretch


def to_chw(image: np.ndarray[Any, np.dtype[np.uint8]]) -> Tensor:
    """(S, S, C) uint8 to a (C, S, S) tensor."""
    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))


def validate(
    net: MatteNet, pictures: list[Picture], side: int, team: Team | None = None
) -> tuple[float, float]:
    """Mean IoU at 0.5 and mean absolute error over photos with masks, on the stretched square.

    A team shares the work: every process must call it, with the leader's weights.
    """
    team = team or Team()
    sums = torch.zeros(3)
    device = next(net.parameters()).device
    for picture in pictures[team.rank :: team.size]:
        assert picture.alpha is not None
        tensor = normalise(to_chw(stretch(picture.rgb, side))[None].to(device))
        with torch.no_grad():
            predicted = torch.sigmoid(net(tensor))[0, 0].float().cpu().numpy()
        truth = stretch(picture.alpha, side).astype(np.float32) / 255.0
        sums += torch.tensor([iou(predicted, truth), mae(predicted, truth), 1.0])
    total = team.mean(sums)
    return float(total[0] / total[2]), float(total[1] / total[2])


def validate_scenes(
    net: ClickNet, scenes: SceneSampler, side: int, team: Team | None = None, count: int = 200
) -> tuple[float, float]:
    """Mean IoU at 0.5 and mean absolute error of the click model's first answer on fixed scenes."""
    team = team or Team()
    sums = torch.zeros(3)
    device = next(net.parameters()).device
    for number in range(team.rank, count, team.size):
        rgb, maps, prompts = scenes.sample(number, side)
        image = normalise(to_chw(rgb)[None].to(device))
        asked = to_chw(prompts)[None].to(device).float() / 255.0
        with torch.no_grad():
            predicted = torch.sigmoid(net(image, asked))[0, 0].float().cpu().numpy()
        truth = maps[..., 0].astype(np.float32) / 255.0
        sums += torch.tensor([iou(predicted, truth), mae(predicted, truth), 1.0])
    total = team.mean(sums)
    return float(total[0] / total[2]), float(total[1] / total[2])
