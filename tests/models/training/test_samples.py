"""Samples made from pictures: their alphas are exact, and they depend on seed and number alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from models.training.composite import Sampler, edge_band, shares, targets
from models.training.data import BUST, Picture, Pool
from models.training.ground import floor_shadow, studio_ground
from models.training.jitter import turn_hue
from models.training.subject import (
    Cuts,
    Layer,
    cut_sides,
    from_cutout,
    from_photo,
    lift,
    place,
)
from models.training.view import CLOSE_PX, beside, close_up, random_view, tight_crop


def test_placed_cutout_is_premultiplied_and_its_alpha_is_what_was_mixed(picture) -> None:
    rng = np.random.default_rng(0)
    layer = place(rng, from_cutout(picture("cutouts", "noto", True, 2)), 96, 0.8)
    assert layer.alpha.shape == (96, 96)
    assert 0.1 < layer.alpha.mean() < 0.9
    # premultiplied colour never exceeds white times alpha, so transparent pixels add nothing
    assert np.all(layer.premultiplied <= 255.0 * layer.alpha[..., None] + 1e-2)


def test_composite_alpha_is_exact_for_a_white_subject_on_black(picture) -> None:
    white = picture("cutouts", "noto", True, 2)
    white.rgb[:] = 255
    black = np.zeros((64, 64, 3), np.float32)
    for seed in range(20):
        layer = place(np.random.default_rng(seed), from_cutout(white), 64, 0.7)
        mixed = layer.premultiplied + (1.0 - layer.alpha[..., None]) * black
        np.testing.assert_allclose(mixed[..., 0] / 255.0, layer.alpha, atol=1e-3)


def test_lifted_subject_does_not_carry_the_old_ground_in_its_edge(disc) -> None:
    mask = disc(64, 20)
    rgb = np.zeros((64, 64, 3), np.float32)
    rgb[..., 0] = 255.0 * mask  # a red subject
    rgb[..., 1] = 255.0 * (1.0 - mask)  # on green
    layer = lift(np.random.default_rng(0), rgb, mask)
    edge = (layer.alpha > 0.1) & (layer.alpha < 0.9)
    assert edge.any()
    assert float(layer.premultiplied[edge][:, 1].max()) < 1.0


def test_a_subject_cut_by_its_photo_stands_on_the_frame_s_own_side() -> None:
    solid = Layer(np.full((40, 20, 3), 200, np.float32), np.ones((40, 20), np.float32))
    for seed in range(20):
        rng = np.random.default_rng(seed)
        alpha = place(rng, solid, 96, 0.5, Cuts(bottom=True)).alpha
        assert alpha[-1].max() > 0.9
        assert alpha[0].max() == 0.0


def test_a_subject_that_is_higher_than_the_frame_keeps_its_head() -> None:
    stripes = np.ones((80, 40, 3), np.float32) * np.linspace(255, 0, 80)[:, None, None]
    tall = Layer(stripes.astype(np.float32), np.ones((80, 40), np.float32))
    for seed in range(20):
        placed = place(np.random.default_rng(seed), tall, 96, 1.5, Cuts(bottom=True))
        rows = np.nonzero(placed.alpha.max(axis=1) > 0.5)[0]
        assert rows[0] <= 96 * 0.5
        assert rows[-1] == 95
        assert placed.premultiplied[rows[1]].max() > 200  # its upper end is there


def test_busts_are_cut_by_the_lower_edge_of_the_frame(picture, pool: Pool, mix) -> None:
    bust = picture("cutouts", "bust", True, 5)
    bust = replace(bust, row=replace(bust.row, kind=BUST), alpha=np.full((60, 80), 255, np.uint8))
    pool.cutouts = {"bust": [bust]}
    sampler = Sampler(pool, replace(mix(0, 1, 0, 0), lifted=0.0), seed=3)
    for number in range(20):
        _, maps = sampler.sample(number, 64)
        assert maps[-1, :, 0].max() > 200
        assert maps[0, :, 0].max() == 0


def test_cut_sides_are_those_where_the_mask_meets_the_frame() -> None:
    mask = np.zeros((50, 50), np.uint8)
    mask[20:, 10:40] = 255
    assert cut_sides(mask) == Cuts(bottom=True)
    mask[:, 10:40] = 255
    assert cut_sides(mask).opposite
    assert cut_sides(np.zeros((50, 50), np.uint8)) == Cuts()


def test_a_photo_s_subject_is_cropped_to_its_box(picture) -> None:
    layer, cuts = from_photo(np.random.default_rng(0), picture("images", "ecssd", True, 1))
    assert cuts == Cuts()
    # the disc is 50 px across, and 4 px on each side are left for the feather
    assert layer.alpha.shape == (58, 58)
    assert layer.alpha[29, 29] == pytest.approx(1.0)


def test_tight_crop_keeps_the_whole_subject(picture) -> None:
    photo = picture("images", "ecssd", True, 1)
    for seed in range(10):
        _, mask = tight_crop(np.random.default_rng(seed), photo.rgb, photo.alpha)
        assert mask.sum(dtype=np.int64) == photo.alpha.sum(dtype=np.int64)


def test_views_keep_most_of_the_subject(picture) -> None:
    photo = picture("images", "ecssd", True, 1)
    for seed in range(30):
        rgb, alpha = random_view(np.random.default_rng(seed), photo, 64)
        assert rgb.shape == (64, 64, 3)
        assert alpha.mean() > 0.15


def test_shadows_darken_the_ground_and_never_lighten_it(disc) -> None:
    for seed in range(10):
        rng = np.random.default_rng(seed)
        ground = studio_ground(rng, 64)
        darker = floor_shadow(rng, disc(64, 15), ground)
        assert np.all(darker <= ground + 1e-3)
        assert darker.min() < ground.min() - 5


def test_hue_turned_by_a_third_makes_red_green() -> None:
    red = np.zeros((2, 2, 3), np.uint8)
    red[..., 0] = 255
    assert turn_hue(red, 60).tolist() == [[[0, 255, 0]] * 2] * 2


def test_sample_is_a_function_of_seed_and_number(pool: Pool, mix) -> None:
    first, again = (Sampler(pool, mix(1, 1, 1, 1), seed=5) for _ in range(2))
    for index in range(12):
        a, b = first.sample(index, 64), again.sample(index, 64)
        assert (a[0].shape, a[1].shape) == ((64, 64, 3), (64, 64, 4))
        assert np.array_equal(a[0], b[0])
        assert np.array_equal(a[1], b[1])


def test_only_photos_are_marked_as_hard_masks_and_empty_grounds_have_no_alpha(pool, mix) -> None:
    photo = Sampler(pool, mix(1, 0, 0, 0), seed=1).sample(0, 64)[1]
    empty = Sampler(pool, mix(0, 0, 0, 1), seed=1).sample(0, 64)[1]
    assert photo[..., 3].max() == 0
    assert empty[..., 3].min() == 255
    assert empty[..., :3].max() == 0


def test_pictures_without_a_subject_never_come_from_photos(pool: Pool, mix) -> None:
    pool.plain[0].rgb[:] = (255, 0, 255)
    pool.backgrounds[0].rgb[:] = 100
    sampler = Sampler(pool, mix(0, 0, 0, 1), seed=2)
    for index in range(60):
        ground = sampler.ground(np.random.default_rng(index), 32, subjects_behind=False)
        assert not np.allclose(ground, (255, 0, 255))


def test_edge_bands_lie_within_each_other_around_the_edge(disc) -> None:
    maps = targets(disc(64, 20), is_true=True)
    near, wide = maps[..., 1] > 0, maps[..., 2] > 0
    assert np.all(wide[near])
    assert not wide[32, 32]
    assert not wide[0, 0]
    assert edge_band(np.full((8, 8), 255, np.uint8), 2).max() == 0


def test_rest_is_shared_by_the_unnamed_sources_by_their_size(picture) -> None:
    one = picture("images", "a", True, 1)
    held = {"a": [one], "b": [one] * 3, "c": [one]}
    found = shares({"a": 6.0, "rest": 4.0, "gone": 50.0}, held)
    assert found == {"a": 0.6, "b": pytest.approx(0.3), "c": pytest.approx(0.1)}


def test_a_strip_beside_a_subject_is_as_high_as_the_photo_and_holds_nothing_of_it(picture) -> None:
    photo = picture("images", "ecssd", True, 1)
    rgb = np.zeros((200, 300, 3), np.uint8)
    alpha = np.zeros((200, 300), np.uint8)
    rgb[60:150, 110:190] = alpha[60:150, 110:190, None] = 255  # no strip above or below is wide
    photo = replace(photo, rgb=rgb, alpha=alpha)
    widths = set()
    for seed in range(20):
        strip = beside(np.random.default_rng(seed), photo)
        assert strip is not None
        assert strip.alpha is None
        assert not strip.rgb.any()
        assert strip.rgb.shape[0] == 200
        widths.add(strip.rgb.shape[1])
    assert widths == {110}  # left and right of it


def test_a_photo_without_room_beside_its_subject_gives_no_strip(picture) -> None:
    rng = np.random.default_rng(0)
    assert beside(rng, picture("images", "ecssd", True, 1)) is None  # 80 px wide in all
    assert beside(rng, picture("images", "inet", False, 3)) is None


def test_grounds_come_from_beside_subjects_as_often_as_asked(picture, pool: Pool, mix) -> None:
    photo = pool.photos["ecssd"][0]
    rgb = np.full((200, 300, 3), 200, np.uint8)
    alpha = np.zeros((200, 300), np.uint8)
    alpha[60:150, 110:190] = 255
    pool.photos["ecssd"] = [replace(photo, rgb=rgb, alpha=alpha)]
    pool.backgrounds[0].rgb[:] = 0
    always = replace(mix(0, 0, 0, 1), beside=1.0, beside_sources={"ecssd": 1.0})
    grounds = [
        Sampler(pool, asked, 1).ground(np.random.default_rng(seed), 32, subjects_behind=False)
        for asked in (mix(0, 0, 0, 1), always)
        for seed in range(30)
    ]
    light = [bool((ground > 199.0).all()) for ground in grounds]
    assert sum(light[:30]) == 0
    assert sum(light[30:]) >= 20  # one in five is a flat ground


def standing(photo: Picture) -> Picture:
    """A 300 x 200 photo of somebody 240 px tall: the head is 200, the body 100, the legs are 50."""
    rgb = np.zeros((300, 200, 3), np.uint8)
    for rows, columns, level in (
        (slice(30, 70), slice(85, 115), 200),
        (slice(70, 150), slice(60, 140), 100),
        (slice(150, 270), slice(75, 125), 50),
    ):
        rgb[rows, columns] = level
    return replace(photo, rgb=rgb, alpha=np.where(rgb[..., 0] > 0, 255, 0).astype(np.uint8))


def test_a_close_up_shows_the_head_and_is_cut_by_the_frame_below(picture) -> None:
    photo = standing(picture("images", "ccp", True, 1))
    seen_px = set()
    for seed in range(60):
        close = close_up(np.random.default_rng(seed), photo)
        assert close is not None
        assert close.alpha is not None
        assert close.alpha.shape == close.rgb.shape[:2]
        assert np.array_equal(close.alpha > 0, close.rgb[..., 0] > 0)
        assert not close.alpha[0].any()  # there is room above the head
        assert (close.rgb == 200).any()
        assert close.alpha[-1].any()
        assert close.rgb.shape[0] >= CLOSE_PX - 1
        seen_px.add(close.rgb.shape[0])
    assert min(seen_px) < 100  # head and shoulders
    assert max(seen_px) > 170  # down to the hips
    assert max(seen_px) < 230  # never the whole of it


def test_only_tall_subjects_that_are_large_enough_have_close_ups(picture) -> None:
    rng = np.random.default_rng(0)
    tall = standing(picture("images", "ccp", True, 1))
    assert tall.alpha is not None
    lying = replace(tall, rgb=tall.rgb.transpose(1, 0, 2), alpha=tall.alpha.T)
    small = replace(tall, rgb=tall.rgb[::3, ::3], alpha=tall.alpha[::3, ::3])
    nobody = replace(tall, alpha=np.zeros_like(tall.alpha))
    for photo in (lying, small, nobody, replace(tall, alpha=None)):
        assert close_up(rng, photo) is None


def test_tall_subjects_are_seen_closely_as_often_as_asked(pool: Pool, mix) -> None:
    pool.photos["ecssd"] = [standing(pool.photos["ecssd"][0])]
    wide = replace(mix(1, 0, 0, 0), close=0.5)
    photos = [
        Sampler(pool, wide, 1).photo(np.random.default_rng(seed), {"ecssd": 1.0})
        for seed in range(100)
    ]
    whole = sum(photo.rgb.shape == (300, 200, 3) for photo in photos)
    assert 30 < whole < 70
