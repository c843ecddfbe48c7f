"""Batches made on the training device are what the CPU's samples are, and look where they say."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is needed to train, not to serve")

from models.training.data import BUST  # noqa: E402 - after the check for torch
from models.training.device_jitter import Dice  # noqa: E402
from models.training.device_sampler import DeviceSampler, look  # noqa: E402
from models.training.device_view import (  # noqa: E402
    beside_grid,
    close_grid,
    place_grid,
    share_seen,
)
from models.training.resident import Resident, make_resident, shelf  # noqa: E402

CPU = torch.device("cpu")


def test_device_batches_are_a_function_of_seed_and_number(pool, mix) -> None:
    first, again = (
        DeviceSampler(make_resident(pool, mix(1, 1, 1, 1), 48, CPU), mix(1, 1, 1, 1), seed=5)
        for _ in range(2)
    )
    for number in range(3):
        a, b = first.batch(number, 64, 8), again.batch(number, 64, 8)
        assert (a[0].shape, a[1].shape) == ((8, 3, 64, 64), (8, 4, 64, 64))
        assert torch.equal(a[0], b[0])
        assert torch.equal(a[1], b[1])
    assert not torch.equal(first.batch(0, 64, 8)[0], first.batch(1, 64, 8)[0])


def test_device_photos_are_hard_masks_and_empty_grounds_have_no_alpha(pool, mix) -> None:
    def maps(*kinds: float):
        shares = mix(*kinds)
        return DeviceSampler(make_resident(pool, shares, 48, CPU), shares, 1).batch(0, 64, 8)[1]

    assert maps(1, 0, 0, 0)[:, 3].max() == 0
    assert maps(0, 0, 0, 1)[:, 3].min() == 255
    assert maps(0, 0, 0, 1)[:, 0].max() == 0


def test_device_composites_are_exact_for_a_white_subject_on_black(pool, mix) -> None:
    for held in (pool.photos["ecssd"], pool.cutouts["noto"]):
        held[0].rgb[:] = 255
    shares = mix(0, 1, 0, 0)
    sampler = DeviceSampler(make_resident(pool, shares, 48, CPU), shares, 1)
    rgb, alpha = sampler.subject(Dice(1, 0, 16, CPU), 64, small=False)
    seen = alpha > 0.5
    assert seen.any()
    assert torch.allclose(rgb[:, :1][seen], torch.ones(1), atol=1e-3)


def test_device_photos_keep_most_of_their_subject(pool, mix) -> None:
    shares = mix(1, 0, 0, 0)
    sampler = DeviceSampler(make_resident(pool, shares, 48, CPU), shares, 1)
    _, alpha = sampler.photos(Dice(1, 0, 64, CPU), 64)
    assert alpha.mean((1, 2, 3)).min() > 0.15


def test_a_placed_subject_has_the_asked_size() -> None:
    dice = Dice(1, 0, 200, CPU)
    box = torch.tensor([[0.25, 0.25, 0.75, 0.75]]).expand(200, 4)
    grid = place_grid(dice, 32, box, torch.ones(200), small=True)
    # the frame sees box / scale: of a box of a quarter, at scale 0.2 to 0.6 and jitter exp(0.35)
    area = 0.25 / share_seen(grid)
    assert float(area.min()) > 0.015
    assert float(area.max()) < 0.4


def test_busts_on_the_device_are_cut_by_the_lower_edge_of_the_frame(picture, pool, mix) -> None:
    bust = picture("cutouts", "bust", True, 5)
    bust = replace(bust, row=replace(bust.row, kind=BUST), alpha=np.full((60, 80), 255, np.uint8))
    pool.cutouts = {"bust": [bust]}
    shares = replace(mix(0, 1, 0, 0), lifted=0.0)
    sampler = DeviceSampler(make_resident(pool, shares, 48, CPU), shares, 1)
    _, alpha = sampler.subject(Dice(1, 0, 64, CPU), 64, small=False)
    assert alpha[:, 0, -1].amax(1).min() > 0.5
    assert alpha[:, 0, 0].amax(1).max() < 0.5


@pytest.fixture
def photos(picture):
    """A shelf of two photos: a tall white subject with a grey foot on black, and a lying one."""
    rgb = np.zeros((300, 300, 3), np.uint8)
    rgb[30:270, 120:180] = 255
    rgb[240:270, 120:180] = 128
    photo = picture("images", "ccp", True, 1)
    tall = replace(photo, rgb=rgb, alpha=np.where(rgb[..., 0] > 0, 255, 0).astype(np.uint8))
    lying = replace(tall, rgb=rgb.transpose(1, 0, 2), alpha=tall.alpha.T)
    return shelf([tall, lying], [1.0, 1.0], 300, CPU)


def test_a_close_up_on_the_device_shows_the_upper_part_of_tall_subjects(photos) -> None:
    picks = torch.arange(100) % 2
    grid, tall = close_grid(Dice(1, 0, 100, CPU), photos, picks, 64)
    assert torch.equal(tall, picks == 0)
    rgb, alpha = (part[tall] for part in look(photos, picks, grid))
    assert float(alpha[:, 0, 0].max()) == 0.0  # room above
    assert float(alpha[:, 0, -1].amax(1).min()) == 1.0  # cut below
    assert not ((rgb > 0.3) & (rgb < 0.7) & (alpha > 0.99)).any()  # no foot
    assert float(alpha.mean((1, 2, 3)).max()) > 2 * float(alpha.mean((1, 2, 3)).min())


def test_a_strip_on_the_device_holds_nothing_of_the_subject(photos) -> None:
    picks = torch.arange(100) % 2
    grid, can = beside_grid(Dice(1, 0, 100, CPU), photos, picks, 64)
    assert can.all()
    _, alpha = look(photos, picks, grid)
    # a turned view is mirrored at the strip's side, where the pixels' halves meet
    assert float((alpha > 0.6).float().mean()) == 0.0
    small = replace(photos, box=torch.tensor([[0.1, 0.1, 0.9, 0.9]]).expand(2, 4))
    assert not beside_grid(Dice(1, 0, 100, CPU), small, picks, 64)[1].any()


def test_grounds_and_close_ups_on_the_device_come_as_often_as_asked(pool, mix, photos) -> None:
    shares = replace(mix(1, 1, 0, 1), beside=1.0, beside_sources={"rest": 1.0}, close=0.5)
    made = make_resident(pool, shares, 48, CPU)
    lent = replace(photos, rgba=torch.full_like(photos.rgba, 255))
    lent.rgba[:, 3] = photos.rgba[:, 3]
    black = replace(made.grounds, rgba=torch.zeros_like(made.grounds.rgba))
    held = Resident(photos, made.cutouts, black, shelf([], [], 48, CPU), lent)
    sampler = DeviceSampler(held, shares, 1)
    never = torch.zeros(100, dtype=torch.bool)
    rgb = sampler.grounds(Dice(1, 0, 100, CPU), 32, studio=never, crowded=never)
    assert 60 < int((rgb > 0.99).flatten(1).all(1).sum()) < 95  # one in five is flat
    _, alpha = sampler.photos(Dice(1, 0, 200, CPU), 64)
    # the lying one and half of the tall ones end inside the frame or are cut by a loose crop
    cut = int((alpha[:, 0, -1].amax(1) > 0.99).sum())
    assert 40 < cut < 100
