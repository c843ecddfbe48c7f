"""Keying on a screen's colour: the fast path against the twin, and against what is true.

Scenes are drawn here with a true alpha: a solid body, hairs and motion blur before a screen under
uneven light, with noise, spill and JPEG.
"""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from kernels.cpu.chroma_key import chroma_key
from kernels.reference.chroma_key import chroma_key as twin
from models import metrics

GREEN, BLUE = (50, 175, 75), (30, 70, 185)
SKIN, COAT = (205, 150, 125), (75, 65, 60)


def subject(height=240, width=320, seed=1):
    """Colours, (H, W, 3) float32 in 0..255, and true alpha, (H, W) float32."""
    rng = np.random.default_rng(seed)
    big = np.zeros((4 * height, 4 * width), np.uint8)
    cv2.ellipse(big, (2 * width, 2 * height), (width // 2, height), 0, 0, 360, 255, -1)
    for angle in rng.uniform(0, 2 * np.pi, 60):  # hairs of about a pixel
        start = np.array([2 * width, 1.4 * height])
        end = start + 1.1 * height * np.array([np.cos(angle), np.sin(angle)])
        cv2.line(big, start.astype(int).tolist(), end.astype(int).tolist(), 255, 4)
    alpha = cv2.resize(big, (width, height), interpolation=cv2.INTER_AREA) / np.float32(255)
    moved = cv2.blur(alpha, (17, 1))
    alpha = np.where(np.arange(height)[:, None] > height * 2 // 3, moved, alpha)
    rows = np.arange(height)[:, None, None] < height // 2
    colours = np.where(rows, np.float32(SKIN), np.float32(COAT))
    return np.broadcast_to(colours, (height, width, 3)).copy(), alpha


def scene(colours, alpha, key, *, noise=3.0, spill=0.12, quality=88, seed=2):
    """The picture of a subject before a screen, (H, W, 3) uint8."""
    rng = np.random.default_rng(seed)
    height, width = alpha.shape
    light = 1 + 0.2 * cv2.resize(
        rng.uniform(-1, 1, (3, 3)).astype(np.float32),
        (width, height),
        interpolation=cv2.INTER_CUBIC,
    )
    screen = np.float32(key) * light[..., None]
    near = cv2.GaussianBlur(1 - alpha, (0, 0), 0.03 * width)
    lit = colours + spill * near[..., None] * screen
    mixed = alpha[..., None] * lit + (1 - alpha[..., None]) * screen
    picture = np.clip(mixed + rng.normal(0, noise, mixed.shape), 0, 255).astype(np.uint8)
    _, data = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.ascontiguousarray(cv2.imdecode(data, cv2.IMREAD_COLOR)[..., ::-1])


def hsv_threshold(picture, key):
    """The plain way, with the ranges that did best over scenes like these."""
    hsv = cv2.cvtColor(picture, cv2.COLOR_RGB2HSV).astype(int)
    hue = int(cv2.cvtColor(np.uint8([[key]]), cv2.COLOR_RGB2HSV)[0, 0, 0])
    apart = np.abs((hsv[..., 0] - hue + 90) % 180 - 90)
    is_screen = (apart < 25) & (hsv[..., 1] > 90) & (hsv[..., 2] > 40)
    return (~is_screen).astype(np.float32)


def on_grey(colours, alpha):
    return colours.astype(np.float32) * alpha[..., None] + 200 * (1 - alpha[..., None])


@pytest.mark.parametrize("key", [GREEN, BLUE])
@pytest.mark.parametrize("size_hw", [(1, 1), (17, 33), (119, 161), (240, 320)])
def test_the_fast_path_agrees_with_the_twin(size_hw, key):
    colours, alpha = subject()
    picture = np.ascontiguousarray(scene(colours, alpha, key)[: size_hw[0], : size_hw[1]])
    fast, truth = chroma_key(picture, key), twin(picture, key)
    assert np.percentile(np.abs(fast[0].astype(int) - truth[0]), 99) <= 3
    seen = (fast[0] > 0) & (truth[0] > 0)
    if seen.any():
        wrong = np.abs(fast[1].astype(int) - truth[1]).max(axis=2)[seen]
        assert np.percentile(wrong, 99) <= 6


@pytest.mark.parametrize("key", [GREEN, BLUE])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_keying_is_ahead_of_a_plain_hsv_threshold(key, seed):
    colours, truth = subject(seed=seed)
    picture = scene(colours, truth, key, seed=seed + 10)
    alpha_u8, own = chroma_key(picture, key)
    alpha, plain = alpha_u8 / np.float32(255), hsv_threshold(picture, key)
    assert metrics.mae(alpha, truth) < metrics.mae(plain, truth)
    assert metrics.gradient_error(alpha, truth) < 0.6 * metrics.gradient_error(plain, truth)
    wanted = on_grey(colours, truth)
    seen = truth > 0
    wrong = np.abs(on_grey(own, alpha) - wanted)[seen].mean()
    assert wrong < 0.95 * np.abs(on_grey(picture, plain) - wanted)[seen].mean()


def test_a_screen_under_uneven_light_is_all_gone():
    picture = scene(np.zeros((200, 300, 3), np.float32), np.zeros((200, 300), np.float32), GREEN)
    alpha, _ = chroma_key(picture, GREEN)
    assert alpha.mean() < 0.05


def test_a_picture_without_the_key_stays_as_it_is():
    picture = np.full((60, 90, 3), (200, 150, 120), np.uint8)
    alpha, colours = chroma_key(picture, GREEN)
    assert (alpha == 255).all()
    assert np.array_equal(colours, picture)


def test_a_hair_mixed_with_the_screen_has_the_hairs_colour():
    picture = np.full((96, 96, 3), GREEN, np.uint8)
    picture[:, :48] = COAT
    picture[:, 48] = (np.array(COAT) + GREEN) // 2
    alpha, colours = chroma_key(picture, GREEN, tolerance=0, softness=1)
    assert abs(int(alpha[40, 48]) - 128) < 12
    assert np.abs(colours[40, 48].astype(int) - COAT).max() < 16


def test_more_tolerance_leaves_less():
    colours, truth = subject()
    picture = scene(colours, truth, GREEN)
    least, most = (chroma_key(picture, GREEN, tolerance=t)[0] for t in (0.05, 0.4))
    assert most.mean() < least.mean()


@pytest.mark.parametrize(("tolerance", "softness"), [(0.5, 0.7), (0.12, 1), (0.9, 1)])
def test_what_holds_nothing_of_the_screen_is_opaque_however_soft_the_edge(tolerance, softness):
    colours, truth = subject()
    picture = scene(colours, truth, GREEN, spill=0)
    wanted = {"tolerance": tolerance, "softness": softness}
    alpha, twins = (made(picture, GREEN, **wanted)[0] for made in (chroma_key, twin))
    inside = cv2.erode((truth == 1).astype(np.uint8), np.ones((9, 9), np.uint8)) > 0
    assert np.percentile(alpha[inside], 1) >= 250
    assert np.percentile(np.abs(alpha.astype(int) - twins), 99) <= 3


def test_without_softness_an_edge_is_hard():
    colours, truth = subject()
    alpha, _ = chroma_key(scene(colours, truth, GREEN), GREEN, tolerance=0.5, softness=0)
    assert ((alpha > 0) & (alpha < 255)).mean() < 0.002


def test_despill_takes_the_screens_light_off_the_subject():
    _, truth = subject()
    grey = np.full((*truth.shape, 3), 150, np.float32)
    picture = scene(grey, truth, GREEN, spill=0.3)
    solid = truth == 1
    kept, cleaned = (
        (np.ptp(chroma_key(picture, GREEN, despill=d)[1].astype(int), axis=2))[solid].mean()
        for d in (0, 1)
    )
    assert cleaned < 0.7 * kept


def test_glass_before_the_screen_keeps_its_alpha_and_a_shadow_on_it_has_none():
    picture = np.full((240, 320, 3), GREEN, np.float32)
    picture[60:180, 30:130] = 0.6 * np.float32(GREEN) + 0.4 * 200  # a pane of a pale grey
    picture[60:180, 190:290] *= 0.6
    alpha = chroma_key(picture.astype(np.uint8), GREEN, tolerance=0, softness=1)[0] / 255
    assert abs(alpha[120, 80] - 0.4) < 0.1
    assert alpha[120, 240] < 0.05
