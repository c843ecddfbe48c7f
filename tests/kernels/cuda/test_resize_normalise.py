"""The device's way from a picture to the network's input, against the twin."""

from __future__ import annotations

import numpy as np
import pytest

from kernels import reference
from kernels.cuda.resize_normalise import resize_normalise
from kernels.image import JOB, PixelFormat, job_struct
from kernels.letterbox import place
from tests.kernels.cuda.arrays import empty, get, put
from tests.kernels.cuda.pictures import put_picture

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
# A value is a sum of at most a few hundred float32 products with exact weights: some 1e-6 of values
# up to 2.7. A position that is off by a thousandth of a pixel would be a thousand times that.
TOLERANCE = 4e-6


def prepare(device, stream, pictures, plane_wh, fit="stretch", **kwargs):
    width, height = plane_wh
    jobs = np.zeros(len(pictures), JOB)
    for index, picture in enumerate(pictures):
        if picture is not None:
            image_wh = picture.rgb.shape[1], picture.rgb.shape[0]
            jobs[index] = job_struct(picture.struct, place(image_wh, (width, height), fit))[0]
    half = kwargs.get("element") == "fp16"
    table = put(device, jobs)
    target = empty(device, len(pictures) * 3 * width * height * (2 if half else 4))
    resize_normalise(
        device,
        stream,
        jobs=table.address,
        batch=len(pictures),
        target=target.address,
        width=width,
        height=height,
        mean=MEAN,
        std=STD,
        **kwargs,
    )
    device.synchronize(stream)
    last = kwargs.get("layout") == "NHWC"
    shape = (height, width, 3) if last else (3, height, width)
    return get(device, target, (len(pictures), *shape), np.float16 if half else np.float32)


def truth(picture, width, height, **kwargs):
    return reference.resize_normalise(
        picture.rgb, width, height, MEAN, STD, alpha_u8=picture.alpha, **kwargs
    )


@pytest.mark.parametrize("fit", ["stretch", "letterbox"])
@pytest.mark.parametrize(
    ("image_wh", "plane_wh"),
    [
        ((1, 1), (1, 1)),
        ((1, 1), (40, 33)),
        ((37, 53), (40, 33)),
        ((317, 203), (64, 64)),
        ((203, 317), (320, 31)),
        ((64, 64), (64, 64)),
        ((1, 300), (48, 17)),
        ((1000, 3), (33, 5)),
        ((641, 359), (320, 320)),
    ],
)
def test_a_picture_of_any_size_agrees_with_the_twin(device, stream, image_wh, plane_wh, fit):
    picture = put_picture(device, *image_wh)
    result = prepare(device, stream, [picture], plane_wh, fit)
    assert np.abs(result - truth(picture, *plane_wh, fit=fit)).max() < TOLERANCE


def test_a_1080p_frame_agrees_with_the_twin(device, stream):
    picture = put_picture(device, 1920, 1080)
    result = prepare(device, stream, [picture], (96, 96))
    assert np.abs(result - truth(picture, 96, 96)).max() < TOLERANCE


@pytest.mark.parametrize("padding", [0, 5])
@pytest.mark.parametrize("pixel_format", list(PixelFormat))
def test_every_layout_of_samples_is_read_right(device, stream, pixel_format, padding):
    picture = put_picture(device, 75, 43, pixel_format, padding=padding)
    result = prepare(device, stream, [picture], (32, 48))
    # Luma and chroma are turned into colours in float32 before: 1e-5 of 255 at most.
    assert np.abs(result - truth(picture, 32, 48)).max() < 2 * TOLERANCE


def test_a_source_with_an_alpha_plane_is_seen_on_white(device, stream):
    picture = put_picture(device, 75, 43, alpha=True, padding=3)
    result = prepare(device, stream, [picture], (32, 48))
    assert np.abs(result - truth(picture, 32, 48)).max() < 2 * TOLERANCE


@pytest.mark.parametrize("channels", ["RGB", "BGR"])
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_axes_and_channels_lie_as_asked(device, stream, layout, channels):
    picture = put_picture(device, 91, 53)
    order = {"layout": layout, "channels": channels}
    result = prepare(device, stream, [picture], (70, 37), "letterbox", **order)
    assert np.abs(result - truth(picture, 70, 37, fit="letterbox", **order)).max() < TOLERANCE


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_half_precision_is_the_single_precision_rounded_once(device, stream, layout):
    picture = put_picture(device, 91, 53)
    single = prepare(device, stream, [picture], (64, 40), layout=layout)
    half = prepare(device, stream, [picture], (64, 40), layout=layout, element="fp16")
    assert np.array_equal(half, single.astype(np.float16))


def test_images_of_a_batch_have_sizes_of_their_own_and_padding_is_zero(device, stream):
    small = put_picture(device, 20, 31, seed=1)
    large = put_picture(device, 150, 90, PixelFormat.NV12, seed=2)
    result = prepare(device, stream, [small, None, large], (48, 48), "letterbox")
    assert np.abs(result[:1] - truth(small, 48, 48, fit="letterbox")).max() < TOLERANCE
    assert (result[1] == 0).all()
    assert np.abs(result[2:] - truth(large, 48, 48, fit="letterbox")).max() < 2 * TOLERANCE


def test_a_plain_grey_stays_exactly_plain(device, stream):
    picture = put_picture(device, 333, 217)
    grey = put(device, np.full((217, 333, 3), 77, np.uint8))
    picture.struct["plane"][0, 0] = grey.address
    result = prepare(device, stream, [picture], (100, 60))
    assert np.ptp(result, axis=(2, 3)).max() < 1e-6


def test_a_plane_without_pixels_is_refused(device, stream):
    with pytest.raises(ValueError, match="height is 0"):
        resize_normalise(
            device, stream, jobs=0, batch=1, target=0, width=8, height=0, mean=MEAN, std=STD
        )
