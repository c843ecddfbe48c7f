"""What is read from a data folder, from a zip of it, and from the real one where it is there."""

from __future__ import annotations

import shutil
import zipfile
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from models.training.data import (
    BUST,
    Row,
    crop_to_subject,
    data_digest,
    load_picture,
    load_pool,
    open_folder,
    read_manifest,
    select,
)
from models.training.eye_masks import add_seen
from models.training.pack import MIB, entries, manifest_text, pack

DATA = Path(__file__).parents[4] / "shared" / "data"

HEADER = "file,kind,split,source_repo,path,licence,has_gt,note,tier\n"
LINES = (
    "images/ecssd_00001.jpg,mixed,train,a/b,p,MIT,1,,B\n"
    "images/inet_00001.jpg,mixed,train,a/b,p,MIT,0,,B\n"
    'cutouts/noto_00001.webp,cutout-object,val,a/b,p,"Apache, 2.0",1,,A\n'
    "images/cat_00001.jpg,animal,train,a/b,p,none,1,,C\n"
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A data folder with a masked photo, a plain one, a cut-out and a photo of tier C."""
    for name in ("images", "masks", "cutouts"):
        (tmp_path / name).mkdir()
    lines = LINES.replace("cutout-object,val", "cutout-object,train")
    (tmp_path / "manifest.csv").write_text(HEADER + lines, encoding="utf-8")
    rng = np.random.default_rng(0)
    smooth = cv2.resize(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8), (400, 300))
    for name in ("ecssd_00001", "inet_00001", "cat_00001"):
        cv2.imwrite(str(tmp_path / "images" / f"{name}.jpg"), smooth)
    mask = np.zeros((300, 400), np.uint8)
    mask[50:200, 100:300] = 255
    for name in ("ecssd_00001", "cat_00001"):
        cv2.imwrite(str(tmp_path / "masks" / f"{name}.png"), mask)
    cv2.imwrite(str(tmp_path / "cutouts" / "noto_00001.webp"), np.dstack([smooth, mask]))
    return tmp_path


def test_manifest_rows_are_counted_and_selected_by_split_and_tier(tmp_path: Path) -> None:
    (tmp_path / "manifest.csv").write_text(HEADER + LINES, encoding="utf-8")
    rows = read_manifest(tmp_path)
    assert [r.prefix for r in rows] == ["ecssd", "inet", "noto", "cat"]
    assert [r.has_mask for r in rows] == [True, False, False, True]
    assert [r.prefix for r in select(rows, "train", ["A", "B"])] == ["ecssd", "inet"]
    assert len(data_digest(tmp_path)) == 64


def test_missing_picture_is_named(tmp_path: Path) -> None:
    row = Row("images/ecssd_1.jpg", "mixed", "train", "a/b", "MIT", "1", "B")
    with pytest.raises(FileNotFoundError, match=r"ecssd_1\.jpg"):
        load_picture(tmp_path, row, 64)


def test_cutout_is_cropped_to_its_subject() -> None:
    alpha = np.zeros((20, 30), np.uint8)
    alpha[5:9, 10:17] = 255
    rgb, cropped = crop_to_subject(np.zeros((20, 30, 3), np.uint8), alpha)
    assert rgb.shape == (4, 7, 3)
    assert cropped.min() == 255


def test_a_zip_of_the_folder_is_read_like_the_folder(folder: Path, tmp_path: Path) -> None:
    archive = tmp_path / "data.zip"
    with zipfile.ZipFile(archive, "w") as out:
        for path in folder.rglob("*.*"):
            if path != archive:
                out.write(path, path.relative_to(folder).as_posix())
    zipped = open_folder(archive)
    assert data_digest(zipped) == data_digest(folder)
    rows = read_manifest(zipped)
    first, again = load_pool(folder, rows, 128), load_pool(zipped, rows, 128)
    assert np.array_equal(first.photos["ecssd"][0].rgb, again.photos["ecssd"][0].rgb)
    assert again.count() == first.count() == 4


def test_pack_keeps_wanted_tiers_and_masks_within_the_limit(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "pack.zip"
    rung, size = pack(entries(folder, "AB"), MIB, out)
    assert size == out.stat().st_size <= MIB
    assert rung.side_px == 384  # so few pictures fit at the best rung
    packed = open_folder(out)
    rows = read_manifest(packed)
    assert [row.prefix for row in rows] == ["ecssd", "inet", "noto"]
    pool = load_pool(packed, rows, 384)
    photo = pool.photos["ecssd"][0]
    assert photo.rgb.shape == (288, 384, 3)
    assert photo.alpha is not None
    assert 0.24 < photo.alpha.mean() / 255 < 0.26  # 150 x 200 of 300 x 400 px
    assert pool.cutouts["noto"][0].rgb.shape[:2] == (150, 200)


def test_pack_carries_further_folders_and_masks_by_eye(folder: Path, tmp_path: Path) -> None:
    more, seen, out = tmp_path / "more", tmp_path / "seen", tmp_path / "pack.zip"
    (more / "cutouts").mkdir(parents=True)
    seen.mkdir()
    row = next(row for row in read_manifest(folder) if row.prefix == "noto")
    added = replace(row, file="cutouts/bust_1.webp", kind=BUST)
    (more / "manifest.csv").write_text(manifest_text([added]), encoding="utf-8")
    shutil.copyfile(folder / row.file, more / added.file)
    plain = next(row for row in read_manifest(folder) if row.prefix == "inet")
    height, width = load_picture(folder, plain, 384).rgb.shape[:2]
    for mask, held in ((255, ["ecssd", "inet"]), (0, ["ecssd"])):
        cv2.imwrite(
            str(seen / f"{Path(plain.file).stem}.png"), np.full((height, width), mask, np.uint8)
        )
        pack(entries(folder, "AB", [more], seen), MIB, out)
        packed = open_folder(out)
        pool = load_pool(packed, select(read_manifest(packed), "train", "AB"), 384)
        expected = load_pool(folder, select(read_manifest(folder), "train", "AB"), 384)
        add_seen(expected, seen)
        assert sorted(pool.photos) == sorted(expected.photos) == held
        assert (len(pool.plain), len(pool.backgrounds)) == (
            len(expected.plain),
            len(expected.backgrounds),
        )
        assert pool.cutouts["bust"][0].row.is_bust
    with pytest.raises(ValueError, match="and so does a folder before it"):
        entries(folder, "AB", [more, more])


def test_pack_that_cannot_fit_says_so_and_leaves_nothing(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "pack.zip"
    with pytest.raises(ValueError, match="do not fit"):
        pack(entries(folder, "AB"), 1000, out)
    assert not out.exists()


def test_the_real_manifest_has_the_rows_the_card_names() -> None:
    if not DATA.exists():
        pytest.skip("the training pictures are not beside this checkout (../shared/data)")
    rows = read_manifest(DATA)
    assert len(rows) == 6193
    photos = [r for r in select(rows, "train", ["A", "B", "C"]) if r.has_mask]
    assert len(photos) == 2965
    shipped = select(rows, "train", ["A", "B"])
    assert {r.tier for r in shipped} == {"A", "B"}
    assert load_picture(DATA, shipped[0], 128).rgb.shape[2] == 3
