"""Where an image lies in the network's plane."""

from __future__ import annotations

import pytest

from kernels.letterbox import place


@pytest.mark.parametrize(
    ("image_wh", "expected"),
    [
        ((320, 320), (0, 0, 320, 320)),
        ((1920, 1080), (0, 70, 320, 180)),
        ((1080, 1920), (70, 0, 180, 320)),
        ((30000, 1), (0, 159, 320, 1)),
        ((1, 30000), (159, 0, 1, 320)),
        ((1, 1), (0, 0, 320, 320)),
    ],
)
def test_a_letterbox_keeps_the_aspect_ratio_and_centres(image_wh, expected):
    assert place(image_wh, (320, 320), "letterbox") == expected


def test_a_corner_keeps_the_aspect_ratio_at_the_top_left():
    assert place((1920, 1080), (320, 320), "corner") == (0, 0, 320, 180)
    assert place((1, 30000), (320, 320), "corner") == (0, 0, 1, 320)


def test_stretching_covers_the_plane():
    assert place((30000, 1), (320, 200), "stretch") == (0, 0, 320, 200)
