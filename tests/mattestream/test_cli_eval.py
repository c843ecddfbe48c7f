"""`mattestream eval` with the real pipeline and a tiny model: white is subject, black is not."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from mattestream.cli.root import cli
from tests.fakes.tiny_onnx import write_tiny_model


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    for part in ("images", "truth", "backgrounds", "cutouts"):
        (folder / part).mkdir(parents=True)
    half = np.zeros((32, 32), np.uint8)
    half[:, :16] = 255
    for name, truth in (("right", half), ("wrong<&>", 255 - half)):
        Image.fromarray(np.dstack([half] * 3)).save(folder / "images" / f"{name}.png")
        Image.fromarray(truth).save(folder / "truth" / f"{name}.png")
    Image.new("RGB", (32, 24), "black").save(folder / "backgrounds" / "night.png")
    cut = np.zeros((20, 20, 4), np.uint8)
    cut[4:16, 4:16] = 255
    Image.fromarray(cut).save(folder / "cutouts" / "paper.png")
    return folder


@pytest.fixture
def evaluate(tmp_path: Path, data: Path):
    models = tmp_path / "models"
    models.mkdir()
    write_tiny_model(models)
    write_tiny_model(models, "faint", gain=0.3)

    def run(*arguments: object, model: str = "tiny") -> Result:
        command = ["eval", str(data), "--out", str(tmp_path / "out"), *map(str, arguments)]
        command += ["--model", model, "--model-dir", str(models), "--device", "cpu"]
        return CliRunner().invoke(cli, command, catch_exceptions=False)

    return run


OFF = "refine=off,decontaminate=0"


def test_what_is_measured_is_in_the_table_the_json_and_the_csv(evaluate, tmp_path):
    result = evaluate("--set", OFF)
    assert result.exit_code == 0, result.output
    assert "boundary F" in result.output
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    rows = {row["group"]: row for row in report["groups"]}
    assert rows["all"]["images"] == 2
    assert rows["all"]["scores"]["iou"] == pytest.approx(0.5)  # one right, one inside out
    assert rows["all"]["scores"]["mae"] == pytest.approx(0.5, abs=0.01)
    assert report["totals"][0]["empty_found"] == 1.0
    with (tmp_path / "out" / "images.csv").open(newline="") as file:
        lines = {line["name"]: line for line in csv.DictReader(file)}
    assert float(lines["images/right.png"]["iou"]) == 1.0
    assert lines["backgrounds/night.png"]["no_subject"] == "True"


def test_every_model_is_tried_with_every_setting(evaluate, tmp_path):
    evaluate("--model", "faint", "--set", OFF, "--set", "refine=off,decontaminate=0,threshold=0.2")
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    labels = [run["label"] for run in report["runs"]]
    assert len(labels) == 4
    iou = {row["run"]: row["scores"]["iou"] for row in report["groups"] if row["group"] == "all"}
    assert iou[f"faint, {OFF}"] == 0.0
    assert iou[f"faint, {OFF},threshold=0.2"] == pytest.approx(0.5)


def test_the_page_shows_its_sheets_and_spells_names_harmlessly(evaluate, tmp_path):
    evaluate()
    page = (tmp_path / "out" / "report.html").read_text()
    sheets = sorted(path.name for path in (tmp_path / "out" / "sheets").glob("*.jpg"))
    assert len(sheets) == 2  # two photos and one empty picture, each among the worst of its group
    assert all(f"sheets/{name}" in page for name in sheets)
    assert "<&>" not in page
    assert "http" not in page


def test_a_second_report_leaves_no_sheet_of_the_first(evaluate, tmp_path):
    evaluate("--composites", 2)
    evaluate("--worst", 0, "--best", 0)
    assert list((tmp_path / "out" / "sheets").glob("*.jpg")) == []


def test_composites_have_the_fringe_too(evaluate, tmp_path):
    assert evaluate("--composites", 3, "--seed", 1, "--only-composites").exit_code == 0
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    (row,) = report["groups"]
    assert (row["group"], row["images"]) == ("composite", 3)
    assert "fringe" in row["scores"]


def test_a_truth_that_does_not_fit_is_told_and_the_rest_is_measured(evaluate, data, tmp_path):
    Image.new("L", (9, 9)).save(data / "truth" / "right.png")
    result = evaluate()
    assert result.exit_code == 1
    assert "images/right.png is 32x32, its truth 9x9" in result.output
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["groups"][0]["images"] == 1


def test_nothing_measured_is_a_failure_with_its_reasons(evaluate, data):
    for path in (data / "truth").iterdir():
        path.unlink()
    (data / "backgrounds" / "night.png").unlink()
    result = evaluate()
    assert result.exit_code == 1
    assert "has no truth" in result.output
    assert "nothing could be measured" in result.output


@pytest.mark.parametrize("wrong", [["--set", "refien=off"], ["--split", "val"]])
def test_a_wrong_command_line_is_exit_code_2(evaluate, wrong):
    assert evaluate(*wrong).exit_code == 2


def test_only_composites_needs_a_number_of_them(evaluate):
    assert evaluate("--only-composites").exit_code == 2
