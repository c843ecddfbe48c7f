"""A JPEG whose colours nobody will see may be decoded smaller; what is said of it stays true."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from PIL import Image

from server.codecs.decode import decode
from server.codecs.errors import ImageDamaged
from server.job import EncodedSource
from tests.server.codecs.pictures import LIMITS, photo, saved

PHOTO = photo(1203, 803)


def test_a_jpeg_comes_as_small_as_is_enough_and_knows_its_own_size() -> None:
    found = decode(EncodedSource(saved(PHOTO, "JPEG", quality=95)), LIMITS, least=(480, 320))
    rows, columns = found.rgb.shape[:2]
    assert (columns, rows) == (602, 402)  # halves, rounded up
    assert found.size == found.full_size == (1203, 803)
    shrunk = cv2.resize(PHOTO, (columns, rows), interpolation=cv2.INTER_AREA)
    assert np.abs(found.rgb.astype(int) - shrunk).mean() < 2


@pytest.mark.parametrize("orientation", [3, 6, 8])
def test_what_is_enough_is_meant_upright(orientation: int) -> None:
    exif = Image.Exif()
    exif[274] = orientation
    data = saved(PHOTO, "JPEG", quality=95, exif=exif)
    upright = decode(EncodedSource(data), LIMITS)
    tall = orientation in {6, 8}
    found = decode(EncodedSource(data), LIMITS, least=(400, 600) if tall else (600, 400))
    assert found.size == upright.size == ((803, 1203) if tall else (1203, 803))
    assert found.rgb.shape == ((602, 402, 3) if tall else (402, 602, 3))
    size = found.rgb.shape[1::-1]
    shrunk = cv2.resize(upright.rgb, size, interpolation=cv2.INTER_AREA)
    assert np.abs(found.rgb.astype(int) - shrunk).mean() < 2


def test_a_jpeg_that_is_small_enough_keeps_its_size() -> None:
    found = decode(EncodedSource(saved(PHOTO, "JPEG")), LIMITS, least=(1000, 700))
    assert found.rgb.shape == (803, 1203, 3)
    assert found.full_size is None


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_other_types_are_decoded_whole(kind: str) -> None:
    found = decode(EncodedSource(saved(PHOTO, kind)), LIMITS, least=(100, 100))
    assert found.rgb.shape == (803, 1203, 3)
    assert found.size == (1203, 803)


def test_a_cut_off_jpeg_is_refused_at_any_size() -> None:
    data = saved(PHOTO, "JPEG")
    with pytest.raises(ImageDamaged):
        decode(EncodedSource(data[: len(data) // 2]), LIMITS, least=(100, 100))
