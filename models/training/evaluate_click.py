"""How good the click model is after one click, two, and so on, for a patient simulated user.

Run by a person: `python -m models.training.evaluate_click --data ../shared/data --models FOLDER`,
the folder being what `export_click.py` wrote. The first click is the deepest point of the wanted
subject, every other one that of the largest error. Photos of the val split are one table's rows by
kind, scenes put together of several subjects another row. Prints markdown for the model card.
Needs no torch.
"""

from __future__ import annotations

import argparse
import time
import tomllib
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnxruntime as ort

from kernels import cpu
from models.training.composite import Mix
from models.training.data import U8, Pool, extent, load_pool, open_folder, read_manifest, select
from models.training.metrics import Alpha, iou, mae
from models.training.prompts import Box, Click, draw_maps, next_click
from models.training.scenes import SceneSampler
from models.training.view import stretch

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
CONFIG = Path(__file__).with_name("matte_click.toml")
SCENE_SEED = 11
SCENES = 200
CLICKS = 10
SHOWN = (1, 2, 3, 5, 10)  # numbers of clicks with a column of their own
GOALS = (0.85, 0.90)  # IoUs to which clicks are counted

Case = tuple[str, U8, Alpha]  # row of the table, RGB (S, S, 3), truth (S, S)


class ClickModel:
    """The two graphs on one CPU thread."""

    def __init__(self, folder: Path) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        self.encoder, self.decoder = (
            ort.InferenceSession(
                str(folder / f"matte-click-{part}.onnx"), options, ["CPUExecutionProvider"]
            )
            for part in ("encoder", "decoder")
        )
        self.side: int = self.encoder.get_inputs()[0].shape[-1]
        self.names = [output.name for output in self.encoder.get_outputs()]

    def look(self, rgb: U8) -> dict[str, Alpha]:
        """The image's features, to be used for every prompt."""
        tensor = cpu.resize_normalise(rgb, self.side, self.side, MEAN, STD)
        found = self.encoder.run(self.names, {"image": tensor})
        return dict(zip(self.names, found, strict=True))

    def answer(
        self, features: dict[str, Alpha], clicks: list[Click], box: Box | None = None
    ) -> Alpha:
        """Alpha (S, S) float32 in [0, 1] of the wanted subject."""
        maps = draw_maps(clicks, box, None, self.side // 2).astype(np.float32) / 255.0
        prompts = np.ascontiguousarray(maps.transpose(2, 0, 1)[None])
        (alpha,) = self.decoder.run(["alpha"], {**features, "prompts": prompts})
        return np.asarray(alpha[0, 0], np.float32)


def play(model: ClickModel, features: dict[str, Alpha], truth: Alpha) -> list[Alpha]:
    """The answers after one click, two, ..., `CLICKS`, for a user who wants `truth` (S, S).

    Every call sends all clicks so far and no earlier alpha, as the server's callers do.
    """
    clicks: list[Click] = []
    answers: list[Alpha] = []
    latest: Alpha = np.zeros_like(truth)
    for _ in range(CLICKS):
        click = next_click(latest, truth)
        if click is not None:
            clicks.append(click)
            latest = model.answer(features, clicks)
        answers.append(latest)
    return answers


def box_of(truth: Alpha) -> Box:
    """The subject's box, as a careful user draws it; the whole picture where there is none."""
    h, w = truth.shape
    left, top, right, bottom = extent(truth >= 0.5) or (0, 0, w, h)
    return Box(left / w, top / h, right / w, bottom / h)


def photos(pool: Pool, side: int) -> Iterator[Case]:
    """Val photos with one wanted subject each, by kind."""
    for pictures in pool.photos.values():
        for picture in pictures:
            assert picture.alpha is not None
            truth = stretch(picture.alpha, side).astype(np.float32) / 255.0
            yield picture.row.kind, stretch(picture.rgb, side), truth


def scenes(pool: Pool, mix: Mix, side: int) -> Iterator[Case]:
    """Composed val scenes of one to five subjects, one of which is wanted; always the same."""
    sampler = SceneSampler(pool, mix, SCENE_SEED)
    for number in range(SCENES):
        rgb, maps, _ = sampler.sample(number, side)
        yield "scenes of several", rgb, maps[..., 0].astype(np.float32) / 255.0


def clicks_to(goal: float, ious: list[float]) -> int:
    """How many clicks until `goal` is reached; one more than were made where it never is."""
    return next((n for n, found in enumerate(ious, start=1) if found >= goal), len(ious) + 1)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Click through the validation split.")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--models", type=Path, required=True)
    args = parser.parse_args()
    model = ClickModel(args.models)
    raw = tomllib.loads(CONFIG.read_text(encoding="utf-8"))
    data = open_folder(args.data)
    rows = [
        row
        for row in select(read_manifest(data), "val", raw["tiers"])
        if row.has_mask or row.folder in ("cutouts", "backgrounds")
    ]
    pool = load_pool(data, rows, 512)
    found: dict[str, list[list[float]]] = defaultdict(list)
    first_s: list[float] = []
    again_s: list[float] = []
    cases = [*photos(pool, model.side), *scenes(pool, Mix(**raw["mix"]), model.side)]
    for group, rgb, truth in cases:
        start = time.perf_counter()
        features = model.look(rgb)
        looked = time.perf_counter()
        boxed = model.answer(features, [], box_of(truth))
        answered = time.perf_counter()
        first_s.append(answered - start)
        again_s.append(answered - looked)
        answers = play(model, features, truth)
        ious = [iou(alpha, truth) for alpha in answers]
        row = [ious[count - 1] for count in SHOWN] + [iou(boxed, truth)]
        row += [mae(answers[2], truth)] + [clicks_to(goal, ious) for goal in GOALS]
        found[group].append(row)
    counts = " | ".join(f"{count} click{'s' * (count > 1)}" for count in SHOWN)
    goals = " | ".join(f"clicks to {goal:.2f}" for goal in GOALS)
    print(f"| wanted subject | {counts} | a box | MAE, 3 clicks | {goals} |")
    print("|---" * (4 + len(SHOWN) + len(GOALS)) + "|")
    for group, scores in sorted(found.items()):
        cells = np.mean(scores, axis=0)
        text = [f"{cell:.3f}" for cell in cells[: -len(GOALS)]]
        text += [f"{cell:.1f}" for cell in cells[-len(GOALS) :]]
        print(f"| {group} ({len(scores)}) | {' | '.join(text)} |")
    first, again = 1e3 * np.median(first_s), 1e3 * np.median(again_s)
    print(f"\nOne thread: {first:.1f} ms for the first prompt, {again:.1f} ms for the next ones")


if __name__ == "__main__":
    main()
