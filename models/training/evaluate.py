"""What a model is worth on the validation split: one table, any models side by side.

Run by a person: `python -m models.training.evaluate --data ../shared/data --model matte-s
[--models-dir FOLDER --model NAME ...] [--unseen] [--seen FOLDER] [--time]`. A folder holds
manifests and weights, as an operator's does. Every model goes the server's own way:
`Model.prepare`, `Model.run` and `kernels.cpu.alpha_to_source`. Prints markdown for the model card.
Needs no torch.
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kernels import cpu
from models.model import Model
from models.registry import BUILTIN_DIR, Registry
from models.training.composite import to_u8
from models.training.data import U8, Pool, load_pool, read_manifest
from models.training.eye_masks import add_seen
from models.training.metrics import (
    Alpha,
    boundary_f,
    iou,
    mae,
    rank_correlation,
    soft_band_mae,
)
from models.training.served import served_alpha
from models.training.subject import from_cutout, place
from models.training.view import close_up, random_view

TRAIN_TIERS = ("A", "B")  # tier C is reported apart: no shipped weights have seen its sources
COMPOSITE_SIDE_PX = 384
COMPOSITE_SEED = 7
PAINTED = 0.05  # mean alpha on a picture without a subject from which it counts as painted

Score = Callable[[Alpha, Alpha], float]
PHOTO_SCORES: dict[str, Score] = {"IoU": iou, "MAE": mae, "boundary F": boundary_f}
COMPOSITE_SCORES: dict[str, Score] = {"IoU": iou, "matte MAE": mae, "edge-band MAE": soft_band_mae}
EMPTY_SCORES: dict[str, Score] = {
    "mean alpha": mae,
    "painted": lambda predicted, _: float(predicted.mean() > PAINTED),
}


@dataclass(frozen=True)
class Case:
    """One picture with its truth: `group` is a row of the table, `scores` what is measured."""

    group: str
    rgb: U8
    truth: Alpha
    scores: dict[str, Score]


@dataclass(frozen=True)
class Answer:
    """What a model made of a case: its scores, and how unsure the report would call it."""

    group: str
    scores: dict[str, float]
    uncertainty: float


def photos(pool: Pool, by_source: bool) -> Iterator[Case]:
    """Photos with masks by kind (or source); sources outside the training tiers apart."""
    for prefix, pictures in sorted(pool.photos.items()):
        for picture in pictures:
            assert picture.alpha is not None
            outside = picture.row.tier not in TRAIN_TIERS
            group = f"{picture.row.kind} of {prefix}" if by_source else picture.row.kind
            group += ", sources never trained on" if outside else ""
            group += "" if picture.row.has_mask else ", masks by eye"
            truth = picture.alpha.astype(np.float32) / 255.0
            yield Case(group, picture.rgb, truth, PHOTO_SCORES)


def close_ups(pool: Pool) -> Iterator[Case]:
    """The upper parts of standing people with masks, as portraits show them; always the same."""
    for _, pictures in sorted(pool.photos.items()):
        for number, picture in enumerate(pictures):
            if picture.row.kind != "person" or not picture.row.has_mask:
                continue
            near = close_up(np.random.default_rng([COMPOSITE_SEED, number]), picture)
            if near is not None and near.alpha is not None:
                truth = near.alpha.astype(np.float32) / 255.0
                yield Case("person, close-up of one above", near.rgb, truth, PHOTO_SCORES)


def composites(pool: Pool) -> Iterator[Case]:
    """Every cut-out on a background, with its true alpha; the same ones every time."""
    for prefix, cutouts in sorted(pool.cutouts.items()):
        for number, cutout in enumerate(cutouts):
            rng = np.random.default_rng([COMPOSITE_SEED, number])
            background = pool.backgrounds[number % len(pool.backgrounds)]
            layer = place(rng, from_cutout(cutout), COMPOSITE_SIDE_PX, rng.uniform(0.4, 0.95))
            ground, _ = random_view(rng, background, COMPOSITE_SIDE_PX)
            mixed = layer.premultiplied + (1.0 - layer.alpha[..., None]) * ground
            yield Case(f"composite, {prefix}", to_u8(mixed), layer.alpha, COMPOSITE_SCORES)


def empties(pool: Pool) -> Iterator[Case]:
    """Backgrounds, whose truth is nothing at all."""
    for picture in pool.backgrounds:
        truth = np.zeros(picture.rgb.shape[:2], np.float32)
        yield Case("no subject", picture.rgb, truth, EMPTY_SCORES)


def answer(model: Model, case: Case) -> Answer:
    """The model's answer to a case, by the server's own way from picture to alpha."""
    alpha_u8 = served_alpha(model, case.rgb)
    alpha = alpha_u8.astype(np.float32) / 255.0
    scores = {name: score(alpha, case.truth) for name, score in case.scores.items()}
    return Answer(case.group, scores, cpu.alpha_statistics(alpha_u8).uncertainty)


def table(answers: dict[str, list[Answer]]) -> str:
    """Mean scores: one row for each group and score, one column for each model."""
    names = list(answers)
    lines = [
        "| group (pictures) | score | " + " | ".join(names) + " |",
        "|---" * (2 + len(names)) + "|",
    ]
    groups: dict[str, dict[str, list[Answer]]] = defaultdict(lambda: defaultdict(list))
    for name, given in answers.items():
        for one in given:
            groups[one.group][name].append(one)
    for group, by_model in sorted(groups.items()):
        first = by_model[names[0]]
        for score in first[0].scores:
            means = [np.mean([one.scores[score] for one in by_model[name]]) for name in names]
            cells = " | ".join(f"{mean:.3f}" for mean in means)
            lines.append(f"| {group} ({len(first)}) | {score} | {cells} |")
    return "\n".join(lines)


def trust_table(answers: dict[str, list[Answer]]) -> str:
    """How well the report's uncertainty ranks results by their true error, for each model.

    Spearman's rank correlation of uncertainty with MAE and with 1 - IoU over all photos with masks.
    """
    lines = ["| model | uncertainty against MAE | against 1 - IoU |", "|---|---|---|"]
    for name, given in answers.items():
        known = [one for one in given if "MAE" in one.scores]
        unsure = np.array([one.uncertainty for one in known])
        errors = np.array([one.scores["MAE"] for one in known])
        misses = np.array([1.0 - one.scores["IoU"] for one in known])
        cells = [rank_correlation(unsure, errors), rank_correlation(unsure, misses)]
        lines.append(f"| {name} | {cells[0]:.2f} | {cells[1]:.2f} |")
    return "\n".join(lines)


def median_ms(models: dict[str, Model], rounds: int = 60) -> dict[str, float]:
    """Median run time of each model in ms, one thread, the models taking turns.

    Turns, because a shared machine slows for minutes at a time: ratios survive that, totals do not.
    """
    rng = np.random.default_rng(0)
    rgb: NDArray[np.uint8] = rng.integers(0, 256, (360, 480, 3), dtype=np.uint8)
    tensors = {name: model.prepare(rgb) for name, model in models.items()}
    times: dict[str, list[float]] = {name: [] for name in models}
    for _ in range(rounds):
        for name, model in models.items():
            start = time.perf_counter()
            model.run(tensors[name])
            times[name].append(1e3 * (time.perf_counter() - start))
    return {name: float(np.median(values[5:])) for name, values in times.items()}


def time_table(models: dict[str, Model]) -> str:
    """Times on one thread and their ratio to the first model's."""
    times = median_ms(models)
    first = next(iter(times.values()))
    lines = ["| model | median ms, one thread | ratio |", "|---|---|---|"]
    lines += [f"| {name} | {value:.1f} | {value / first:.2f} |" for name, value in times.items()]
    return "\n".join(lines)


def load_cases(
    data_dir: Path, *, by_source: bool, unseen: bool, seen: Path | None = None
) -> list[Case]:
    """The val split as cases; `unseen` adds the train split of sources nobody trained on.

    `seen` is a folder of masks that `eye_masks` made: val photos with one are cases too.
    """
    rows = [
        row
        for row in read_manifest(data_dir)
        if row.split == "val" or (unseen and row.has_mask and row.tier not in TRAIN_TIERS)
    ]
    if not seen:
        rows = [row for row in rows if row.has_mask or row.folder in ("cutouts", "backgrounds")]
    pool = load_pool(data_dir, rows, side_max=512)
    if seen:
        add_seen(pool, seen)
    return [*photos(pool, by_source), *close_ups(pool), *composites(pool), *empties(pool)]


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Compare models on the validation split.")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--model", action="append", required=True, metavar="NAME")
    parser.add_argument("--models-dir", type=Path, action="append", default=[])
    parser.add_argument("--by-source", action="store_true", help="a row for each kind and source")
    parser.add_argument("--unseen", action="store_true", help="all of tier C, not its val split")
    parser.add_argument(
        "--seen", type=Path, help="masks by models.training.eye_masks: judge by them too"
    )
    parser.add_argument("--time", action="store_true", help="also time each on one thread")
    args = parser.parse_args()
    registry = Registry(args.models_dir, shipped_dirs=(BUILTIN_DIR,))
    models: dict[str, Model] = {}
    for name in args.model:
        model = registry.load(name)
        assert isinstance(model, Model)  # no target was named, so it runs on the CPU
        models[name] = model
    cases = load_cases(args.data, by_source=args.by_source, unseen=args.unseen, seen=args.seen)
    answers = {name: [answer(model, case) for case in cases] for name, model in models.items()}
    print(table(answers))
    print(f"\n{trust_table(answers)}")
    if args.time:
        print(f"\n{time_table(models)}")


if __name__ == "__main__":
    main()
