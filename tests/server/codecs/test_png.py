"""The fast PNG writer against two independent readers, with and without isal."""

from __future__ import annotations

import io

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from server.codecs import deflate
from server.codecs.png import write_png
from tests.server.codecs.pictures import disc, icc_profile, photo

SIZES = [(1, 1), (1, 50), (50, 1), (17, 33), (2, 2), (1920, 1080)]


@pytest.fixture(params=["isal", "zlib"])
def library(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Runs a test with both deflate libraries."""
    if request.param == "zlib":
        monkeypatch.setattr(deflate, "_isal", None)
    elif deflate.library() != "isal":
        pytest.skip("isal has no wheel for this machine")
    assert deflate.library() == request.param
    return str(request.param)


def cutout(width: int, height: int) -> NDArray[np.uint8]:
    """RGBA with colours zeroed where alpha is 0, as the pipeline makes it."""
    alpha = disc(width, height)
    rgb = photo(width, height) * (alpha > 0)[:, :, None]
    return np.dstack([rgb, alpha]).astype(np.uint8)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_pillow_and_opencv_read_back_what_was_written(
    library: str, size: tuple[int, int], channels: int
) -> None:
    pixels = {1: disc(*size), 3: photo(*size), 4: cutout(*size)}[channels]
    data = write_png(pixels)
    with Image.open(io.BytesIO(data)) as image:
        image.verify()
    with Image.open(io.BytesIO(data)) as image:
        assert image.mode == {1: "L", 3: "RGB", 4: "RGBA"}[channels]
        assert (np.asarray(image) == pixels).all()
    by_opencv = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    assert by_opencv is not None
    if channels > 1:
        by_opencv = cv2.cvtColor(
            by_opencv, cv2.COLOR_BGR2RGB if channels == 3 else cv2.COLOR_BGRA2RGBA
        )
    assert (by_opencv == pixels).all()


def test_noise_and_flat_pictures_survive(library: str) -> None:
    rng = np.random.default_rng(1)
    for pixels in (
        rng.integers(0, 256, (300, 401, 4), dtype=np.uint8),
        np.zeros((300, 401, 4), np.uint8),
        np.full((700, 401), 255, np.uint8),
    ):
        with Image.open(io.BytesIO(write_png(pixels))) as image:
            assert (np.asarray(image) == pixels).all()


def test_rows_longer_than_the_buffer_survive(library: str) -> None:
    pixels = photo(100_000, 3)
    with Image.open(io.BytesIO(write_png(pixels))) as image:
        assert (np.asarray(image) == pixels).all()


def test_views_and_read_only_arrays_are_written(library: str) -> None:
    whole = cutout(64, 48)
    whole.flags.writeable = False
    for view in (whole[5:40, 3:60], whole[::-1], whole[:, ::2], whole[:, :, 3], whole[:, :, :3]):
        with Image.open(io.BytesIO(write_png(view))) as image:
            assert (np.asarray(image) == view).all()


def test_profile_and_resolution_are_read_back(library: str) -> None:
    data = write_png(photo(20, 10), icc=icc_profile(size=70_000), dpi=(300, 150))
    with Image.open(io.BytesIO(data)) as image:
        assert image.info["icc_profile"] == icc_profile(size=70_000)
        assert image.info["dpi"] == pytest.approx((300, 150), abs=0.05)
    with Image.open(io.BytesIO(write_png(photo(20, 10)))) as image:
        assert "icc_profile" not in image.info
        assert "dpi" not in image.info


def test_resolutions_beyond_the_format_are_held_within_it() -> None:
    with Image.open(io.BytesIO(write_png(disc(4, 4), dpi=(1e12, 1e-6)))) as image:
        assert image.info["dpi"][0] > 1e7


@pytest.mark.parametrize(
    "pixels",
    [
        np.zeros((4, 4, 2), np.uint8),
        np.zeros((4, 4), np.uint16),
        np.zeros((4, 4, 3), np.float32),
        np.zeros((0, 4), np.uint8),
        np.zeros(4, np.uint8),
    ],
)
def test_other_arrays_are_a_programming_error(pixels: NDArray[np.uint8]) -> None:
    with pytest.raises(ValueError, match=r"cannot write .* as PNG"):
        write_png(pixels)


def test_a_profile_with_grey_is_a_programming_error() -> None:
    with pytest.raises(ValueError, match="grey PNG cannot carry an RGB profile"):
        write_png(disc(4, 4), icc=icc_profile())


def test_the_file_is_not_larger_than_opencvs() -> None:
    pixels = cutout(1920, 1080)
    ok, by_opencv = cv2.imencode(".png", pixels)
    assert ok
    assert len(write_png(pixels)) < 1.1 * len(by_opencv)
