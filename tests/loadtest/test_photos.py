"""What is sent: given files, shared photos, or pictures made on the spot."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from loadtest.photos import jpeg, load_photos, scene


def test_a_scene_is_the_same_for_the_same_seed() -> None:
    assert np.array_equal(scene(64, 48, 5), scene(64, 48, 5))
    assert not np.array_equal(scene(64, 48, 5), scene(64, 48, 6))


def test_a_scene_of_one_pixel_can_be_made() -> None:
    assert scene(1, 1, 0).shape == (1, 1, 3)


def test_without_photos_generated_ones_are_sent_and_the_note_says_so(tmp_path: Path) -> None:
    photos = load_photos("1080p", shared=tmp_path)
    assert "generated" in photos.note
    assert {(photo.width, photo.height) for photo in photos.photos} == {(1920, 1080)}


def test_the_callers_own_files_win(tmp_path: Path) -> None:
    mine = tmp_path / "mine.jpg"
    mine.write_bytes(jpeg(scene(80, 60, 1)))
    (photo,) = load_photos("12mp", [mine]).photos
    assert (photo.name, photo.width, photo.height) == ("mine.jpg", 80, 60)


def test_shared_photos_are_found_by_size(tmp_path: Path) -> None:
    (tmp_path / "hd_one.jpg").write_bytes(jpeg(scene(96, 54, 1)))
    (tmp_path / "uhd_two.jpg").write_bytes(jpeg(scene(200, 100, 1)))
    photos = load_photos("1080p", shared=tmp_path)
    assert [photo.name for photo in photos.photos] == ["hd_one.jpg"]
    assert "1 photo (96x54" in photos.note


def test_a_file_that_is_no_picture_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "x.jpg").write_bytes(b"no")
    with pytest.raises(OSError, match="cannot identify"):
        load_photos("1080p", [tmp_path / "x.jpg"])
