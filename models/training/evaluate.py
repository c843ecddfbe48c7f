"""What a model is worth on the validation split: one table, any models side by side.

Run by a person: `python -m models.training.evaluate --data ../shared/data --model
matte-s=models/builtin/matte-s.onnx --model sinet=PATH [--time]`; the name before `=` picks the
input layout from `layouts.toml`. Prints markdown for the model card. Needs no torch.
"""

from __future__ import annotations

import argparse
import time
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from models.training.composite import place, random_view, to_u8
from models.training.data import U8, Picture, Pool, load_pool, read_manifest
from models.training.metrics import Alpha, boundary_f, iou, mae, soft_band_mae

LAYOUTS = Path(__file__).with_name("layouts.toml")
TRAIN_TIERS = ("A", "B")  # tier C is reported apart: no shipped weights have seen its sources
COMPOSITE_SIDE_PX = 384
COMPOSITE_SEED = 7


@dataclass(frozen=True)
class Layout:
    """How a picture becomes a model's input and its output becomes an alpha."""

    side_hw: tuple[int, int]
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    order: str = "RGB"
    layout: str = "NCHW"
    channel: int = 0
    softmax: bool = False


class OnnxModel:
    """An ONNX file on one CPU thread, from RGB uint8 to alpha."""

    def __init__(self, path: Path, layout: Layout) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 3
        self.layout = layout
        self.session = ort.InferenceSession(str(path), options, ["CPUExecutionProvider"])
        self.input_name = self.session.get_inputs()[0].name

    def tensor(self, rgb: U8) -> NDArray[np.float32]:
        """The picture stretched to the model's size and normalised, a batch of one."""
        h, w = self.layout.side_hw
        shrinks = min(rgb.shape[0] / h, rgb.shape[1] / w) > 1.0
        small = cv2.resize(
            rgb, (w, h), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
        )
        x = np.asarray(small, np.float32) / np.float32(255.0)
        if self.layout.order == "BGR":
            x = x[..., ::-1]
        mean, std = np.array(self.layout.mean, np.float32), np.array(self.layout.std, np.float32)
        x = (x - mean) / std
        if self.layout.layout == "NCHW":
            x = x.transpose(2, 0, 1)
        return np.ascontiguousarray(x[None], np.float32)

    def run(self, tensor: NDArray[np.float32]) -> NDArray[np.float32]:
        """The raw first output."""
        return np.asarray(self.session.run(None, {self.input_name: tensor})[0], np.float32)

    def alpha(self, rgb: U8) -> Alpha:
        """Alpha (H, W) float32 in [0, 1] at the picture's own size."""
        out = self.run(self.tensor(rgb))[0]
        planes = out if self.layout.layout == "NCHW" else out.transpose(2, 0, 1)
        if self.layout.softmax:
            planes = np.exp(planes - planes.max(axis=0))
            planes = planes / planes.sum(axis=0)
        plane = np.ascontiguousarray(planes[self.layout.channel])
        full = cv2.resize(plane, rgb.shape[1::-1], interpolation=cv2.INTER_LINEAR)
        return np.asarray(np.clip(full, 0.0, 1.0), np.float32)


Score = Callable[[Alpha, Alpha], float]
PHOTO_SCORES: dict[str, Score] = {"IoU": iou, "MAE": mae, "boundary F": boundary_f}
COMPOSITE_SCORES: dict[str, Score] = {"IoU": iou, "matte MAE": mae, "edge-band MAE": soft_band_mae}


def read_layout(name: str) -> Layout:
    """The layout called `name` in layouts.toml."""
    known = tomllib.loads(LAYOUTS.read_text(encoding="utf-8"))
    if name not in known:
        raise KeyError(f"no layout called {name}: layouts.toml has {', '.join(known)}")
    values: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value
        for key, value in known[name].items()
    }
    return Layout(**values)


def photo_groups(pool: Pool) -> dict[str, list[Picture]]:
    """Photos with masks by kind; sources outside the training tiers in groups of their own."""
    groups: dict[str, list[Picture]] = {}
    for kind in ("person", "animal", "object", "mixed"):
        for outside in (False, True):
            name = f"{kind}, sources never trained on" if outside else kind
            found = [
                picture
                for pictures in pool.photos.values()
                for picture in pictures
                if picture.row.kind == kind and (picture.row.tier not in TRAIN_TIERS) == outside
            ]
            if found:
                groups[name] = found
    return groups


def composites(pool: Pool) -> Iterator[tuple[str, U8, Alpha]]:
    """Group, RGB and true alpha of every val cut-out on a val background; same every time."""
    for prefix, cutouts in sorted(pool.cutouts.items()):
        for number, cutout in enumerate(cutouts):
            rng = np.random.default_rng([COMPOSITE_SEED, number])
            background = pool.backgrounds[number % len(pool.backgrounds)]
            layer = place(rng, cutout, COMPOSITE_SIDE_PX, rng.uniform(0.4, 0.95))
            ground, _ = random_view(rng, background, COMPOSITE_SIDE_PX)
            mixed = layer.premultiplied + (1.0 - layer.alpha[..., None]) * ground
            yield f"composite, {prefix}", to_u8(mixed), layer.alpha


def evaluate(model: OnnxModel, pool: Pool) -> dict[tuple[str, str, int], float]:
    """Mean of every score, by (group, score, pictures in the group)."""
    results: dict[tuple[str, str, int], float] = {}
    for group, pictures in photo_groups(pool).items():
        pairs: list[tuple[Alpha, Alpha]] = []
        for picture in pictures:
            assert picture.alpha is not None
            pairs.append((model.alpha(picture.rgb), picture.alpha.astype(np.float32) / 255.0))
        add_scores(results, group, pairs, PHOTO_SCORES)
    by_group: dict[str, list[tuple[Alpha, Alpha]]] = {}
    for group, rgb, truth in composites(pool):
        by_group.setdefault(group, []).append((model.alpha(rgb), truth))
    for group, pairs in by_group.items():
        add_scores(results, group, pairs, COMPOSITE_SCORES)
    return results


def add_scores(
    results: dict[tuple[str, str, int], float],
    group: str,
    pairs: list[tuple[Alpha, Alpha]],
    scores: dict[str, Score],
) -> None:
    """Adds the mean of each score over (predicted, truth) pairs."""
    for name, score in scores.items():
        results[group, name, len(pairs)] = float(np.mean([score(p, t) for p, t in pairs]))


def markdown(columns: dict[str, dict[tuple[str, str, int], float]]) -> str:
    """One row per group and score, one column per model."""
    names = list(columns)
    lines = [
        "| group (pictures) | score | " + " | ".join(names) + " |",
        "|---" * (2 + len(names)) + "|",
    ]
    for group, score, count in next(iter(columns.values())):
        cells = [f"{columns[name][group, score, count]:.3f}" for name in names]
        lines.append(f"| {group} ({count}) | {score} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def median_ms(models: dict[str, OnnxModel], rounds: int = 60) -> dict[str, float]:
    """Median run time of each session in ms, one thread, the models taking turns.

    Turns, because a shared machine slows for minutes at a time: ratios survive that, totals do not.
    """
    rng = np.random.default_rng(0)
    rgb = rng.integers(0, 256, (360, 480, 3), dtype=np.uint8)
    tensors = {name: model.tensor(rgb) for name, model in models.items()}
    times: dict[str, list[float]] = {name: [] for name in models}
    for _ in range(rounds):
        for name, model in models.items():
            start = time.perf_counter()
            model.run(tensors[name])
            times[name].append(1e3 * (time.perf_counter() - start))
    return {name: float(np.median(values[5:])) for name, values in times.items()}


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Compare models on the validation split.")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--model", action="append", required=True, metavar="NAME=PATH")
    parser.add_argument("--time", action="store_true", help="also time each on one thread")
    args = parser.parse_args()
    models: dict[str, OnnxModel] = {}
    for given in args.model:
        name, _, path = given.partition("=")
        models[name] = OnnxModel(Path(path), read_layout(name))
    rows = [r for r in read_manifest(args.data) if r.split == "val"]
    rows = [r for r in rows if r.has_mask or r.folder in ("cutouts", "backgrounds")]
    pool = load_pool(args.data, rows, side_max=512)
    print(markdown({name: evaluate(model, pool) for name, model in models.items()}))
    if args.time:
        times = median_ms(models)
        first = next(iter(times.values()))
        print("\n| model | median ms, one thread | ratio |\n|---|---|---|")
        for name, value in times.items():
            print(f"| {name} | {value:.1f} | {value / first:.2f} |")


if __name__ == "__main__":
    main()
