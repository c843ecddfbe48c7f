"""How a folder of pictures and truths is read: conventions, manifests, and their mistakes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from server.codecs.errors import ImageTooLarge
from server.codecs.header import Limits
from server.evaluation.cases import BadTruth, read_truth
from server.evaluation.dataset import BadDataset, Dataset, limited, open_dataset

LIMITS = Limits(max_megapixels=1.0, max_side_px=2000)


def save(path: Path, pixels: object, **more: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(pixels, np.uint8)).save(path, **more)
    return path


def picture(width: int = 8, height: int = 6) -> np.ndarray:
    return np.full((height, width, 3), 90, np.uint8)


def mask(width: int = 8, height: int = 6, value: int = 255) -> np.ndarray:
    pixels = np.zeros((height, width), np.uint8)
    pixels[:, : width // 2] = value
    return pixels


def opened(folder: Path, **more: object) -> Dataset:
    return open_dataset(folder, LIMITS, **more)


def test_pictures_and_truths_of_the_same_stem_belong_together(tmp_path):
    save(tmp_path / "images" / "a.jpg", picture())
    save(tmp_path / "truth" / "a.png", mask())
    found = opened(tmp_path)
    (lead,) = found.photos
    case = lead.load()
    assert (case.name, case.group, found.problems) == ("images/a.jpg", "all", [])
    assert case.alpha.dtype == np.float32
    assert case.alpha[0].tolist() == [1, 1, 1, 1, 0, 0, 0, 0]


def test_subfolders_are_groups_and_masks_is_another_name_for_truth(tmp_path):
    for kind in ("people", "cars"):
        save(tmp_path / "images" / kind / "a.png", picture())
        save(tmp_path / "masks" / kind / "a.png", mask())
    assert [lead.group for lead in opened(tmp_path).photos] == ["cars", "people"]


def test_a_picture_without_truth_is_named_with_the_place_where_it_is_looked_for(tmp_path):
    save(tmp_path / "images" / "a.jpg", picture())
    save(tmp_path / "images" / "b.jpg", picture())
    save(tmp_path / "truth" / "a.png", mask())
    found = opened(tmp_path)
    assert len(found.photos) == 1
    (problem,) = found.problems
    assert "images/b.jpg has no truth" in problem
    assert "truth/b.png" in problem


def test_two_truths_of_one_picture_are_a_problem(tmp_path):
    save(tmp_path / "images" / "a.jpg", picture())
    save(tmp_path / "truth" / "a.png", mask())
    save(tmp_path / "masks" / "a.png", mask())
    assert "truth/a.png, masks/a.png" in opened(tmp_path).problems[0]


def test_a_truth_of_another_size_is_refused_with_both_sizes(tmp_path):
    save(tmp_path / "images" / "a.png", picture(8, 6))
    save(tmp_path / "truth" / "a.png", mask(9, 6))
    (lead,) = opened(tmp_path).photos
    with pytest.raises(BadTruth, match=r"images/a.png is 8x6, its truth 9x6"):
        lead.load()


def test_a_truth_that_lies_on_its_side_is_told_of_exif(tmp_path):
    exif = Image.Exif()
    exif[274] = 6  # a quarter turn
    save(tmp_path / "images" / "a.jpg", picture(8, 6), exif=exif)
    save(tmp_path / "truth" / "a.png", mask(8, 6))
    (lead,) = opened(tmp_path).photos
    with pytest.raises(BadTruth, match="EXIF"):
        lead.load()


def test_a_picture_beyond_the_limits_is_refused_as_a_server_would(tmp_path):
    save(tmp_path / "images" / "a.png", picture(2001, 2))
    save(tmp_path / "truth" / "a.png", mask(2001, 2))
    (lead,) = opened(tmp_path).photos
    with pytest.raises(ImageTooLarge):
        lead.load()


def test_backgrounds_are_pictures_without_a_subject(tmp_path):
    save(tmp_path / "backgrounds" / "wall.jpg", picture())
    found = opened(tmp_path)
    (lead,) = found.photos
    case = lead.load()
    assert (case.group, case.is_empty, len(found.backgrounds)) == ("no subject", True, 1)


def test_side_scales_picture_and_truth_alike(tmp_path):
    save(tmp_path / "images" / "a.png", picture(80, 60))
    save(tmp_path / "truth" / "a.png", mask(80, 60))
    (lead,) = opened(tmp_path, side_px=40).photos
    case = lead.load()
    assert (case.source.width, case.source.height, case.alpha.shape) == (40, 30, (30, 40))


MANIFEST = """file,kind,split,has_gt,truth
images/a.jpg,dog,val,1,
images/b.jpg,dog,train,1,
images/c.jpg,cat,val,0,
images/d.jpg,cat,val,1,truth/other.png
cutouts/e.png,mug,val,1,
"""


@pytest.fixture
def listed(tmp_path: Path) -> Path:
    for name in "abcd":
        save(tmp_path / "images" / f"{name}.jpg", picture())
    save(tmp_path / "truth" / "a.png", mask())
    save(tmp_path / "truth" / "b.png", mask())
    save(tmp_path / "truth" / "other.png", mask())
    (tmp_path / "manifest.csv").write_text(MANIFEST, encoding="utf-8")
    return tmp_path


def test_a_manifest_chooses_the_split_and_names_groups_and_truths(listed):
    found = opened(listed, split="val")
    assert [(lead.name, lead.group) for lead in found.photos] == [
        ("images/a.jpg", "dog"),
        ("images/d.jpg", "cat"),
    ]
    assert found.cutouts == [(listed / "cutouts" / "e.png", "mug")]
    assert found.problems == []
    assert found.notes == ["1 pictures are left out: by the manifest they have no truth"]
    assert found.photos[1].load().alpha.max() == 1


def test_another_column_can_be_the_group(listed):
    found = opened(listed, group_column="split")
    assert [lead.group for lead in found.photos] == ["val", "train", "val"]


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        ({"split": "test"}, "no row of .* has the split test; there are train, val"),
        ({"group_column": "colour"}, "has no column colour; it has file, kind"),
    ],
)
def test_a_split_or_column_that_is_not_there_is_told_with_those_that_are(listed, more, sentence):
    with pytest.raises(BadDataset, match=sentence):
        opened(listed, **more)


@pytest.mark.parametrize("file", ["../secret.jpg", "/etc/secret.jpg", "images/../../x.jpg"])
def test_a_manifest_cannot_lead_out_of_the_folder(tmp_path, file):
    (tmp_path / "manifest.csv").write_text(f"file\n{file}\n")
    with pytest.raises(BadDataset, match="inside it"):
        opened(tmp_path)


def test_a_file_of_the_manifest_that_is_missing_is_a_problem(tmp_path):
    (tmp_path / "manifest.csv").write_text("file\nimages/a.jpg\n")
    assert opened(tmp_path).problems == ["images/a.jpg is not there, though the manifest names it"]


def test_a_split_without_a_manifest_is_refused(tmp_path):
    save(tmp_path / "images" / "a.jpg", picture())
    with pytest.raises(BadDataset, match=r"no manifest\.csv"):
        opened(tmp_path, split="val")


def test_an_empty_folder_is_told_what_belongs_there(tmp_path):
    with pytest.raises(BadDataset, match="put pictures into images/"):
        opened(tmp_path)
    with pytest.raises(BadDataset, match="no folder"):
        opened(tmp_path / "missing")


def test_a_limit_takes_as_many_of_each_group_spread_over_it(tmp_path):
    for number in range(9):
        save(tmp_path / "images" / "many" / f"{number}.png", picture())
        save(tmp_path / "truth" / "many" / f"{number}.png", mask())
    save(tmp_path / "images" / "one" / "x.png", picture())
    save(tmp_path / "truth" / "one" / "x.png", mask())
    names = [Path(lead.name).stem for lead in limited(opened(tmp_path).photos, 3)]
    assert names == ["0", "4", "8", "x"]


def test_a_mask_of_zeros_and_ones_counts_as_zero_and_full(tmp_path):
    path = save(tmp_path / "m.png", mask(value=1))
    assert np.unique(read_truth(path)).tolist() == [0, 255]


def test_a_deep_mask_keeps_its_upper_bits(tmp_path):
    path = tmp_path / "m.png"
    Image.fromarray(np.array([[0, 32768, 65535]], np.uint16)).save(path)
    assert read_truth(path).tolist() == [[0, 128, 255]]


def test_a_cutout_as_truth_gives_its_alpha(tmp_path):
    rgba = np.dstack([picture(), mask(value=128)])
    assert read_truth(save(tmp_path / "m.png", rgba)).max() == 128


def test_an_opaque_picture_with_an_alpha_channel_gives_its_grey(tmp_path):
    grey = np.repeat(mask()[..., None], 3, axis=2)
    rgba = np.dstack([grey, np.full((6, 8), 255)])
    assert np.array_equal(read_truth(save(tmp_path / "m.png", rgba)), mask())


def test_a_photo_as_truth_is_refused(tmp_path):
    rgb = picture()
    rgb[..., 0] = 200
    with pytest.raises(BadTruth, match="colours"):
        read_truth(save(tmp_path / "m.png", rgb))


def test_a_truth_that_is_no_picture_is_refused_with_its_name(tmp_path):
    (tmp_path / "m.png").write_text("no picture")
    with pytest.raises(BadTruth, match=r"m\.png cannot be read"):
        read_truth(tmp_path / "m.png")
