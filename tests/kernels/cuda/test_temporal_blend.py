"""Alpha steadied over time on the device, against the twin, and what it is for.

Tolerance of alpha: 1e-6, a few float32 steps. Luma may differ by one level where the twin's sum
ends at a half, so frames here have luma away from halves, or luma is compared by itself.
"""

from __future__ import annotations

import numpy as np
import pytest

from kernels.cuda.temporal_blend import CHANGE_BYTES, cut_at, temporal_blend, temporal_luma
from kernels.reference.resize_normalise import resize_normalise
from kernels.reference.temporal_blend import is_cut, luma_of
from kernels.reference.temporal_blend import temporal_blend as twin
from tests.kernels.cuda.arrays import empty, get, put

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SIZES_HW = [(1, 1), (1, 7), (37, 53), (203, 317)]


class Film:
    """A stream on the device: what it keeps, twice, and one call per frame."""

    def __init__(self, device, stream, height, width, *, smooth=0.8, half=False, **plane):
        self.device, self.stream, self.shape = device, stream, (height, width)
        self.lumas = [empty(device, width * height) for _ in range(2)]
        self.alphas = [empty(device, 4 * width * height) for _ in range(2)]
        self.change = empty(device, CHANGE_BYTES)
        self.smooth, self.half, self.plane = smooth, half, plane
        self.frames = 0

    def show(self, rgb_u8, alpha):
        height, width = self.shape
        now, before = self.frames % 2, 1 - self.frames % 2
        tensor = resize_normalise(rgb_u8, width, height, MEAN, STD, **self.plane)
        plane = put(self.device, tensor.astype(np.float16 if self.half else np.float32))
        memory = put(self.device, alpha)
        luma_before = self.lumas[before].address if self.frames else 0
        temporal_luma(
            self.device,
            self.stream,
            plane=plane.address,
            luma=self.lumas[now].address,
            width=width,
            height=height,
            mean=MEAN,
            std=STD,
            luma_before=luma_before,
            change=self.change.address,
            half=self.half,
            **self.plane,
        )
        temporal_blend(
            self.device,
            self.stream,
            alpha=memory.address,
            kept=self.alphas[now].address,
            target=memory.address,
            luma=self.lumas[now].address,
            width=width,
            height=height,
            smooth=self.smooth,
            alpha_before=self.alphas[before].address,
            luma_before=luma_before,
            change=self.change.address,
            cut=cut_at(width, height),
        )
        self.frames += 1
        self.device.synchronize(self.stream)
        shown = get(self.device, memory, self.shape, np.float32)
        assert np.array_equal(get(self.device, self.alphas[now], self.shape, np.float32), shown)
        return shown

    def luma(self):
        return get(self.device, self.lumas[1 - self.frames % 2], self.shape, np.uint8)

    def counted(self):
        return int(get(self.device, self.change, (1,), np.uint32)[0])


def grey(values):
    return np.repeat(values[..., None], 3, 2).astype(np.uint8)


def frames(height, width, count, step):
    """Grey frames, whose luma is a whole number, that change by up to `step` levels."""
    rng = np.random.default_rng(height * width + step)
    base = rng.integers(step, 255 - step, (height, width))
    for _ in range(count):
        change = rng.integers(-step, step + 1, (height, width))
        yield grey(base + change), rng.random((height, width), np.float32)


@pytest.mark.parametrize("size_hw", SIZES_HW)
@pytest.mark.parametrize("step", [0, 6, 14, 60])
def test_four_frames_agree_with_the_twin(device, stream, size_hw, step):
    film, previous = Film(device, stream, *size_hw), None
    for rgb, alpha in frames(*size_hw, 4, step):
        shown, luma = film.show(rgb, alpha), rgb[..., 0]
        expected = alpha if previous is None else twin(alpha, *previous_of(previous, luma), 0.8)
        assert np.abs(shown - expected).max() <= 1e-6
        assert np.array_equal(film.luma(), luma)
        previous = shown, luma


def previous_of(previous, luma):
    previous_alpha, previous_luma = previous
    return previous_alpha, luma, previous_luma


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("channels", ["RGB", "BGR"])
@pytest.mark.parametrize("half", [False, True])
def test_luma_of_every_plane_agrees_with_the_twin_within_a_level(
    device, stream, layout, channels, half
):
    rgb = np.random.default_rng(5).integers(0, 256, (37, 53, 3), np.uint8)
    film = Film(device, stream, 37, 53, half=half, layout=layout, channels=channels)
    film.show(rgb, np.zeros((37, 53), np.float32))
    difference = np.abs(film.luma().astype(int) - luma_of(rgb / 255))
    assert difference.max() <= 1
    # A half keeps 11 bits of a value up to 2.6: up to 0.06 levels each, so more roundings flip.
    assert np.count_nonzero(difference) <= (0.1 if half else 0.001) * difference.size + 1


def test_1080p_plane_agrees_with_the_twin_in_a_sample_of_places(device, stream):
    # The twin's box takes a minute at this size: it is asked for windows, with their surroundings.
    rng = np.random.default_rng(6)
    lumas = rng.integers(0, 256, (2, 1080, 1920), np.uint8)
    lumas[1] = np.clip(lumas[0] + rng.integers(-14, 15, (1080, 1920)), 0, 255)
    alphas = rng.random((2, 1080, 1920), np.float32)
    film = Film(device, stream, 1080, 1920)
    film.show(grey(lumas[0]), alphas[0])
    shown = film.show(grey(lumas[1]), alphas[1])
    for top, left in ((0, 0), (500, 900), (1040, 1880)):
        around = np.s_[max(0, top - 2) : top + 42, max(0, left - 2) : left + 42]
        expected = twin(
            alphas[1][around], alphas[0][around], lumas[1][around], lumas[0][around], 0.8
        )
        inside = expected[top > 0 and 2 :, left > 0 and 2 :][:40, :40]
        assert np.abs(shown[top : top + 40, left : left + 40] - inside).max() <= 1e-6


def test_flicker_on_a_still_scene_falls_to_a_third(device, stream):
    # A recursive filter of weight s leaves (1 - s) / (1 + s) of the variance: 0.11 at 0.8. A third
    # of the deviation is 0.11 of the variance; noise of the camera must not switch it off.
    rng = np.random.default_rng(7)
    scene, film, shown = rng.integers(20, 230, (40, 40)), Film(device, stream, 40, 40), []
    for _ in range(60):
        alpha = np.clip(0.5 + 0.04 * rng.standard_normal((40, 40)), 0, 1).astype(np.float32)
        picture = np.clip(np.rint(scene + 2 * rng.standard_normal((40, 40))), 0, 255)
        shown.append(film.show(grey(picture), alpha))
    deviation = np.std(np.array(shown[20:]), axis=0).mean()
    assert deviation < 0.04 * 0.36


def test_a_moving_subject_leaves_no_trail(device, stream):
    # A bright subject crosses a dark scene by 3 pixels a frame. Asserted: the alpha shown is the
    # network's own, everywhere and in every frame, although the still rest is blended.
    film = Film(device, stream, 32, 64, smooth=0.95)
    for frame in range(12):
        left = 3 * frame
        alpha, scene = np.zeros((32, 64), np.float32), np.full((32, 64), 40)
        alpha[8:24, left : left + 16] = 1
        scene[8:24, left : left + 16] = 200
        assert np.abs(film.show(grey(scene), alpha) - alpha).max() <= 1e-6


def test_a_subject_that_leaves_without_a_change_of_light_leaves_no_trail(device, stream):
    # Same luma before and behind: the alpha's own jump must count as motion.
    film, scene = Film(device, stream, 16, 16, smooth=0.95), grey(np.full((16, 16), 90))
    film.show(scene, np.ones((16, 16), np.float32))
    assert film.show(scene, np.zeros((16, 16), np.float32)).max() <= 1e-6


@pytest.mark.parametrize("size_hw", [*SIZES_HW, (1080, 1920)])
def test_the_change_of_a_plane_is_counted_exactly(device, stream, size_hw):
    rng, film = np.random.default_rng(9), Film(device, stream, *size_hw)
    first, second = rng.integers(0, 256, (2, *size_hw), np.uint8)
    alpha = np.zeros(size_hw, np.float32)
    film.show(grey(first), alpha)
    assert film.counted() == 0
    film.show(grey(second), alpha)
    assert film.counted() == np.abs(first.astype(int) - second).sum()


@pytest.mark.parametrize("step", [39, 40, 41])
def test_a_cut_is_where_the_twin_says(device, stream, step):
    first, second = np.full((9, 11), 100, np.uint8), np.full((9, 11), 100 + step, np.uint8)
    film, alpha = Film(device, stream, 9, 11), np.full((9, 11), 0.5, np.float32)
    film.show(grey(first), alpha)
    film.show(grey(second), alpha)
    assert (film.counted() >= cut_at(11, 9)) == is_cut(second, first) == (step >= 40)


@pytest.mark.parametrize(("changed_columns", "is_another_scene"), [(6, False), (9, True)])
def test_at_a_cut_even_what_stands_still_is_the_new_alpha(
    device, stream, changed_columns, is_another_scene
):
    # 200 levels over 6 of 40 columns are 30 in the mean, over 9 they are 45; the right side of the
    # picture stands still in both.
    film = Film(device, stream, 40, 40, smooth=0.95)
    before, after = np.full((40, 40), 0.5, np.float32), np.full((40, 40), 0.55, np.float32)
    first = np.full((40, 40), 20)
    second = first.copy()
    second[:, :changed_columns] = 220
    film.show(grey(first), before)
    right = film.show(grey(second), after)[:, 20:]
    assert np.array_equal(right, after[:, 20:]) == is_another_scene
    assert (right < 0.51).all() == (not is_another_scene)


def test_a_cut_to_another_scene_takes_the_new_alpha_at_once(device, stream):
    rng, film = np.random.default_rng(8), Film(device, stream, 24, 24, smooth=0.95)
    first, second = rng.random((2, 24, 24), np.float32)
    film.show(grey(np.full((24, 24), 30)), first)
    assert np.abs(film.show(grey(np.full((24, 24), 180)), second) - second).max() <= 1e-6


def test_a_smooth_of_0_changes_nothing(device, stream):
    film = Film(device, stream, 9, 9, smooth=0.0)
    for rgb, alpha in frames(9, 9, 3, 2):
        assert np.array_equal(film.show(rgb, alpha), alpha)


def test_a_smooth_out_of_range_is_refused(device, stream):
    film = Film(device, stream, 4, 4, smooth=0.96)
    with pytest.raises(ValueError, match=r"temporal smooth is 0\.96; allowed is 0 to 0\.95"):
        film.show(grey(np.zeros((4, 4))), np.zeros((4, 4), np.float32))
