"""A checkpoint's averaged weights as a network, or the mean over several checkpoints.

`export.py` ships them, `teacher.py` learns from them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from models.training.network import MatteNet, Width


def averaged(checkpoints: Sequence[Path]) -> dict[str, Any]:
    """The first checkpoint's state, its averaged weights being the mean over all of them.

    Checkpoints of one descent lie in one valley, whose middle is better than its sides; of
    different descents the mean is worth nothing.
    """
    states = [torch.load(path, map_location="cpu", weights_only=True) for path in checkpoints]
    first = states[0]
    for name, value in first["average"].items():
        if value.is_floating_point():
            values = torch.stack([state["average"][name] for state in states])
            first["average"][name] = values.mean(dim=0)
    found: dict[str, Any] = first
    return found


def net_from(*checkpoints: Path) -> MatteNet:
    """The averaged weights of a run (or the mean over several), ready to be exported."""
    state = averaged(checkpoints)
    net = MatteNet(Width(**state["config"]["width"]))
    net.load_state_dict(state["average"])
    return net
