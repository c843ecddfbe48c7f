"""The training configuration: the TOML file as typed, frozen values.

`train.py` reads it at the start; `export.py` reads it back from the checkpoint to rebuild the net.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models.training.composite import Mix
from models.training.network import Width


@dataclass(frozen=True)
class Phase:
    """One resolution: it lasts until `until`, a share of the time budget."""

    until: float
    side_px: int
    batch: int


@dataclass(frozen=True)
class Schedule:
    """Learning rate and time; `warmup` is a share of the budget.

    The budget is wall time, so that a run on a shared machine ends on time, or, where
    `budget_samples` is set, a count of samples, so that two runs can be compared.
    """

    budget_minutes: float
    evaluate_every_minutes: float
    warmup: float
    learning_rate: float
    weight_decay: float
    ema_decay: float
    clip_norm: float
    budget_samples: int = 0
    side_weight: float = (
        0.3  # of each side head's loss; 0 where heads begin anew on learned weights
    )
    teacher_share: float = 0.0  # of the truth, said by `train --teacher`
    frozen_norms: bool = False  # statistics stay: a short run then starts from what is served


@dataclass(frozen=True)
class TrainConfig:
    """Everything that decides a run, besides the data."""

    name: str
    version: str
    kind: str  # "matte": image to alpha; "click": image and prompts to alpha
    seed: int
    tiers: tuple[str, ...]
    cache_side_px: int
    processes: int  # a team of equal ones, see team.py
    threads: int  # of each process
    bfloat16: bool  # autocast, where the processor gains by it
    resident: bool  # pictures and samples on the training device, see device_sampler.py
    width: Width
    schedule: Schedule
    phases: tuple[Phase, ...]
    mix: Mix


def read_config(path: Path) -> TrainConfig:
    """The configuration in a TOML file; an unknown key is a TypeError that names it."""
    return config_from(tomllib.loads(path.read_text(encoding="utf-8")))


def config_from(values: dict[str, Any]) -> TrainConfig:
    """The configuration from parsed TOML (or from a checkpoint, which keeps the same dict)."""
    plain = dict(values)
    for phase in plain["phases"]:
        if phase["side_px"] % 32:
            raise ValueError(f"side_px is {phase['side_px']}: the network needs a multiple of 32")
    return TrainConfig(
        width=Width(**plain.pop("width")),
        schedule=Schedule(**plain.pop("schedule")),
        phases=tuple(Phase(**phase) for phase in plain.pop("phases")),
        mix=Mix(**plain.pop("mix")),
        tiers=tuple(plain.pop("tiers")),
        **plain,
    )
