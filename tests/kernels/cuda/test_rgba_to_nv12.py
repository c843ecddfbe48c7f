"""RGB to NV12 on the device, against the twin.

Tolerance: one level, in fewer than one sample of a thousand: sums of three float32 products fall to
the other side of a half there; where, depends on whether the compiler contracts them.
"""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from kernels.cuda.rgba_to_nv12 import rgba_to_nv12
from kernels.image import PixelFormat, YCbCr, image_struct
from kernels.reference.rgba_to_nv12 import RGBToYCbCr
from kernels.reference.rgba_to_nv12 import rgba_to_nv12 as twin
from tests.kernels.cuda.arrays import empty, get, put

BT601, BT709 = (0.299, 0.114), (0.2126, 0.0722)
BYTES = {PixelFormat.RGB8: 3, PixelFormat.BGR8: 3, PixelFormat.RGBA8: 4}
STANDARDS = [(BT601, True), (BT601, False), (BT709, True), (BT709, False)]


def noise(height, width, channels):
    return np.random.default_rng(height * width).integers(
        0, 256, (height, width, channels), np.uint8
    )


def on_device(device, stream, pixels, pixel_format, matrix, *, pad=0):
    height, width, channels = pixels.shape
    source = put(device, pixels)
    stride = width + pad
    luma, chroma = (
        put(device, np.full((height, stride), 7, np.uint8)),
        empty(device, height // 2 * stride),
    )
    rgba_to_nv12(
        device,
        stream,
        image=image_struct(((source.address, width * channels),), width, height, pixel_format),
        matrix=matrix,
        luma=luma.address,
        chroma=chroma.address,
        luma_stride=stride if pad else 0,
        chroma_stride=stride if pad else 0,
    )
    device.synchronize(stream)
    rows = get(device, luma, (height, stride), np.uint8)
    assert (rows[:, width:] == 7).all()  # what lies between rows is the caller's
    return rows[:, :width], get(device, chroma, (height // 2, stride), np.uint8)[:, :width]


def assert_close(actual, expected):
    difference = np.abs(actual.astype(int) - expected)
    assert difference.max() <= 1
    assert difference.sum() <= max(1, actual.size // 1000)


@pytest.mark.parametrize(("weights", "full_range"), STANDARDS)
def test_each_standard_agrees_with_the_twin(device, stream, weights, full_range):
    pixels, matrix = noise(38, 54, 3), RGBToYCbCr.of(*weights, full_range=full_range)
    for actual, expected in zip(
        on_device(device, stream, pixels, PixelFormat.RGB8, matrix),
        twin(pixels, matrix),
        strict=True,
    ):
        assert_close(actual, expected)


@pytest.mark.parametrize("pixel_format", BYTES)
@pytest.mark.parametrize("size_hw", [(2, 2), (2, 4), (54, 38), (204, 318), (202, 320)])
@pytest.mark.parametrize("pad", [0, 3, 8])
def test_sizes_strides_and_formats_agree_with_the_twin(device, stream, pixel_format, size_hw, pad):
    pixels, matrix = noise(*size_hw, BYTES[pixel_format]), RGBToYCbCr.of(*BT709, full_range=False)
    straight = pixels[..., ::-1] if pixel_format == PixelFormat.BGR8 else pixels
    for actual, expected in zip(
        on_device(device, stream, pixels, pixel_format, matrix, pad=pad),
        twin(straight, matrix),
        strict=True,
    ):
        assert_close(actual, expected)


def test_1080p_agrees_with_the_twin(device, stream):
    pixels, matrix = noise(1080, 1920, 4), RGBToYCbCr.of(*BT709, full_range=False)
    for actual, expected in zip(
        on_device(device, stream, pixels, PixelFormat.RGBA8, matrix),
        twin(pixels, matrix),
        strict=True,
    ):
        assert_close(actual, expected)


@pytest.mark.parametrize(("weights", "full_range"), STANDARDS)
def test_colours_come_back_through_the_matrix_of_the_readers(weights, full_range):
    # Rounding to 8 bits costs half a level of each sample; the way back stretches it by 2 at most.
    pixels = np.repeat(np.repeat(noise(20, 20, 3), 2, 0), 2, 1)
    luma, chroma = twin(pixels, RGBToYCbCr.of(*weights, full_range=full_range))
    back = YCbCr.of(*weights, full_range=full_range)
    cb, cr = (np.repeat(np.repeat(chroma[:, i::2] - 128.0, 2, 0), 2, 1) for i in (0, 1))
    y = (luma - back.luma_offset) * back.luma_scale
    rgb = np.dstack(
        [y + back.cr_to_r * cr, y + back.cb_to_g * cb + back.cr_to_g * cr, y + back.cb_to_b * cb]
    )
    assert np.abs(rgb - pixels).max() <= 2


def test_the_twin_agrees_with_opencv_for_bt601_video():
    # OpenCV takes chroma from one pixel of each block, so blocks of one colour are compared.
    pixels = np.repeat(np.repeat(noise(16, 24, 3), 2, 0), 2, 1)
    i420 = cv2.cvtColor(pixels, cv2.COLOR_RGB2YUV_I420)
    luma, chroma = twin(pixels, RGBToYCbCr.of(*BT601, full_range=False))
    assert np.abs(luma.astype(int) - i420[:32]).max() <= 1
    planes = i420[32:].reshape(2, 16, 24)
    for index in (0, 1):
        assert np.abs(chroma[:, index::2].astype(int) - planes[index]).max() <= 1


def test_white_and_black_of_video_range_are_235_and_16():
    matrix = RGBToYCbCr.of(*BT709, full_range=False)
    for value, expected in ((0, 16), (255, 235)):
        luma, chroma = twin(np.full((2, 2, 3), value, np.uint8), matrix)
        assert (luma == expected).all()
        assert (chroma == 128).all()


def test_odd_sides_are_refused(device, stream):
    matrix = RGBToYCbCr.of(*BT709, full_range=False)
    image = image_struct(((256, 111),), 37, 54, PixelFormat.RGB8)
    with pytest.raises(ValueError, match="37x54, NV12 takes even sides only"):
        rgba_to_nv12(device, stream, image=image, matrix=matrix, luma=256, chroma=256)


def test_a_stride_shorter_than_a_row_is_refused(device, stream):
    matrix = RGBToYCbCr.of(*BT709, full_range=False)
    image = image_struct(((256, 108),), 36, 54, PixelFormat.RGB8)
    with pytest.raises(ValueError, match="stride is 30 bytes, a row has 36"):
        rgba_to_nv12(
            device, stream, image=image, matrix=matrix, luma=256, chroma=256, luma_stride=30
        )
