"""Kernels that go pixel by pixel, at the longest allowed sides: one that overflows misses some.

Every pixel of a constant picture must become what the pixel of a small one becomes. On a GPU the
pictures have 50 megapixels; on the CPU a strip with the same longest side.
"""

from __future__ import annotations

import os

import numpy as np
import pytest

from kernels.cuda.alpha_to_source import alpha_to_source
from kernels.cuda.composite import composite_color
from kernels.cuda.despill import despill
from kernels.cuda.foreground import foreground
from kernels.cuda.levels import levels
from kernels.cuda.premultiply import premultiply
from kernels.cuda.rgba_to_nv12 import rgba_to_nv12
from kernels.image import PixelFormat, image_struct
from kernels.letterbox import Placement
from kernels.reference.rgba_to_nv12 import RGBToYCbCr
from tests.kernels.cuda.arrays import empty, get, put

LONG = 16384  # the largest side that a request may have
SHORT = 3051 if os.environ.get("MATTESTREAM_TEST_DEVICE") == "cuda" else 31
SMALL = (8, 8)
COLOR = (40, 200, 90)
ALPHA = 101


def picture(device, width, height):
    memory = put(device, np.broadcast_to(np.array(COLOR, np.uint8), (height, width, 3)))
    image = image_struct(((memory.address, 3 * width),), width, height, PixelFormat.RGB8)
    return memory, image


def flat_alpha(device, width, height):
    return put(device, np.full((height, width), ALPHA, np.uint8))


def run_levels(device, stream, width, height):
    alpha, target = flat_alpha(device, width, height), empty(device, width * height)
    levels(
        device,
        stream,
        alpha=alpha.address,
        target=target.address,
        width=width,
        height=height,
        black=0.1,
        white=0.9,
    )
    device.synchronize(stream)
    return get(device, target, (height, width, 1), np.uint8)


def run_premultiply(device, stream, width, height):
    pixel = np.array([*COLOR, ALPHA], np.uint8)
    source = put(device, np.broadcast_to(pixel, (height, width, 4)))
    target = empty(device, 4 * width * height)
    premultiply(
        device, stream, source=source.address, target=target.address, width=width, height=height
    )
    device.synchronize(stream)
    return get(device, target, (height, width, 4), np.uint8)


def run_composite(device, stream, width, height):
    memory, image = picture(device, width, height)
    alpha, target = flat_alpha(device, width, height), empty(device, 4 * width * height)
    composite_color(device, stream, foreground=image, alpha=alpha.address, target=target.address)
    device.synchronize(stream)
    del memory
    return get(device, target, (height, width, 4), np.uint8)


def run_despill(device, stream, width, height):
    memory, image = picture(device, width, height)
    target = empty(device, 3 * width * height)
    despill(
        device,
        stream,
        image=image,
        target=target.address,
        width=width,
        height=height,
        screen="green",
    )
    device.synchronize(stream)
    del memory
    return get(device, target, (height, width, 3), np.uint8)


def run_foreground_copy(device, stream, width, height):
    memory, image = picture(device, width, height)
    alpha, target = flat_alpha(device, width, height), empty(device, 4 * width * height)
    foreground(
        device,
        stream,
        image=image,
        alpha=alpha.address,
        target=target.address,
        scratch=0,
        width=width,
        height=height,
        strength=0,
        channels=4,
    )
    device.synchronize(stream)
    del memory
    return get(device, target, (height, width, 4), np.uint8)


def run_nv12(device, stream, width, height):
    width, height = width // 2 * 2, height // 2 * 2
    memory, image = picture(device, width, height)
    luma, chroma = empty(device, width * height), empty(device, width * height // 2)
    rgba_to_nv12(
        device,
        stream,
        image=image,
        matrix=RGBToYCbCr.of(0.299, 0.114, full_range=True),
        luma=luma.address,
        chroma=chroma.address,
    )
    device.synchronize(stream)
    del memory
    doubled = get(device, chroma, (height // 2, width // 2, 2), np.uint8)
    luma_block = get(device, luma, (height // 2, 2, width // 2, 2), np.uint8)
    return np.concatenate([luma_block[:, 0], luma_block[:, 1], doubled], axis=2)


def run_alpha_to_source(device, stream, width, height):
    plane = put(device, np.full((16, 16), 0.4, np.float32))
    target = empty(device, 4 * width * height)
    alpha_to_source(
        device,
        stream,
        alpha=plane.address,
        plane_width=16,
        at=Placement(0, 0, 16, 16),
        target=target.address,
        width=width,
        height=height,
        element="f32",
    )
    device.synchronize(stream)
    return get(device, target, (height, width, 1), np.float32)


@pytest.mark.slow
@pytest.mark.parametrize("is_tall", [False, True], ids=["wide", "tall"])
@pytest.mark.parametrize(
    "run",
    [
        run_levels,
        run_premultiply,
        run_composite,
        run_despill,
        run_foreground_copy,
        run_nv12,
        run_alpha_to_source,
    ],
)
def test_no_pixel_of_a_very_long_picture_is_missed(device, stream, run, is_tall):
    pixel = run(device, stream, *SMALL)[0, 0]
    made = run(device, stream, *((SHORT, LONG) if is_tall else (LONG, SHORT)))
    assert (made == pixel).all()
