"""Whole little runs on made-up pictures: they learn, resume, and work as a team and on a device."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is needed to train, not to serve")

from models.model import Model  # noqa: E402 - after the check for torch
from models.registry import BUILTIN_DIR, Registry  # noqa: E402
from models.training import teacher as teacher_module  # noqa: E402
from models.training import train  # noqa: E402
from models.training.device_jitter import soften  # noqa: E402
from models.training.network import MatteNet, Width  # noqa: E402
from models.training.pseudo import add_pseudo, consensus, is_sure, label, released  # noqa: E402

HEADER = "file,kind,split,source_repo,path,licence,has_gt,note,tier\n"

CONFIG = """
name = "tiny"
version = "0"
kind = "{kind}"
seed = 1
tiers = ["A"]
cache_side_px = {side}
processes = {processes}
threads = 1
bfloat16 = {bfloat16}
resident = {resident}
[width]
s16 = 32
s32 = 32
s8_blocks = 1
s16_blocks = 1
s32_blocks = 1
[schedule]
budget_minutes = {minutes}
evaluate_every_minutes = 0.01
warmup = 0.1
learning_rate = 1e-3
weight_decay = 1e-2
ema_decay = 0.9
clip_norm = 5.0
budget_samples = {samples}
frozen_norms = {frozen}
side_weight = {side_weight}
teacher_share = {teacher_share}
[[phases]]
until = 1.0
side_px = {side}
batch = 2
[mix]
photo = 4
composite = 4
plain = 1
empty = 1
lifted = 0.5
{mix}
photo_sources = {{ rest = 1 }}
lifted_sources = {{ rest = 1 }}
cutout_sources = {{ rest = 1 }}
beside_sources = {{ rest = 1 }}
"""


@pytest.fixture
def data(tmp_path: Path, disc) -> Path:
    """A data folder of noise with discs in it: two photos, a cut-out and a background, twice."""
    folder = tmp_path / "data"
    for name in ("images", "masks", "cutouts", "backgrounds"):
        (folder / name).mkdir(parents=True)
    mask = (disc(64, 20) * 255).astype(np.uint8)
    lines = []
    for number, split in enumerate(("train", "train", "val", "val")):
        rgb = np.random.default_rng(number).integers(0, 256, (64, 64, 3), dtype=np.uint8)
        cv2.imwrite(str(folder / f"images/p_{number}.jpg"), rgb)
        cv2.imwrite(str(folder / f"masks/p_{number}.png"), mask)
        cv2.imwrite(str(folder / f"cutouts/c_{number}.webp"), np.dstack([rgb, mask]))
        cv2.imwrite(str(folder / f"backgrounds/b_{number}.jpg"), 255 - rgb)
        lines.append(f"images/p_{number}.jpg,object,{split},a/b,p,MIT,1,,A\n")
        lines.append(f"cutouts/c_{number}.webp,cutout-object,{split},a/b,p,MIT,1,,A\n")
        lines.append(f"backgrounds/b_{number}.jpg,background,{split},a/b,p,MIT,0,,A\n")
    (folder / "manifest.csv").write_text(HEADER + "".join(lines), encoding="utf-8")
    return folder


@pytest.fixture
def start(tmp_path: Path, data: Path, monkeypatch):
    """Starts a run by its command line; returns the rows of its curve."""

    def run(*more: str, **values: object) -> list[dict[str, str]]:
        settings = {
            "kind": "matte",
            "processes": 1,
            "resident": "false",
            "bfloat16": "false",
            "frozen": "false",
            "side_weight": 0.3,
            "teacher_share": 0.0,
            "mix": "",
            "minutes": 0.02,
            "samples": 0,
            "side": 64,
        }
        config = tmp_path / "tiny.toml"
        config.write_text(CONFIG.format(**{**settings, **values}), encoding="utf-8")
        out = tmp_path / "run"
        words = ["train", "--config", config, "--data", data, "--out", out, *more]
        monkeypatch.setattr(sys, "argv", [str(word) for word in words])
        train.main()
        with (out / "log.csv").open(newline="", encoding="utf-8") as curve:
            return list(csv.DictReader(curve))

    return run


def test_a_run_leaves_a_curve_and_what_it_was_made_of(start, tmp_path: Path) -> None:
    rows = start()
    assert int(rows[-1]["step"]) >= 1
    assert np.isfinite(float(rows[-1]["loss"]))
    about = json.loads((tmp_path / "run/run.json").read_text(encoding="utf-8"))
    assert about["train_pictures"] == 6
    assert about["val_photos"] == 2
    assert (tmp_path / "run/best.pt").exists()


def test_a_resumed_run_goes_on_from_its_step_and_clock(start) -> None:
    first = start()
    both = start("--resume", minutes=0.04)
    assert both[: len(first)] == first
    assert int(both[len(first)]["step"]) > int(first[-1]["step"])
    assert float(both[-1]["minutes"]) >= 0.04


def test_a_run_with_a_budget_of_samples_ends_at_them_whatever_the_clock_says(start) -> None:
    assert int(start(samples=6, minutes=0.0001)[-1]["samples"]) == 6


@pytest.mark.parametrize("pays", [True, False])
def test_bfloat16_is_used_where_this_cpu_gains_by_it(
    start, tmp_path: Path, monkeypatch, pays: bool
) -> None:
    monkeypatch.setattr(train, "bfloat16_pays", lambda: pays)
    start(bfloat16="true", samples=2)
    about = json.loads((tmp_path / "run/run.json").read_text(encoding="utf-8"))
    assert about["bfloat16"] is pays


def test_frozen_norms_keep_their_statistics_and_learn_their_scale(start, tmp_path: Path) -> None:
    def norm() -> dict[str, torch.Tensor]:
        state = torch.load(tmp_path / "run/last.pt", weights_only=True)["average"]
        return {name: state[f"stem.1.{name}"] for name in ("running_mean", "weight")}

    start(samples=4, frozen="true", side_weight=0.0)
    frozen = norm()
    start(samples=4)
    moved = norm()
    assert not frozen["running_mean"].any()
    assert moved["running_mean"].any()
    assert (frozen["weight"] != 1.0).any()


def test_two_processes_share_every_step(start) -> None:
    rows = start(processes=2)
    last = rows[-1]
    assert int(last["samples"]) == 4 * int(last["step"])  # two batches of two


def test_a_click_run_starts_from_a_matte_run_s_encoder(start, tmp_path: Path, capsys) -> None:
    start()
    kept = tmp_path / "matte.pt"
    (tmp_path / "run/best.pt").rename(kept)
    rows = start("--start", kept, kind="click", minutes=0.06)
    assert 0.0 <= float(rows[-1]["val_iou"]) <= 1.0
    assert "no match for" in capsys.readouterr().out
    old, new = (
        torch.load(path, weights_only=True)["average"]["stem.0.weight"]
        for path in (kept, tmp_path / "run/best.pt")
    )
    assert torch.equal(old, new)


def test_a_run_on_resident_pictures_learns(start, capsys) -> None:
    rows = start(resident="true")
    assert int(rows[-1]["step"]) >= 1
    assert "GB of pictures on cpu" in capsys.readouterr().out


def test_a_run_on_resident_pictures_shows_close_ups_and_strips(start) -> None:
    rows = start(resident="true", samples=6, mix="close = 0.5\nbeside = 0.5")
    assert np.isfinite(float(rows[-1]["loss"]))


def test_a_run_learns_from_a_teacher_and_says_from_which(
    start, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.setattr(teacher_module, "AGREES", 0.0)  # this one has learnt next to nothing
    start(samples=4)
    teacher = tmp_path / "teacher.pt"
    (tmp_path / "run/best.pt").rename(teacher)
    alone = start(samples=4)
    taught = start("--teacher", teacher, samples=4, teacher_share=1.0)
    assert taught[-1]["loss"] != alone[-1]["loss"]
    about = json.loads((tmp_path / "run/run.json").read_text(encoding="utf-8"))
    assert about["teacher"] == str(teacher)


def test_a_teacher_without_a_share_or_a_share_without_a_teacher_is_refused(
    start, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match="and its share, or neither"):
        start(teacher_share=0.5)
    with pytest.raises(ValueError, match="and its share, or neither"):
        start("--teacher", tmp_path / "any.pt")
    with pytest.raises(ValueError, match="for kind 'matte' alone"):
        start("--teacher", tmp_path / "any.pt", teacher_share=0.5, kind="click")


def test_what_cannot_be_trained_is_refused_in_words(start) -> None:
    with pytest.raises(ValueError, match="no resident samples yet"):
        start(kind="click", resident="true")
    with pytest.raises(ValueError, match="multiple of 32"):
        start(side=50)


def test_soften_keeps_a_flat_picture_and_spreads_a_point() -> None:
    flat = torch.full((1, 3, 16, 16), 0.4)
    assert torch.allclose(soften(flat, 3.0), flat, atol=1e-5)
    point = torch.zeros(1, 1, 33, 33)
    point[0, 0, 16, 16] = 1.0
    spread = soften(point, 2.0)
    assert float(spread.sum()) == pytest.approx(1.0, abs=1e-3)
    assert float(spread[0, 0, 16, 16]) < 0.1


def test_pseudo_masks_turn_plain_photos_into_photos_with_a_mask(pool, tmp_path: Path) -> None:
    assert add_pseudo(pool, tmp_path) == 0
    name = Path(pool.plain[0].row.file).stem
    cv2.imwrite(str(tmp_path / f"{name}.png"), np.full((60, 80), 200, np.uint8))
    assert add_pseudo(pool, tmp_path) == 1
    alpha = pool.photos["pseudo"][0].alpha
    assert alpha is not None
    assert alpha.mean() == 200
    cv2.imwrite(str(tmp_path / f"{name}.png"), np.zeros((9, 9), np.uint8))
    with pytest.raises(ValueError, match="make the masks again"):
        add_pseudo(pool, tmp_path)


def test_a_released_model_can_be_the_teacher_and_only_sure_pictures_are_kept(
    tmp_path: Path, disc, picture
) -> None:
    pytest.importorskip("onnxruntime")
    model = Registry([], shipped_dirs=(BUILTIN_DIR,)).load("matte-s")
    assert isinstance(model, Model)
    red = np.full((90, 120, 3), (40, 120, 60), np.uint8)
    red[:, 15:105][disc(90, 30) > 0] = (220, 30, 30)
    alpha = released(model, red)
    assert alpha.shape == (90, 120)
    assert 0.0 <= alpha.min() < alpha.max() <= 1.0
    taught = [picture("images", "inet", False, seed) for seed in (3, 4)]
    answers = iter([0.02 + 0.96 * disc(60, 20), 0.3 + 0.4 * disc(60, 20)])  # sure, and not
    assert label(lambda _: next(answers), taught, tmp_path / "masks") == 1
    assert [path.stem for path in (tmp_path / "masks").iterdir()] == ["inet_3"]


def test_only_sure_answers_of_sensible_size_become_masks(disc) -> None:
    assert is_sure(disc(64, 20))
    assert not is_sure(0.3 + 0.4 * disc(64, 20))
    assert not is_sure(np.zeros((64, 64), np.float32))
    assert not is_sure(np.ones((64, 64), np.float32))
    net = MatteNet(Width(s16=32, s32=32, s16_blocks=1, s32_blocks=1)).eval()
    found = consensus(net, np.zeros((30, 50, 3), np.uint8))
    assert found.shape == (30, 50)
    assert 0.0 <= found.min() <= found.max() <= 1.0
