"""`mattestream remove` with the real pipeline and a tiny model: white is subject, black is not."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from mattestream.cli.root import cli
from tests.fakes.tiny_onnx import write_tiny_model


def picture(side: int = 24) -> Image.Image:
    """Left half white (subject), right half black."""
    pixels = np.zeros((side, side, 3), np.uint8)
    pixels[:, : side // 2] = 255
    return Image.fromarray(pixels)


def picture_bytes(kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    picture().save(buffer, kind)
    return buffer.getvalue()


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    (folder / "deep").mkdir(parents=True)
    picture().save(folder / "a.jpg", quality=95)
    picture().save(folder / "b.png")
    picture().save(folder / "deep" / "c.webp")
    (folder / "notes.txt").write_text("no picture")
    return folder


@pytest.fixture
def remove(tmp_path: Path):
    models = tmp_path / "models"
    models.mkdir()
    write_tiny_model(models)

    def run(*arguments: object, **more: object) -> Result:
        flags = ["--model", "tiny", "--model-dir", str(models)]
        command = ["remove", *map(str, arguments), *flags]
        return CliRunner().invoke(cli, command, catch_exceptions=False, **more)

    return run


def opened(path: Path) -> Image.Image:
    """The picture in a file, read to its end so that the file is closed."""
    with Image.open(path) as image:
        image.load()
    return image


def names(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


def test_a_file_becomes_a_cutout_in_the_folder(remove, photos, tmp_path):
    result = remove(photos / "a.jpg", "-o", tmp_path / "out")
    assert result.exit_code == 0, result.output
    cutout = np.asarray(opened(tmp_path / "out" / "a.png"))
    assert cutout.shape == (24, 24, 4)
    assert cutout[12, 3, 3] == 255
    assert cutout[12, 20].tolist() == [0, 0, 0, 0]


def test_a_file_goes_to_the_file_that_is_named_in_the_format_of_its_ending(
    remove, photos, tmp_path
):
    target = tmp_path / "new" / "x.webp"
    assert remove(photos / "a.jpg", "-o", target).exit_code == 0
    assert opened(target).format == "WEBP"


def test_a_folder_is_taken_without_what_lies_deeper(remove, photos, tmp_path):
    assert remove(photos, "-o", tmp_path / "out").exit_code == 0
    assert names(tmp_path / "out") == ["a.png", "b.png"]


def test_recursion_keeps_the_folders(remove, photos, tmp_path):
    assert remove(photos, "-r", "-o", tmp_path / "out").exit_code == 0
    assert names(tmp_path / "out") == ["a.png", "b.png", "deep/c.png"]


def test_results_of_an_earlier_run_are_not_pictures_of_the_next(remove, photos):
    out = photos / "cut"
    assert remove(photos, "-r", "-o", out).exit_code == 0
    again = remove(photos, "-r", "-o", out, "--skip-existing")
    assert again.exit_code == 0
    assert "3 skipped" in again.stderr
    assert names(out) == ["a.png", "b.png", "deep/c.png"]


def test_pictures_that_would_share_a_name_keep_their_endings(remove, photos, tmp_path):
    picture().save(photos / "a.bmp")
    assert remove(photos, "-o", tmp_path / "out").exit_code == 0
    assert names(tmp_path / "out") == ["a.bmp.png", "a.jpg.png", "b.png"]


def test_an_existing_result_is_an_error_for_that_file_and_the_rest_is_done(
    remove, photos, tmp_path
):
    out = tmp_path / "out"
    out.mkdir()
    (out / "a.png").write_bytes(b"precious")
    result = remove(photos, "-o", out)
    assert result.exit_code == 1
    assert "a.png exists: use --force" in result.stderr
    assert (out / "a.png").read_bytes() == b"precious"
    assert (out / "b.png").stat().st_size > 8


def test_force_replaces_an_existing_result(remove, photos, tmp_path):
    target = tmp_path / "a.png"
    target.write_bytes(b"old")
    assert remove(photos / "a.jpg", "-o", target, "--force").exit_code == 0
    assert target.read_bytes() != b"old"


def test_force_never_replaces_a_picture_itself(remove, photos):
    before = (photos / "b.png").read_bytes()
    result = remove(photos / "b.png", "-o", photos, "--force")
    assert result.exit_code == 1
    assert "itself one of the pictures" in result.stderr
    assert (photos / "b.png").read_bytes() == before


def test_one_bad_file_does_not_stop_the_rest(remove, photos, tmp_path):
    (photos / "bad.jpg").write_bytes(b"not a picture")
    result = remove(photos, photos / "gone.png", "-o", tmp_path / "out")
    assert result.exit_code == 1
    assert names(tmp_path / "out") == ["a.png", "b.png"]
    assert "failed" in result.stderr
    assert "bad.jpg" in result.stderr
    assert "gone.png" in result.stderr
    assert "2 done" in result.stderr
    assert "2 failed" in result.stderr


def test_the_alpha_alone_is_one_channel(remove, photos, tmp_path):
    assert remove(photos / "b.png", "-o", tmp_path / "o.png", "--output", "alpha").exit_code == 0
    assert opened(tmp_path / "o.png").mode == "L"


def test_a_background_makes_a_composite_of_it(remove, photos, tmp_path):
    target = tmp_path / "o.jpg"
    assert remove(photos / "b.png", "-o", target, "--background", "#00ff00").exit_code == 0
    pixels = np.asarray(opened(target).convert("RGB")).astype(int)
    assert abs(pixels[12, 22] - [0, 255, 0]).max() < 12


def test_a_composite_without_a_background_is_on_white(remove, photos, tmp_path):
    target = tmp_path / "o.png"
    assert remove(photos / "b.png", "-o", target, "--output", "composite").exit_code == 0
    assert np.asarray(opened(target))[12, 22].tolist() == [255, 255, 255]


def test_stdin_goes_to_stdout_and_the_words_to_stderr(remove):
    result = remove("-", input=picture_bytes("JPEG"))
    assert result.exit_code == 0
    assert Image.open(io.BytesIO(result.stdout_bytes)).size == (24, 24)
    assert "1 done" in result.stderr


def test_quiet_prints_nothing_when_all_is_well(remove, photos, tmp_path):
    result = remove(photos, "-q", "-o", tmp_path / "out")
    assert (result.exit_code, result.output) == (0, "")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["a.jpg"], "name a folder or a file with -o"),
        (["a.jpg", "b.png", "-o", "one.png"], "one file, 2 pictures"),
        (["a.jpg", "b.png", "-o", "-"], "takes one picture"),
        (["a.jpg", "-o", "x.png", "--format", "webp"], "does not fit"),
        (["deep/..", "-o", "x", "--force", "--skip-existing"], "exclude each other"),
        (["empty", "-o", "x"], "no pictures in empty (-r goes down"),
        (["a.jpg", "-o", "notes.txt"], "is a file and its ending is none of"),
        (["a.jpg", "-o", "x.jpg"], "has no alpha, so it cannot hold a cut-out"),
        (["a.jpg", "-o", "x.png", "--quality", "50"], "lossless"),
        (["a.jpg", "-o", "x.gif"], "x.gif is no ending that is written"),
        (["a.jpg", "-o", "x.png", "--background", "greenish"], "--background: 'greenish' is no"),
        (["a.jpg", "-o", "x.png", "--background", "notes.txt"], "--background: the data is"),
        (["a.jpg", "-o", "x.png", "--background-fit", "tile"], "there is no background"),
        (["a.jpg", "-o", "x.png", "--max-megapixels", "many"], "--max-megapixels is 'many'"),
    ],
)
def test_a_wrong_command_line_is_exit_code_2_and_a_sentence(
    remove, photos, monkeypatch, arguments, words
):
    (photos / "empty").mkdir()
    monkeypatch.chdir(photos)
    result = remove(*arguments)
    assert result.exit_code == 2
    assert words in " ".join(result.stderr.split())
    assert "Traceback" not in result.output


def test_options_that_do_not_fit_are_refused_before_any_server_is_asked(remove, photos, tmp_path):
    nobody = ["--address", "127.0.0.1:1"]
    result = remove(photos, "-o", tmp_path / "o", "--format", "jpeg", *nobody)
    assert result.exit_code == 2
    assert result.stderr.count("has no alpha, so it cannot hold a cut-out") == 1
    assert "failed" not in result.stderr


def test_a_point_outside_of_one_picture_fails_that_picture_alone(remove, photos, tmp_path):
    picture(48).save(photos / "large.png")
    result = remove(photos, "-o", tmp_path / "o", "--region", "30,0,48,48")
    assert result.exit_code == 1
    assert result.stderr.count("--region is (30, 0) to (48, 48), the image is 24x24 pixels") == 2
    assert names(tmp_path / "o") == ["large.png"]


def test_a_radius_alone_blurs_the_background(remove, photos, tmp_path):
    result = remove(photos / "a.jpg", "-o", tmp_path / "o.png", "--background-blur", "3")
    assert result.exit_code == 0
    assert opened(tmp_path / "o.png").mode == "RGB"


def test_a_drawing_that_goes_without_the_model_is_said(remove, tmp_path):
    pixels = np.full((120, 160, 3), 255, np.uint8)
    pixels[30:90, 40:120] = (200, 20, 30)
    Image.fromarray(pixels).save(tmp_path / "logo.png")
    result = remove(tmp_path / "logo.png", "-o", tmp_path / "o.png")
    assert "its paper's colour #ffffff without the model (--flat off" in result.stderr
    assert (
        "without the model"
        not in remove(tmp_path / "logo.png", "-o", tmp_path / "p.png", "--flat", "off").stderr
    )


def test_a_picture_over_the_limit_fails_with_the_flag_that_helps(remove, photos, tmp_path):
    result = remove(photos / "a.jpg", "-o", tmp_path / "o", "--max-megapixels", "0.0002")
    assert result.exit_code == 1
    assert "--max-megapixels" in result.stderr
    wider = remove(photos / "a.jpg", "-o", tmp_path / "o", "--max-megapixels", "1")
    assert wider.exit_code == 0


def test_an_unknown_model_is_one_sentence_with_the_nearest_names(photos, tmp_path):
    command = ["remove", str(photos), "-o", str(tmp_path / "o"), "--model", "u2nett"]
    result = CliRunner().invoke(cli, command)
    assert result.exit_code == 1
    assert "there is no model 'u2nett'" in result.stderr
    assert "u2net" in result.stderr


def test_a_device_that_is_not_there_is_an_error_and_no_fallback(remove, photos, tmp_path):
    result = remove(photos, "-o", tmp_path / "o", "--device", "cuda")
    assert result.exit_code == 1
    assert "cuda" in result.stderr
    assert not (tmp_path / "o").exists()


def test_no_subject_is_said_and_is_no_failure(remove, tmp_path):
    Image.new("RGB", (16, 16)).save(tmp_path / "black.png")
    result = remove(tmp_path / "black.png", "-o", tmp_path / "o")
    assert result.exit_code == 0
    assert "no subject was found" in result.stderr
