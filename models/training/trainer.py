"""The state of a training run and its one step: weights, their average, optimiser and clock.

`train.py` drives it over the phases of a configuration; nothing here knows where samples come from.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from models.training.click_network import ClickNet
from models.training.config import TrainConfig
from models.training.losses import matte_loss
from models.training.network import IMAGENET_MEAN, IMAGENET_STD, MatteNet
from models.training.teacher import Teacher
from models.training.team import Team
from models.training.warm_start import warm_start


class Trainer:
    """The state of a run: weights, their average, the optimiser, and how much time is spent."""

    def __init__(
        self,
        config: TrainConfig,
        out_dir: Path,
        *,
        team: Team | None = None,
        device: str = "cpu",
        teacher: Path | None = None,
    ) -> None:
        self.config, self.out_dir, self.device = config, out_dir, torch.device(device)
        self.team = team or Team()
        torch.manual_seed(config.seed)
        self.net = build_net(config).to(self.device)
        self.net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = copy.deepcopy(self.net).eval()
        schedule = config.schedule
        self.teacher = Teacher(teacher, schedule.teacher_share, self.device) if teacher else None
        if schedule.frozen_norms:
            for module in self.net.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.eval()
        self.optimiser = torch.optim.AdamW(
            parameter_groups(self.net, schedule.weight_decay), lr=schedule.learning_rate
        )
        self.step = self.samples = 0
        self.spent_s = 0.0
        self.best_iou = -1.0

    @property
    def progress(self) -> float:
        """Share of the budget that is spent, 0 to 1: of samples where they are counted."""
        schedule = self.config.schedule
        if schedule.budget_samples:
            return min(1.0, self.samples / schedule.budget_samples)
        return min(1.0, self.spent_s / (60.0 * schedule.budget_minutes))

    def learn(self, batch: Sequence[Tensor], spent_s: float) -> float:
        """One optimiser step on uint8 tensors; returns the loss.

        `batch` is RGB (N, 3, S, S), target maps (N, 4, S, S) and, for the click model, prompt maps
        (N, 4, S / 2, S / 2). `spent_s` is this process's clock; the team agrees on the mean, so
        that all end together.
        """
        schedule = self.config.schedule
        for group in self.optimiser.param_groups:
            group["lr"] = schedule.learning_rate * warm_cosine(self.progress, schedule.warmup)
        rgb, maps, *prompts = (tensor.to(self.device) for tensor in batch)
        image, truth = normalise(rgb), maps.float() / 255.0
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.config.bfloat16):
            if self.teacher is not None:
                truth = self.teacher.corrected(image, truth)
            logits = self.net.forward_all(image, *(p.float() / 255.0 for p in prompts))
        loss = matte_loss([x.float() for x in logits], truth, schedule.side_weight)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        means = self.team.average_gradients(self.net.parameters(), [float(loss.item()), spent_s])
        value, self.spent_s = means
        if not math.isfinite(value):
            raise FloatingPointError(f"loss is {value} at step {self.step}: lower the rate")
        nn.utils.clip_grad_norm_(self.net.parameters(), schedule.clip_norm)
        self.optimiser.step()
        self.step += 1
        self.samples += len(rgb) * self.team.size
        self.follow()
        return value

    def follow(self) -> None:
        """Moves the averaged weights; young averages forget faster, or they keep the start."""
        decay = min(self.config.schedule.ema_decay, (1 + self.step) / (10 + self.step))
        own = self.net.state_dict()
        with torch.no_grad():
            for name, value in self.average.state_dict().items():
                if value.dtype.is_floating_point:
                    value.lerp_(own[name], 1.0 - decay)
                else:
                    value.copy_(own[name])

    def save(self, name: str, raw_config: dict[str, Any], whole: bool) -> None:
        """A checkpoint; `whole` adds what resuming needs to the averaged weights."""
        state: dict[str, Any] = {
            "config": raw_config,
            "average": self.average.state_dict(),
            "step": self.step,
            "samples": self.samples,
            "spent_s": self.spent_s,
            "best_iou": self.best_iou,
        }
        if whole:
            state["net"] = self.net.state_dict()
            state["optimiser"] = self.optimiser.state_dict()
        part = self.out_dir / f"{name}.part"
        torch.save(state, part)
        part.replace(self.out_dir / name)  # a killed run leaves the previous file whole

    def start_from(self, checkpoint: Path) -> None:
        """Takes another run's averaged weights; clock and optimiser start anew."""
        missed = warm_start(self.net, checkpoint)
        if missed and self.team.leads:
            print(f"{checkpoint} has no match for {len(missed)} of the weights", flush=True)
        self.average.load_state_dict(self.net.state_dict())

    def resume(self) -> None:
        """Continues from `last.pt`, the clock included."""
        path = self.out_dir / "last.pt"
        state = torch.load(path, map_location=self.device, weights_only=True)
        self.net.load_state_dict(state["net"])
        self.average.load_state_dict(state["average"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.step, self.samples = state["step"], state["samples"]
        self.spent_s, self.best_iou = state["spent_s"], state["best_iou"]


def build_net(config: TrainConfig) -> MatteNet | ClickNet:
    """The network that a configuration describes, with random weights."""
    if config.kind == "matte":
        return MatteNet(config.width)
    if config.kind == "click":
        return ClickNet(config.width, frozen=True)
    raise ValueError(f"kind is '{config.kind}': allowed are 'matte' and 'click'")


def bfloat16_pays() -> bool:
    """True where this CPU convolves in bfloat16 faster than in float32, which one try tells.

    Without instructions for it the same step takes ten times as long.
    """
    image = torch.randn(4, 32, 64, 64).contiguous(memory_format=torch.channels_last)
    conv = nn.Conv2d(32, 32, 3, padding=1).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    took_s: list[float] = []
    for half in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            conv(image).sum().backward()  # the first call also plans
            start = time.process_time()
            for _ in range(4):
                conv(image).sum().backward()
        took_s.append(time.process_time() - start)
    return took_s[1] < took_s[0]


def parameter_groups(net: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Weights with decay; norms and biases without, whose pull to zero only costs accuracy."""
    learned = [p for p in net.parameters() if p.requires_grad]
    decayed = [p for p in learned if p.ndim > 1]
    free = [p for p in learned if p.ndim <= 1]
    return [
        {"params": decayed, "weight_decay": weight_decay},
        {"params": free, "weight_decay": 0.0},
    ]


def warm_cosine(progress: float, warmup: float) -> float:
    """Factor of the peak learning rate: a linear rise over `warmup`, then a cosine to 1 %."""
    if progress < warmup:
        return 0.05 + 0.95 * progress / warmup
    rest = (progress - warmup) / (1.0 - warmup)
    return 0.01 + 0.99 * 0.5 * (1.0 + math.cos(math.pi * rest))


def normalise(rgb: Tensor) -> Tensor:
    """uint8 (N, 3, S, S) to (x / 255 - mean) / std, float32, channels last."""
    mean = torch.tensor(IMAGENET_MEAN, device=rgb.device).view(1, 3, 1, 1) * 255.0
    std = torch.tensor(IMAGENET_STD, device=rgb.device).view(1, 3, 1, 1) * 255.0
    return ((rgb.float() - mean) / std).contiguous(memory_format=torch.channels_last)
