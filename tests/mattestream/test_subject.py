"""Keywords of subjects and their short forms; `segment` of both clients and of the command line."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

from mattestream import AsyncClient, Client, InvalidRequest, NotBuilt, Segmentation
from mattestream.cli.root import cli
from mattestream.request import build_options, build_segment_request
from mattestream.v1 import options_pb2 as O  # noqa: N812
from server.config import Config
from tests.fakes.sam_onnx import write_sam_model
from tests.fakes.tiny_onnx import write_tiny_model
from tests.mattestream.running import running_server

IN_SMALL = (190, 85)


def scene() -> np.ndarray:
    """Two white blocks on dark grey, (160, 240, 3)."""
    pixels = np.full((160, 240, 3), 40, np.uint8)
    pixels[20:140, 10:130] = 255
    pixels[40:130, 150:230] = 255
    return pixels


@pytest.mark.parametrize(
    "points", [[(3, 4), (5, 6, False)], [[3.0, 4.0], (5, 6, False)], ["3,4", "5, 6, -"]]
)
def test_points_have_a_short_form_and_say_what_is_not_wanted(points):
    first, second = build_options(points=points).subject.points
    assert (first.x, first.y, first.exclude) == (3, 4, False)
    assert (second.x, second.y, second.exclude) == (5, 6, True)


def test_boxes_and_regions_have_a_short_form():
    subject = build_options(box="1,2,3,4", region=(5, 6, 7, 8)).subject
    assert (subject.box.left, subject.box.bottom) == (1, 4)
    assert (subject.region.top, subject.region.right) == (6, 7)


def test_the_largest_is_a_choice_and_nothing_is_asked_unasked():
    assert build_options(largest=True).subject.choice == O.SUBJECT_CHOICE_LARGEST
    assert not build_options(largest=False).HasField("subject")
    assert not build_segment_request(b"x", {}).HasField("subject")


@pytest.mark.parametrize(
    ("keywords", "sentence"),
    [
        ({"points": ["3"]}, "points has '3': give (x, y)"),
        ({"points": ["3,4,no"]}, "points has '3,4,no'"),
        ({"points": [(1, "up")]}, "points has 'up'"),
        ({"box": "1,2,3"}, "box is '1,2,3': give (left, top, right, bottom)"),
        ({"region": (1, 2, 3, "x")}, "region has 'x'"),
    ],
)
def test_a_mistake_is_told_with_what_is_allowed(keywords, sentence):
    with pytest.raises(InvalidRequest) as caught:
        build_options(**keywords)
    assert sentence in str(caught.value)


def test_an_unknown_keyword_of_segment_is_named():
    with pytest.raises(TypeError, match="unknown keyword feather_px"):
        build_segment_request(b"x", {"feather_px": 3})  # type: ignore[typeddict-unknown-key]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("models")
    write_tiny_model(made, side=64)
    write_sam_model(made, "disc")
    return made


@pytest.fixture(scope="module")
def address(folder: Path):
    config = Config(
        port=0,
        metrics_port=-1,
        http_port=0,
        model="tiny",
        model_dirs=(folder,),
        prompt_model="disc",
        device="cpu",
        threads=2,
    )
    with running_server(config) as address:
        yield address


def check_both(found: Segmentation) -> None:
    first, second = found.subjects
    assert first.alpha.array().shape == (160, 240)
    assert first.alpha.array()[80, 70] > 250 > second.alpha.array()[80, 70]
    assert second.box[0] == pytest.approx(150, abs=8)
    assert first.coverage > second.coverage
    assert 0 < first.score <= 1
    assert found.report.model.name == "tiny"


def test_segment_gives_every_subject_with_its_alpha(address):
    with Client(address) as client:
        check_both(client.segment(scene()))
        assert len(client.segment(scene(), max_subjects=1).subjects) == 1


async def test_the_async_client_does_the_same(address):
    async with AsyncClient(address) as client:
        check_both(await client.segment(scene(), format="raw"))


def test_a_prompt_gives_the_one_subject_and_a_second_is_answered_from_what_was_seen(address):
    with Client(address) as client:
        first = client.segment(scene(), points=[(70, 80)])
        second = client.segment(scene(), points=[IN_SMALL])
    (subject,) = second.subjects
    assert subject.alpha.array()[85, 190] > 250
    assert subject.alpha.array()[80, 70] < 30
    assert second.report.cached_features
    assert not first.report.cached_features or first.report.prompt_model.name == "disc"


def test_remove_takes_the_same_words(address):
    with Client(address) as client:
        chosen = client.remove(scene(), output="alpha", points=[IN_SMALL]).array()
        largest = client.remove(scene(), output="alpha", largest=True).array()
    assert chosen[85, 190] > 250 > chosen[80, 70]
    assert largest[80, 70] > 250 > largest[85, 190]


def test_a_point_outside_is_the_callers_mistake(address):
    with Client(address) as client, pytest.raises(InvalidRequest, match="a point must lie in it"):
        client.segment(scene(), points=[(999, 5)])
    assert not issubclass(InvalidRequest, NotBuilt)


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "two.png"
    cv2.imwrite(str(path), scene())
    return path


def test_the_command_writes_an_alpha_for_each_subject(address, photo, tmp_path):
    out = tmp_path / "out"
    done = CliRunner().invoke(cli, ["segment", str(photo), "-o", str(out), "--address", address])
    assert done.exit_code == 0, done.output
    assert sorted(path.name for path in out.iterdir()) == ["two-1.png", "two-2.png"]
    assert cv2.imread(str(out / "two-1.png"), cv2.IMREAD_UNCHANGED).shape == (160, 240)
    rows = [line.split() for line in done.output.splitlines() if "two-" in line]
    assert [row[1] for row in rows] == [str(out / "two-1.png"), str(out / "two-2.png")]
    assert all(len(row[2].split(",")) == 4 for row in rows)  # as --box takes it
    again = CliRunner().invoke(cli, ["segment", str(photo), "-o", str(out), "--address", address])
    assert again.exit_code == 1  # nothing is overwritten unasked
    assert f"{out / 'two-1.png'} exists: use --force to replace it" in again.output


def test_the_command_takes_folders_and_keeps_names_apart(address, photo, tmp_path):
    cv2.imwrite(str(tmp_path / "two.bmp"), scene())
    out = tmp_path / "out"
    arguments = ["segment", str(tmp_path), "-o", str(out), "--largest", "--address", address]
    done = CliRunner().invoke(cli, arguments)
    assert done.exit_code == 0, done.output
    assert sorted(path.name for path in out.iterdir()) == ["two.bmp-1.png", "two.png-1.png"]
    (out / "nothing").mkdir()
    nothing = CliRunner().invoke(cli, ["segment", str(out / "nothing"), "-o", str(out / "more")])
    assert nothing.exit_code == 2
    assert "no pictures in" in nothing.output


def test_the_command_tells_of_a_picture_that_is_none_and_goes_on(address, photo, tmp_path):
    bad = tmp_path / "bad.jpg"
    bad.write_bytes(b"no picture")
    arguments = ["segment", str(bad), str(photo), "-o", str(tmp_path / "out"), "--point", "190,85"]
    done = CliRunner().invoke(cli, [*arguments, "--address", address])
    assert done.exit_code == 1
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["two-1.png"]


def test_the_commands_work_without_a_server_too(folder, photo, tmp_path):
    # In processes of their own: a server in this one would take over the tests' log.
    model = ["--model-dir", str(folder), "--device", "cpu"]
    out = tmp_path / "out"
    run(["segment", str(photo), "-o", str(out), "--point", "190,85", *model])
    assert (out / "two-1.png").is_file()
    removed = ["remove", str(photo), "-o", str(tmp_path / "r.png"), "--point", "190,85"]
    run([*removed, "--output", "alpha", *model, "--model", "tiny"])
    alpha = cv2.imread(str(tmp_path / "r.png"), cv2.IMREAD_UNCHANGED)
    assert alpha[80, 70] < 60


def run(arguments: list[str]) -> None:
    """The command line in a process of its own, which must go well."""
    command = [sys.executable, "-m", "mattestream", *arguments]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr[-2000:]
