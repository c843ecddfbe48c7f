"""Trains a model of the family within a time budget: samples in, averaged weights and a curve out.

Run by a person: `python -m models.training.train --config models/training/matte_s.toml
--data ../shared/data --out RUN_DIR [--resume | --start CHECKPOINT] [--seen FOLDER]
[--pseudo FOLDER] [--teacher CHECKPOINT]`; on a GPU with `--device cuda` and, where the folder is
far, `--data PACK.zip`. RUN_DIR gets `log.csv` (the curve), `run.json` (seed, data digest, commit),
`last.pt` (to resume from) and `best.pt` (best averaged weights).
"""

from __future__ import annotations

import argparse
import csv
import json
import multiprocessing
import subprocess
import tempfile
import time
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

from models.training.composite import Sampler
from models.training.config import Phase, TrainConfig, config_from
from models.training.data import (
    Picture,
    Pool,
    Row,
    data_digest,
    load_pool,
    open_folder,
    read_manifest,
    select,
)
from models.training.device_sampler import DeviceSampler
from models.training.eye_masks import add_seen
from models.training.network import parameters_count
from models.training.pseudo import add_pseudo
from models.training.resident import make_resident
from models.training.scenes import SceneSampler
from models.training.team import Team, join, leave
from models.training.trainer import Trainer, bfloat16_pays, build_net
from models.training.validation import to_chw, validate, validate_scenes

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


SCENE_SEED = 7  # of the val scenes, the same for every run


@dataclass(frozen=True)
class Run:
    """What every process of a run is told: the configuration, the pictures and the folders."""

    raw: dict[str, Any]  # the TOML file as read, kept in every checkpoint
    config: TrainConfig
    pool: Pool
    val: list[Picture]
    scenes: SceneSampler  # of the val split
    out_dir: Path
    resume: bool
    start: Path | None
    teacher: Path | None
    device: str


def batches(
    sampler: Sampler | SceneSampler, phase: Phase, start: int, team: Team
) -> Iterator[tuple[Tensor, ...]]:
    """Endless CPU batches of a phase from sample number `start`: the team deals them out in turn.

    RGB (N, 3, S, S), target maps (N, 4, S, S) and, of scenes, prompt maps (N, 4, S / 2, S / 2), all
    uint8, N being one process's batch.
    """
    first = start + team.rank * phase.batch
    while True:
        numbers = range(first, first + phase.batch)
        samples = [sampler.sample(number, phase.side_px) for number in numbers]
        yield tuple(
            torch.stack([to_chw(part) for part in parts]) for parts in zip(*samples, strict=True)
        )
        first += team.size * phase.batch


def git_commit() -> str | None:
    """The checkout's commit, or None outside git."""
    found = subprocess.run(
        ["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False
    )
    return found.stdout.strip() if found.returncode == 0 else None


def start_processes(run: Run) -> None:
    """Runs the team's processes; the pictures are shared with them by forking.

    A GPU is driven by one process.
    """
    size = run.config.processes
    if size == 1 or run.device != "cpu":
        work(run, Team())
        return
    context = multiprocessing.get_context("fork")
    with tempfile.TemporaryDirectory() as folder:
        meeting = Path(folder) / "meeting"
        team = [
            context.Process(target=join_and_work, args=(run, rank, size, meeting))
            for rank in range(size)
        ]
        for process in team:
            process.start()
        for process in team:
            process.join()
    failed = [process.exitcode for process in team if process.exitcode]
    if failed:
        raise RuntimeError(f"{len(failed)} of {size} training processes failed: see above")


def join_and_work(run: Run, rank: int, size: int, meeting: Path) -> None:
    """One process of the team, from its start to its end."""
    torch.set_num_threads(run.config.threads)
    team = join(rank, size, meeting)
    work(run, team)
    leave(team)


def work(run: Run, team: Team) -> None:
    """Every phase until the budget is spent."""
    trainer = Trainer(run.config, run.out_dir, team=team, device=run.device, teacher=run.teacher)
    if run.resume:
        trainer.resume()
    elif run.start is not None:
        trainer.start_from(run.start)
    source = open_source(run, team)
    for phase in run.config.phases:
        if trainer.progress < phase.until:
            run_phase(trainer, phase, run, source(phase, trainer))


def open_source(run: Run, team: Team) -> Callable[[Phase, Trainer], Iterator[tuple[Tensor, ...]]]:
    """What gives the batches of a phase: NumPy samples on a CPU, resident tensors on a device."""
    config = run.config
    if not config.resident:
        sampler = (SceneSampler if config.kind == "click" else Sampler)(
            run.pool, config.mix, config.seed
        )
        return lambda phase, trainer: batches(sampler, phase, trainer.samples, team)
    if config.kind != "matte":
        raise ValueError(f"kind '{config.kind}' has no resident samples yet: set resident = false")
    resident = make_resident(run.pool, config.mix, config.cache_side_px, torch.device(run.device))
    print(f"{resident.bytes_held / 1e9:.2f} GB of pictures on {run.device}", flush=True)
    on_device = DeviceSampler(resident, config.mix, config.seed)
    return lambda phase, trainer: on_device.batches(phase.side_px, phase.batch, trainer.step)


def run_phase(
    trainer: Trainer, phase: Phase, run: Run, source: Iterator[tuple[Tensor, ...]]
) -> None:
    """Steps until the phase's share of the budget is spent, with evaluations on the way."""
    every_s = 60.0 * trainer.config.schedule.evaluate_every_minutes
    before_s, resumed_at = trainer.spent_s, time.monotonic()
    evaluate_at_s = before_s + every_s
    losses: list[float] = []
    for batch in source:
        losses.append(trainer.learn(batch, before_s + time.monotonic() - resumed_at))
        ends = trainer.progress >= phase.until
        if trainer.spent_s < evaluate_at_s and not ends:
            continue
        trainer.team.follow_leader(trainer.average.state_dict().values())
        if trainer.config.kind == "click":
            val_iou, val_mae = validate_scenes(
                trainer.average, run.scenes, phase.side_px, trainer.team
            )
        else:
            val_iou, val_mae = validate(trainer.average, run.val, phase.side_px, trainer.team)
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
        better = val_iou >= trainer.best_iou
        trainer.best_iou = max(trainer.best_iou, val_iou)
        if trainer.team.leads:
            log_row(run.out_dir, row)
            if better:
                trainer.save("best.pt", run.raw, whole=False)
            trainer.save("last.pt", run.raw, whole=True)
        losses.clear()
        evaluate_at_s = trainer.spent_s + every_s
        if ends:
            return


def is_layer(row: Row) -> bool:
    """True for what scenes are made of besides photos."""
    return row.folder in ("cutouts", "backgrounds")


def log_row(out_dir: Path, row: dict[str, Any]) -> None:
    """Appends one evaluation to the curve in `log.csv` and prints it."""
    path = out_dir / "log.csv"
    is_new = not path.exists()
    with path.open("a", newline="", encoding="utf-8") as log_file:
        log = csv.DictWriter(log_file, LOG_FIELDS)
        if is_new:
            log.writeheader()
        log.writerow(row)
    print(row, flush=True)


def prepare(args: argparse.Namespace) -> Run:
    """The configuration and the pictures in memory; writes `run.json`."""
    raw = tomllib.loads(args.config.read_text(encoding="utf-8"))
    config = config_from(raw)
    share = config.schedule.teacher_share
    if bool(args.teacher) != bool(share) or (args.teacher and config.kind != "matte"):
        raise ValueError(
            f"--teacher is {args.teacher}, schedule.teacher_share {share}, kind '{config.kind}': "
            f"give a teacher and its share, or neither, and for kind 'matte' alone"
        )
    if config.bfloat16 and args.device == "cpu" and not bfloat16_pays():
        config = replace(config, bfloat16=False)
    args.out.mkdir(parents=True, exist_ok=True)
    if not args.resume:
        (args.out / "log.csv").unlink(missing_ok=True)
    data = open_folder(args.data)
    rows = read_manifest(data)
    pool = load_pool(data, select(rows, "train", config.tiers), config.cache_side_px)
    for more in map(open_folder, args.more):
        added = select(read_manifest(more), "train", config.tiers)
        pool.add(load_pool(more, added, config.cache_side_px))
    pictures = pool.count()
    seen = add_seen(pool, args.seen) if args.seen else 0
    labelled = add_pseudo(pool, args.pseudo) if args.pseudo else 0
    val_rows = [r for r in select(rows, "val", config.tiers) if r.has_mask or is_layer(r)]
    val_pool = load_pool(data, val_rows, config.cache_side_px)
    val = [picture for pictures in val_pool.photos.values() for picture in pictures]
    scenes = SceneSampler(val_pool, config.mix, SCENE_SEED)
    about = {
        "config": raw,
        "started_from": str(args.start) if args.start else None,
        "teacher": str(args.teacher) if args.teacher else None,
        "parameters": parameters_count(build_net(config)),
        "bfloat16": config.bfloat16,
        "data_sha256": data_digest(data),
        "data_rows": len(rows),
        "more_sha256": [data_digest(open_folder(more)) for more in args.more],
        "train_pictures": pictures,
        "masks_by_eye": seen,
        "pseudo_masks": labelled,
        "val_photos": len(val),
        "commit": git_commit(),
    }
    (args.out / "run.json").write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")
    print(json.dumps({k: v for k, v in about.items() if k != "config"}), flush=True)
    return Run(
        raw, config, pool, val, scenes, args.out, args.resume, args.start, args.teacher, args.device
    )


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Train a matte model.")
    parser.add_argument("--config", type=Path, default=Path("models/training/matte_s.toml"))
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument(
        "--more", type=Path, action="append", default=[], help="another data folder to train on"
    )
    parser.add_argument("--out", type=Path, required=True)
    begin = parser.add_mutually_exclusive_group()
    begin.add_argument("--resume", action="store_true", help="continue the run in --out")
    begin.add_argument("--start", type=Path, help="checkpoint of another run to begin from")
    parser.add_argument("--teacher", type=Path, help="checkpoint of a better network to learn from")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument(
        "--pseudo", type=Path, help="folder of masks made by models.training.pseudo"
    )
    parser.add_argument(
        "--seen", type=Path, help="folder of masks made by models.training.eye_masks"
    )
    args = parser.parse_args()
    cv2.setNumThreads(1)  # the team forks: OpenCV's pool would not survive it
    torch.set_num_threads(1)
    start_processes(prepare(args))


if __name__ == "__main__":
    main()
