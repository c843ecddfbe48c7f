"""A picture that is made smaller first: `RemoveOptions.max_megapixels`."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from mattestream.v1 import image_pb2, options_pb2, removal_pb2
from server.codecs.decode import Decoded
from server.option_rules import InvalidOption
from server.options import read_options
from server.shrink import shrunk, size_within
from tests.server.serving import Served


@pytest.mark.parametrize(
    ("size", "most", "within"),
    [
        ((400, 300), 0.0, (400, 300)),
        ((400, 300), 0.12, (400, 300)),
        ((400, 300), 0.03, (200, 150)),
        ((10_000, 1), 0.001, (3162, 1)),
    ],
)
def test_a_size_is_brought_within_an_area_and_keeps_its_shape(
    size: tuple[int, int], most: float, within: tuple[int, int]
) -> None:
    assert size_within(*size, most) == within


def test_colours_and_alpha_shrink_together_and_the_report_says_so() -> None:
    rgb = np.full((30, 40, 3), 7, np.uint8)
    decoded = Decoded(rgb, np.full((30, 40), 9, np.uint8), "png", None, None, ())
    small = shrunk(decoded, 0.0003)
    assert small.rgb.shape == (15, 20, 3)
    assert small.alpha is not None
    assert small.alpha.shape == (15, 20)
    assert (small.rgb == 7).all()
    assert (small.alpha == 9).all()
    assert small.notes == ("the picture was made smaller first, from 40x30 to 20x15 pixels",)


def test_a_picture_that_is_small_enough_is_left_as_it_is() -> None:
    decoded = Decoded(np.zeros((3, 4, 3), np.uint8), None, "png", None, None, ())
    assert shrunk(decoded, 1.0) is decoded


@pytest.mark.parametrize("most", [-1.0, 1001.0, float("nan")])
def test_an_area_out_of_range_is_refused(most: float) -> None:
    with pytest.raises(InvalidOption, match="max_megapixels"):
        read_options(options_pb2.RemoveOptions(max_megapixels=most), stream=False)


async def test_the_result_has_the_smaller_size_and_the_report_counts_in_it(served: Served) -> None:
    picture = cv2.imencode(".png", np.full((60, 80, 3), 255, np.uint8))[1].tobytes()
    reply = await served.removal.Remove(
        removal_pb2.RemoveRequest(
            image=image_pb2.Image(encoded=picture),
            options=options_pb2.RemoveOptions(max_megapixels=0.0012),
        )
    )
    assert (reply.result.width, reply.result.height) == (40, 30)
    assert (reply.report.source_width, reply.report.source_height) == (40, 30)
