"""The subject over nothing, colours and pictures on the device, against the twin.

On nothing and on an opaque colour all products are whole numbers: equal to the twin. On a
translucent colour, and on a picture, float32 sums fall to the other side of a half here and there:
one level, in fewer than one sample of a thousand.
"""

from __future__ import annotations

import numpy as np
import pytest

from kernels.backdrop import Backdrop, lay
from kernels.cuda.composite import composite_color, composite_image
from kernels.image import PixelFormat, YCbCr, image_struct
from kernels.reference import composite, cutout
from kernels.reference.composite_over import composite_over
from tests.kernels.cuda.arrays import empty, get, put

SIZES_HW = [(1, 1), (1, 3), (53, 37), (203, 317)]
COLORS = [(0, 0, 0, 0), (250, 3, 127, 255), (10, 200, 90, 77), (255, 255, 255, 1)]
WHITE = (255, 255, 255, 255)


def pixels(seed, *shape):
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def alphas(seed, height, width):
    """A third nothing, a third all, the rest between."""
    drawn = np.random.default_rng(seed).integers(-128, 384, (height, width))
    return np.clip(drawn, 0, 255).astype(np.uint8)


class Picture:
    """Pixels on the device, and their struct; `pad` bytes lie between rows."""

    def __init__(self, device, array, pixel_format, alpha=None, pad=0):
        height, width = array.shape[:2]
        rows = array.reshape(height, -1)
        rows = np.pad(rows, ((0, 0), (0, pad)), constant_values=9)
        self.memory = put(device, rows)
        self.alpha = None if alpha is None else put(device, alpha)
        self.struct = image_struct(
            ((self.memory.address, rows.shape[1]),),
            width,
            height,
            pixel_format,
            alpha=(0, 0) if self.alpha is None else (self.alpha.address, width),
        )


def over(device, stream, picture, alpha, color, *behind):
    shape = (*alpha.shape, 3 if color[3] == 255 else 4)
    mask, target = put(device, alpha), empty(device, int(np.prod(shape)))
    common = {
        "foreground": picture.struct,
        "alpha": mask.address,
        "color": color,
        "target": target.address,
    }
    if not behind:
        composite_color(device, stream, **common)
    else:
        background, backdrop = behind
        composite_image(device, stream, background=background.struct, backdrop=backdrop, **common)
    device.synchronize(stream)
    return get(device, target, shape, np.uint8)


def with_alpha(rgb, alpha=255.0):
    return np.dstack([rgb, np.broadcast_to(alpha, rgb.shape[:2])]).astype(np.float64)


def assert_close(actual, expected):
    assert actual.shape == expected.shape
    difference = np.abs(actual.astype(int) - expected)
    assert difference.max() <= 1
    assert np.count_nonzero(difference) <= max(1, actual.size // 1000)


@pytest.mark.parametrize("color", COLORS)
@pytest.mark.parametrize("size_hw", SIZES_HW)
def test_colours_agree_with_the_twin(device, stream, size_hw, color):
    rgb, alpha = pixels(1, *size_hw, 3), alphas(2, *size_hw)
    actual = over(device, stream, Picture(device, rgb, PixelFormat.RGB8), alpha, color)
    expected = composite_over(rgb, alpha, color)
    if color[3] in (0, 255):
        assert np.array_equal(actual, expected)
    assert_close(actual, expected)


@pytest.mark.parametrize("color", COLORS)
def test_the_twin_agrees_with_the_cpu_paths_twins(color):
    rgb, alpha = pixels(3, 64, 64, 3), alphas(4, 64, 64)
    assert_close(composite_over(rgb, alpha, color), composite(rgb, alpha, color))
    if color[3] == 0:
        assert np.array_equal(composite_over(rgb, alpha, color), cutout(rgb, alpha))


@pytest.mark.parametrize("pad", [0, 1, 4])
@pytest.mark.parametrize(
    ("pixel_format", "order"),
    [
        (PixelFormat.RGB8, [0, 1, 2]),
        (PixelFormat.BGR8, [2, 1, 0]),
        (PixelFormat.RGBA8, [0, 1, 2]),
        (PixelFormat.GRAY8, [0, 0, 0]),
    ],
)
def test_every_format_of_the_subject_is_read(device, stream, pixel_format, order, pad):
    channels = {PixelFormat.RGBA8: 4, PixelFormat.GRAY8: 1}.get(pixel_format, 3)
    array, alpha = pixels(5, 29, 43, channels), alphas(6, 29, 43)
    rgb, background = array[..., order], pixels(7, 29, 43, 3)
    picture = Picture(device, array, pixel_format, pad=pad)
    assert np.array_equal(
        over(device, stream, picture, alpha, WHITE), composite_over(rgb, alpha, WHITE)
    )
    backdrop = Backdrop(0, 0, 43, 29, False)
    behind = Picture(device, background, PixelFormat.RGB8)
    assert_close(
        over(device, stream, picture, alpha, WHITE, behind, backdrop),
        composite_over(rgb, alpha, WHITE, with_alpha(background), backdrop),
    )


def test_a_subject_in_nv12_is_read(device, stream):
    luma, chroma, alpha = pixels(8, 28, 42), pixels(9, 14, 42), alphas(10, 28, 42)
    ycbcr = YCbCr.of(0.2126, 0.0722, full_range=False)
    first, second = put(device, luma), put(device, chroma)
    picture = Picture(device, luma, PixelFormat.GRAY8)
    picture.struct = image_struct(
        ((first.address, 42), (second.address, 42)), 42, 28, PixelFormat.NV12, ycbcr=ycbcr
    )
    cb, cr = (np.repeat(np.repeat(chroma[:, i::2] - 128.0, 2, 0), 2, 1) for i in (0, 1))
    y = (luma - ycbcr.luma_offset) * ycbcr.luma_scale
    rgb = np.clip(
        np.dstack(
            [
                y + ycbcr.cr_to_r * cr,
                y + ycbcr.cb_to_g * cb + ycbcr.cr_to_g * cr,
                y + ycbcr.cb_to_b * cb,
            ]
        ),
        0,
        255,
    )
    for color in COLORS:
        assert_close(over(device, stream, picture, alpha, color), composite_over(rgb, alpha, color))


@pytest.mark.parametrize("fit", ["cover", "contain", "tile", "stretch"])
@pytest.mark.parametrize(
    "background_hw", [(1, 1), (7, 11), (31, 45), (53, 37), (90, 64), (211, 307), (300, 20)]
)
@pytest.mark.parametrize("color", [WHITE, (0, 0, 0, 0), (10, 200, 90, 77)])
def test_backgrounds_of_every_size_and_fit_agree_with_the_twin(
    device, stream, background_hw, fit, color
):
    rgb, alpha = pixels(11, 53, 37, 3), alphas(12, 53, 37)
    background = pixels(13, *background_hw, 3)
    backdrop = lay(background_hw[::-1], (37, 53), fit, (0.3, 0.9))
    picture = Picture(device, rgb, PixelFormat.RGB8)
    behind = Picture(device, background, PixelFormat.RGB8, pad=5)
    assert_close(
        over(device, stream, picture, alpha, color, behind, backdrop),
        composite_over(rgb, alpha, color, with_alpha(background), backdrop),
    )


@pytest.mark.parametrize("color", [WHITE, (0, 0, 0, 0), (10, 200, 90, 77)])
def test_a_translucent_background_is_laid_over_the_colour(device, stream, color):
    rgb, alpha, background = pixels(14, 40, 50, 3), alphas(15, 40, 50), pixels(16, 30, 30, 4)
    backdrop = lay((30, 30), (50, 40), "cover")
    actual = over(
        device,
        stream,
        Picture(device, rgb, PixelFormat.RGB8),
        alpha,
        color,
        Picture(device, background, PixelFormat.RGBA8),
        backdrop,
    )
    assert_close(actual, composite_over(rgb, alpha, color, background.astype(np.float64), backdrop))


def test_colours_are_0_where_so_little_is_seen_that_alpha_rounds_to_0(device, stream):
    background = np.full((30, 30, 4), (200, 100, 50, 0), np.uint8)
    background[1::3, 1::3, 3] = 4  # a ninth of 4 rounds to 0
    picture = Picture(device, pixels(25, 10, 10, 3), PixelFormat.RGB8)
    behind = Picture(device, background, PixelFormat.RGBA8)
    alpha, backdrop = np.zeros((10, 10), np.uint8), lay((30, 30), (10, 10), "cover")
    assert not over(device, stream, picture, alpha, (0, 0, 0, 0), behind, backdrop).any()


def test_a_backgrounds_own_alpha_plane_counts(device, stream):
    rgb, alpha = pixels(17, 40, 50, 3), np.zeros((40, 50), np.uint8)
    # Not halved exactly: means of four would end at a half in one of four pixels.
    background, opacity = pixels(18, 81, 103, 3), alphas(19, 81, 103)
    backdrop = lay((103, 81), (50, 40), "cover")
    behind = Picture(device, background, PixelFormat.RGB8, opacity)
    picture = Picture(device, rgb, PixelFormat.RGB8)
    actual = over(device, stream, picture, alpha, (0, 0, 0, 0), behind, backdrop)
    expected = composite_over(rgb, alpha, (0, 0, 0, 0), with_alpha(background, opacity), backdrop)
    assert_close(actual, expected)


@pytest.mark.parametrize("background_hw", [(540, 960), (1600, 1700)])
def test_1080p_agrees_with_the_twin(device, stream, background_hw):
    rgb, alpha = pixels(20, 1080, 1920, 3), alphas(21, 1080, 1920)
    background = pixels(22, *background_hw, 3)
    backdrop = lay(background_hw[::-1], (1920, 1080), "cover")
    picture = Picture(device, rgb, PixelFormat.RGB8)
    assert np.array_equal(
        over(device, stream, picture, alpha, WHITE), composite_over(rgb, alpha, WHITE)
    )
    behind = Picture(device, background, PixelFormat.RGB8)
    assert_close(
        over(device, stream, picture, alpha, WHITE, behind, backdrop),
        composite_over(rgb, alpha, WHITE, with_alpha(background), backdrop),
    )


def test_a_long_thin_background_scaled_past_32_bits_still_covers_the_canvas(device, stream):
    # 2 * samples * scaled is 1.3e10 along its rows; the twin's table for them would take 80 GB.
    background = (np.arange(20000) // 100).astype(np.uint8).reshape(20000, 1)
    behind = Picture(device, background, PixelFormat.GRAY8)
    backdrop = lay((1, 20000), (17, 31), "cover")
    assert (backdrop.width, backdrop.height) == (17, 340000)
    alpha = np.zeros((31, 17), np.uint8)
    picture = Picture(device, pixels(23, 31, 17, 3), PixelFormat.RGB8)
    seen = over(device, stream, picture, alpha, WHITE, behind, backdrop)
    assert set(np.unique(seen)) == {99, 100}  # 31 of 340,000 rows: the two samples in the middle


def test_what_is_contained_shows_the_colour_beside_it(device, stream):
    background = np.full((10, 10, 3), 40, np.uint8)
    alpha = np.zeros((20, 60), np.uint8)
    picture = Picture(device, pixels(24, 20, 60, 3), PixelFormat.RGB8)
    behind = Picture(device, background, PixelFormat.RGB8)
    backdrop = lay((10, 10), (60, 20), "contain", (1.0, 0.5))
    seen = over(device, stream, picture, alpha, (1, 2, 3, 255), behind, backdrop)
    assert (seen[:, :40] == (1, 2, 3)).all()
    assert (seen[:, 40:] == 40).all()


def test_a_canvas_of_no_pixels_is_refused(device, stream):
    nothing = image_struct(((256, 0),), 0, 4, PixelFormat.RGB8)
    with pytest.raises(ValueError, match="width is 0"):
        composite_color(device, stream, foreground=nothing, alpha=256, target=256)


def test_a_thin_background_that_would_be_scaled_beyond_32_bits_is_refused(device, stream):
    canvas = image_struct(((256, 3 * 65535),), 65535, 100, PixelFormat.RGB8)
    behind = image_struct(((256, 3),), 1, 65535, PixelFormat.RGB8)
    with pytest.raises(
        ValueError, match=r"scaled to 65535 x 4294836225 pixels.*at most 1073741824"
    ):
        composite_image(
            device,
            stream,
            foreground=canvas,
            alpha=256,
            background=behind,
            backdrop=lay((1, 65535), (65535, 100), "cover"),
            target=256,
        )
