from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from mattestream.cli.before_after import GAP, HEIGHT, main
from mattestream.cli.demo import PHOTOS, sample_photos
from mattestream.cli.root import cli


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    pixels = np.full((64, 96, 3), 255, np.uint8)
    path = tmp_path / "white.png"
    Image.fromarray(pixels).save(path)
    return path


@pytest.mark.slow
def test_the_demo_starts_a_server_writes_cutouts_and_says_where(photo, tmp_path, monkeypatch):
    from tests.fakes.tiny_onnx import write_tiny_model

    write_tiny_model(tmp_path)
    monkeypatch.setenv("MATTESTREAM_MODEL", "tiny")
    monkeypatch.setenv("MATTESTREAM_MODEL_DIRS", str(tmp_path))
    out = tmp_path / "out"
    arguments = ["demo", str(photo), "--out", str(out)]
    result = CliRunner().invoke(cli, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert "server stopped cleanly" in result.output
    assert f"cut-outs are in {out}" in result.output
    assert "96x64" in result.output
    with Image.open(out / "white.png") as cutout:
        assert (cutout.mode, cutout.size) == ("RGBA", (96, 64))


@pytest.mark.slow
def test_a_photo_that_fails_is_exit_code_1(photo, tmp_path):
    bad = tmp_path / "bad.jpg"
    bad.write_bytes(b"junk")
    result = CliRunner().invoke(cli, ["demo", str(bad), "--out", str(tmp_path / "out")])
    assert result.exit_code == 1
    assert "bad.jpg" in result.output


def test_the_photos_come_with_scikit_image():
    pytest.importorskip("skimage", reason="needs the demo extra: pip install -e '.[demo]'")
    assert [path.name for path in sample_photos()] == list(PHOTOS)


def test_before_and_after_stand_side_by_side(photo, tmp_path):
    cutout = np.zeros((64, 96, 4), np.uint8)
    cutout[:, :48] = (255, 0, 0, 255)
    target = tmp_path / "docs" / "both.png"
    Image.fromarray(cutout).save(tmp_path / "cutout.png")
    main(str(photo), str(tmp_path / "cutout.png"), str(target))
    with Image.open(target) as image:
        both = np.asarray(image.convert("RGB"))
    width = 96 * HEIGHT // 64
    assert both.shape == (HEIGHT, 2 * width + GAP, 3)
    assert both[HEIGHT // 2, 10].tolist() == [255, 255, 255]
    assert both[HEIGHT // 2, width + GAP + 10].tolist() == [255, 0, 0]
    ground = {tuple(p) for p in both[:, -40:].reshape(-1, 3).tolist()}
    assert {(255, 255, 255), (225, 225, 225)} <= ground
