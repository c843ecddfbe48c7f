"""Keywords of looks: short forms, presets, and what is told of mistakes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mattestream import BadImage, InvalidRequest
from mattestream.request import build_options
from mattestream.v1 import options_pb2 as O  # noqa: N812


def made(**keywords: object) -> O.RemoveOptions:
    return build_options(**keywords)  # type: ignore[arg-type]


@pytest.mark.parametrize("background", ["white", "#fff8", "RebeccaPurple"])
def test_a_colour_makes_a_composite(background):
    options = made(background=background)
    assert options.output == O.OUTPUT_COMPOSITE
    assert options.background.color == background


def test_an_output_that_was_asked_for_stays_and_the_server_judges():
    assert made(background="white", output="alpha").output == O.OUTPUT_ALPHA


def test_the_old_background_is_named_by_what_becomes_of_it():
    assert made(background="blur").background.WhichOneof("kind") == "blur"
    assert made(background="blur", background_blur_px=30).background.blur.radius_px == 30
    assert made(background="inpaint").background.WhichOneof("kind") == "inpaint"


def test_a_picture_comes_as_a_path_bytes_or_pixels(tmp_path: Path):
    path = tmp_path / "beach.jpg"
    path.write_bytes(b"a picture")
    for background in (str(path), path, b"a picture"):
        assert made(background=background).background.image.image.encoded == b"a picture"
    pixels = np.zeros((2, 3, 3), np.uint8)
    assert made(background=pixels).background.image.image.raw.layout.width == 3


def test_a_picture_has_its_fit_its_place_and_a_colour():
    image = made(
        background=b"x",
        background_fit="tile",
        background_position=(0, 1),
        background_color="navy",
    ).background.image
    assert (image.fit, image.color) == (O.FIT_TILE, "navy")
    assert (image.position_x, image.position_y) == (0, 1)


@pytest.mark.parametrize(
    ("margin", "sides"),
    [
        (10, [("px", 10)] * 4),
        ("8%", [("percent", 8)] * 4),
        (["1%", 2, "3", "4%"], [("percent", 1), ("px", 2), ("px", 3), ("percent", 4)]),
        ("1%,2,3,4%", [("percent", 1), ("px", 2), ("px", 3), ("percent", 4)]),
    ],
)
def test_margins_are_pixels_or_per_cent_one_or_four(margin, sides):
    crop = made(margin=margin).crop
    lengths = (crop.margin_top, crop.margin_right, crop.margin_bottom, crop.margin_left)
    found = [
        (kind, getattr(length, kind))
        for length in lengths
        if (kind := length.WhichOneof("value")) is not None
    ]
    assert found == sides


def test_crops_have_short_forms():
    crop = made(aspect="16:9", canvas="800x0", scale=0.5, position="0.5,1", circle=True).crop
    assert crop.aspect == pytest.approx(16 / 9)
    assert (crop.canvas_width, crop.canvas_height) == (800, 0)
    assert (crop.position_x, crop.position_y, crop.circle) == (0.5, 1, True)
    assert made(canvas=(3, 4)).crop.canvas_height == 4
    assert made(canvas="source", position=(0, 1)).crop.keep_size
    assert made(crop=True).HasField("crop")


@pytest.mark.parametrize("keywords", [{}, {"crop": False}, {"circle": False}, {"crop": None}])
def test_nothing_is_cut_unasked(keywords):
    assert not made(**keywords).HasField("crop")


def test_a_shadow_has_its_numbers():
    shadow = made(
        shadow="drop", shadow_opacity=0.3, shadow_blur_px=4, shadow_offset_px="-3,5"
    ).shadow
    assert shadow.kind == O.SHADOW_KIND_DROP
    assert (shadow.blur_px, shadow.offset_x_px, shadow.offset_y_px) == (4, -3, 5)


def test_a_studio_is_white_with_a_shadow_and_room():
    options = made(look="studio")
    assert options.background.color == "white"
    assert options.shadow.kind == O.SHADOW_KIND_CONTACT
    assert options.crop.margin_left.percent == 8


def test_what_is_given_besides_a_look_goes_before_it():
    options = made(look="studio", background="black", margin=3)
    assert options.background.color == "black"
    assert options.crop.margin_top.px == 3


def test_an_avatar_is_a_disc_that_can_be_seen():
    options = made(look="avatar")
    assert options.crop.circle
    assert options.crop.flush
    assert options.background.color == "#e6e8ec"
    assert made(look="avatar", background="transparent").background.color == "transparent"


def test_the_alpha_of_an_avatar_is_round_and_has_nothing_behind_it():
    options = build_options(look="avatar", output="alpha")
    assert options.crop.circle
    assert not options.HasField("background")


@pytest.mark.parametrize(
    ("keywords", "sentence"),
    [
        ({"look": "studoi"}, "look is 'studoi', known are studio, avatar"),
        ({"shadow": "long"}, "known are contact, drop"),
        ({"background": b"x", "background_fit": "fill"}, "known are cover, contain, tile"),
        ({"background": "red", "background_fit": "cover"}, "the background is no picture"),
        ({"background": "red", "background_blur_px": 3}, 'give background="blur"'),
        ({"margin": "8 percent"}, "margin has '8 percent': give pixels, or per cent"),
        ({"margin": [1, 2]}, "margin has 2 values: give one, or four"),
        ({"aspect": "16/9"}, 'give a number, or two as in "16:9"'),
        ({"aspect": "16:0"}, "its height must be above 0"),
        ({"canvas": "800"}, 'or "800x600"'),
        ({"canvas": (800, -1)}, "canvas is -1"),
        ({"position": "left"}, "position is 'left': give two numbers"),
        ({"shadow": "drop", "shadow_offset_px": 5}, "give two numbers"),
    ],
)
def test_a_mistake_is_told_with_what_is_allowed(keywords, sentence):
    with pytest.raises(InvalidRequest) as caught:
        made(**keywords)
    assert sentence in str(caught.value)


def test_a_picture_that_is_not_there_is_named():
    with pytest.raises(BadImage, match=r"cannot read nowhere\.jpg"):
        made(background="nowhere.jpg")
