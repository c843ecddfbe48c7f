"""Generated pictures: the same for the same seed, and true in alpha and colours."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from server.codecs.decode import decode
from server.codecs.header import Limits
from server.evaluation.cases import BadTruth, Case
from server.evaluation.composites import composites
from server.evaluation.dataset import BadDataset, open_dataset

LIMITS = Limits(max_megapixels=1.0, max_side_px=2000)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rgba = np.zeros((30, 20, 4), np.uint8)
    rgba[5:25, 5:15] = (200, 40, 10, 255)
    rgba[5:25, 4] = (200, 40, 10, 128)
    ground = np.random.default_rng(0).integers(0, 256, (50, 70, 3), dtype=np.uint8)
    for name, pixels in (("cutouts/mug.png", rgba), ("backgrounds/wall.png", ground)):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.fromarray(pixels).save(tmp_path / name)
    return tmp_path


def drawn(folder: Path, count: int, seed: int = 3) -> list[Case]:
    found = open_dataset(folder, LIMITS)
    return [lead.load() for lead in composites(found, count, seed, LIMITS, side_px=64)]


def test_a_number_of_a_seed_is_the_same_picture_whatever_the_count(folder):
    assert drawn(folder, 2)[1].source == drawn(folder, 5)[1].source
    assert drawn(folder, 2)[1].source != drawn(folder, 2, seed=4)[1].source


def test_the_picture_is_the_true_colours_over_a_ground(folder):
    for case in drawn(folder, 6):
        rgb = decode(case.source, LIMITS).rgb
        assert max(rgb.shape[:2]) == 64
        assert rgb.shape[:2] == case.alpha.shape
        inside = case.alpha > 0.999
        assert inside.any()
        assert np.abs(rgb[inside] - case.cutout[inside][:, :3]).max() < 1.5
        soft = (case.alpha > 0.05) & ~inside
        assert np.abs(case.cutout[soft][:, :3] - (200, 40, 10)).max() < 1


def test_an_opaque_cutout_is_refused_by_name(folder):
    Image.new("RGB", (9, 9)).save(folder / "cutouts" / "mug.png")
    with pytest.raises(BadTruth, match=r"mug\.png is opaque"):
        drawn(folder, 1)


def test_composites_without_cutouts_are_refused(folder):
    (folder / "cutouts" / "mug.png").unlink()
    with pytest.raises(BadDataset, match="cutouts/"):
        drawn(folder, 1)
