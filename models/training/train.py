"""Trains matte-s on a CPU within a time budget: samples in, averaged weights and a curve out.

Run by a person: `python -m models.training.train --config models/training/matte_s_v0.toml
--data ../shared/data --out RUN_DIR [--resume]`. RUN_DIR gets `log.csv` (the curve), `run.json`
(seed, data digest, commit), `last.pt` (to resume from) and `best.pt` (best averaged weights).
"""

from __future__ import annotations

import argparse
import copy
import csv
import json
import math
import subprocess
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from models.training.composite import Sampler, stretch
from models.training.config import Phase, TrainConfig, config_from
from models.training.data import Picture, data_digest, load_pool, read_manifest, select
from models.training.losses import matte_loss
from models.training.metrics import iou, mae
from models.training.network import IMAGENET_MEAN, IMAGENET_STD, MatteNet, parameters_count

LOG_FIELDS = [
    "step",
    "samples",
    "minutes",
    "side_px",
    "learning_rate",
    "loss",
    "val_iou",
    "val_mae",
]


class Samples(Dataset[tuple[Tensor, Tensor]]):
    """Samples `start`, `start + 1`, ... of a sampler, as uint8 tensors in NCHW order."""

    def __init__(self, sampler: Sampler, start: int, side: int) -> None:
        self.sampler, self.start, self.side = sampler, start, side

    def __len__(self) -> int:
        """More than any phase can use; the clock ends a phase, not the data."""
        return 10_000_000

    def __getitem__(self, offset: int) -> tuple[Tensor, Tensor]:
        """RGB (3, S, S) and target maps (4, S, S), uint8."""
        rgb, maps = self.sampler.sample(self.start + offset, self.side)
        return to_chw(rgb), to_chw(maps)


class Trainer:
    """The state of a run: weights, their average, the optimiser, and how much time is spent."""

    def __init__(self, config: TrainConfig, out_dir: Path) -> None:
        self.config, self.out_dir = config, out_dir
        torch.manual_seed(config.seed)
        self.net = MatteNet(config.width)
        self.net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = copy.deepcopy(self.net).eval()
        schedule = config.schedule
        self.optimiser = torch.optim.AdamW(
            parameter_groups(self.net, schedule.weight_decay), lr=schedule.learning_rate
        )
        self.step = self.samples = 0
        self.spent_s = 0.0
        self.best_iou = -1.0

    @property
    def progress(self) -> float:
        """Share of the time budget that is spent, 0 to 1."""
        return min(1.0, self.spent_s / (60.0 * self.config.schedule.budget_minutes))

    def learn(self, rgb: Tensor, maps: Tensor) -> float:
        """One optimiser step on uint8 tensors (N, 3, S, S) and (N, 4, S, S); returns the loss."""
        schedule = self.config.schedule
        for group in self.optimiser.param_groups:
            group["lr"] = schedule.learning_rate * warm_cosine(self.progress, schedule.warmup)
        with torch.autocast("cpu", torch.bfloat16, enabled=self.config.bfloat16):
            logits = self.net.forward_all(normalise(rgb))
        loss = matte_loss([x.float() for x in logits], maps.float() / 255.0)
        if not torch.isfinite(loss):
            raise FloatingPointError(f"loss is {loss.item()} at step {self.step}: lower the rate")
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.net.parameters(), schedule.clip_norm)
        self.optimiser.step()
        self.step += 1
        self.samples += len(rgb)
        self.follow()
        return float(loss.item())

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

    def resume(self) -> None:
        """Continues from `last.pt`, the clock included."""
        state = torch.load(self.out_dir / "last.pt", map_location="cpu", weights_only=True)
        self.net.load_state_dict(state["net"])
        self.average.load_state_dict(state["average"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.step, self.samples = state["step"], state["samples"]
        self.spent_s, self.best_iou = state["spent_s"], state["best_iou"]


def parameter_groups(net: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Weights with decay; norms and biases without, whose pull to zero only costs accuracy."""
    decayed = [p for p in net.parameters() if p.ndim > 1]
    free = [p for p in net.parameters() if p.ndim <= 1]
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


def to_chw(image: np.ndarray[Any, np.dtype[np.uint8]]) -> Tensor:
    """(S, S, C) uint8 to a (C, S, S) tensor."""
    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))


def normalise(rgb: Tensor) -> Tensor:
    """uint8 (N, 3, S, S) to (x / 255 - mean) / std, float32, channels last."""
    mean = torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1) * 255.0
    std = torch.tensor(IMAGENET_STD).view(1, 3, 1, 1) * 255.0
    return ((rgb.float() - mean) / std).contiguous(memory_format=torch.channels_last)


def validate(net: MatteNet, pictures: list[Picture], side: int) -> tuple[float, float]:
    """Mean IoU at 0.5 and mean absolute error over photos with masks, on the stretched square."""
    ious, errors = [], []
    for picture in pictures:
        assert picture.alpha is not None
        with torch.no_grad():
            logits = net(normalise(to_chw(stretch(picture.rgb, side))[None]))
        predicted = torch.sigmoid(logits)[0, 0].numpy()
        truth = stretch(picture.alpha, side).astype(np.float32) / 255.0
        ious.append(iou(predicted, truth))
        errors.append(mae(predicted, truth))
    return float(np.mean(ious)), float(np.mean(errors))


def batches(sampler: Sampler, phase: Phase, start: int, processes: int) -> Iterator[list[Tensor]]:
    """Endless batches of a phase, from sample number `start`."""
    loader = DataLoader(
        Samples(sampler, start, phase.side_px),
        batch_size=phase.batch,
        shuffle=False,  # the sampler already draws at random, by number
        num_workers=processes,
        prefetch_factor=6 if processes else None,
    )
    return iter(loader)


def git_commit() -> str | None:
    """The checkout's commit, or None outside git."""
    found = subprocess.run(
        ["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False
    )
    return found.stdout.strip() if found.returncode == 0 else None


def run(config_path: Path, data_dir: Path, out_dir: Path, resume: bool) -> None:
    """The whole run: every phase until the budget is spent."""
    raw = tomllib.loads(config_path.read_text(encoding="utf-8"))
    config = config_from(raw)
    torch.set_num_threads(config.threads)
    cv2.setNumThreads(1)  # the loader processes fork: OpenCV's pool would not survive it
    out_dir.mkdir(parents=True, exist_ok=True)
    rows = read_manifest(data_dir)
    pool = load_pool(data_dir, select(rows, "train", config.tiers), config.cache_side_px)
    val_rows = [r for r in select(rows, "val", config.tiers) if r.has_mask]
    held = load_pool(data_dir, val_rows, config.cache_side_px).photos
    val = [picture for pictures in held.values() for picture in pictures]
    trainer = Trainer(config, out_dir)
    if resume:
        trainer.resume()
    about = {
        "config": raw,
        "parameters": parameters_count(trainer.net),
        "data_sha256": data_digest(data_dir),
        "data_rows": len(rows),
        "train_pictures": pool.count(),
        "val_photos": len(val),
        "commit": git_commit(),
    }
    (out_dir / "run.json").write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")
    print(json.dumps({k: v for k, v in about.items() if k != "config"}), flush=True)
    sampler = Sampler(pool, config.mix, config.seed)
    with (out_dir / "log.csv").open("a", 1, newline="", encoding="utf-8") as log_file:
        log = csv.DictWriter(log_file, LOG_FIELDS)
        if not resume:
            log.writeheader()
        for phase in config.phases:
            if trainer.progress < phase.until:
                run_phase(trainer, phase, sampler=sampler, val=val, raw=raw, log=log)


def run_phase(
    trainer: Trainer,
    phase: Phase,
    *,
    sampler: Sampler,
    val: list[Picture],
    raw: dict[str, Any],
    log: csv.DictWriter[str],
) -> None:
    """Steps until the phase's share of the budget is spent, with evaluations on the way."""
    every_s = 60.0 * trainer.config.schedule.evaluate_every_minutes
    before_s, resumed_at = trainer.spent_s, time.monotonic()
    evaluate_at_s = before_s + every_s
    losses: list[float] = []
    for rgb, maps in batches(sampler, phase, trainer.samples, trainer.config.loader_processes):
        losses.append(trainer.learn(rgb, maps))
        trainer.spent_s = before_s + time.monotonic() - resumed_at
        ends = trainer.progress >= phase.until
        if trainer.spent_s < evaluate_at_s and not ends:
            continue
        val_iou, val_mae = validate(trainer.average, val, phase.side_px)
        row = {
            "step": trainer.step,
            "samples": trainer.samples,
            "minutes": round(trainer.spent_s / 60.0, 2),
            "side_px": phase.side_px,
            "learning_rate": round(trainer.optimiser.param_groups[0]["lr"], 6),
            "loss": round(float(np.mean(losses)), 4),
            "val_iou": round(val_iou, 4),
            "val_mae": round(val_mae, 4),
        }
        log.writerow(row)
        print(row, flush=True)
        if val_iou >= trainer.best_iou:
            trainer.best_iou = val_iou
            trainer.save("best.pt", raw, whole=False)
        trainer.save("last.pt", raw, whole=True)
        losses.clear()
        trainer.spent_s = before_s + time.monotonic() - resumed_at
        evaluate_at_s = trainer.spent_s + every_s
        if ends:
            return


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Train matte-s.")
    parser.add_argument("--config", type=Path, default=Path("models/training/matte_s_v0.toml"))
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--resume", action="store_true")
    args = parser.parse_args()
    run(args.config, args.data, args.out, args.resume)


if __name__ == "__main__":
    main()
