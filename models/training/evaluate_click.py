"""How good the click model is after one click, two, and so on, for a patient simulated user.

Run by a person: `python -m models.training.evaluate_click --data ../shared/data --models FOLDER`,
the folder being what `export_click.py` wrote. The first click is the deepest point of the wanted
subject, every other one that of the largest error, with the answer before it as the mask prompt.
Prints markdown for the model card. Needs no torch.
"""

from __future__ import annotations

import argparse
import time
import tomllib
from pathlib import Path

import numpy as np
import onnxruntime as ort

from kernels import cpu
from models.training.composite import Mix
from models.training.data import U8, load_pool, open_folder, read_manifest, select
from models.training.metrics import Alpha, iou, mae
from models.training.prompts import Click, draw_maps, next_click
from models.training.scenes import SceneSampler

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
CONFIG = Path(__file__).with_name("matte_click.toml")
SCENE_SEED = 11
SCENES = 200
CLICKS = 5


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
        self, features: dict[str, Alpha], clicks: list[Click], earlier: Alpha | None
    ) -> Alpha:
        """Alpha (S, S) float32 in [0, 1] of the wanted subject."""
        maps = draw_maps(clicks, None, earlier, self.side // 2).astype(np.float32) / 255.0
        prompts = np.ascontiguousarray(maps.transpose(2, 0, 1)[None])
        (alpha,) = self.decoder.run(["alpha"], {**features, "prompts": prompts})
        return np.asarray(alpha[0, 0], np.float32)


def play(model: ClickModel, rgb: U8, truth: Alpha) -> list[Alpha]:
    """The answers after one click, two, ..., `CLICKS`, for a user who wants `truth` (S, S)."""
    features = model.look(rgb)
    clicks: list[Click] = []
    answers: list[Alpha] = []
    earlier: Alpha | None = None
    for _ in range(CLICKS):
        click = next_click(np.zeros_like(truth) if earlier is None else earlier, truth)
        if click is not None:
            clicks.append(click)
            earlier = model.answer(features, clicks, earlier)
        answers.append(np.zeros_like(truth) if earlier is None else earlier)
    return answers


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Click through the validation scenes.")
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
    scenes = SceneSampler(load_pool(data, rows, 512), Mix(**raw["mix"]), SCENE_SEED)
    scores: list[list[tuple[float, float]]] = [[] for _ in range(CLICKS)]
    seconds: list[float] = []
    for number in range(SCENES):
        rgb, maps, _ = scenes.sample(number, model.side)
        truth = maps[..., 0].astype(np.float32) / 255.0
        start = time.perf_counter()
        answers = play(model, rgb, truth)
        seconds.append(time.perf_counter() - start)
        for row, alpha in zip(scores, answers, strict=True):
            row.append((iou(alpha, truth), mae(alpha, truth)))
    print("| clicks | IoU | MAE |\n|---|---|---|")
    for count, row in enumerate(scores, start=1):
        found = np.mean(row, axis=0)
        print(f"| {count} | {found[0]:.3f} | {found[1]:.3f} |")
    print(
        f"\n{SCENES} scenes, {CLICKS} clicks each: median {1e3 * np.median(seconds):.0f} ms a scene"
    )


if __name__ == "__main__":
    main()
