"""Drawings on a device's pipeline: they stay on the host, beside photos that share their run."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from loadtest.drawn_pages import page
from server.job import (
    EncodedSource,
    FlatBackground,
    FlatUse,
    Format,
    Method,
    Options,
    Output,
    PixelFormat,
    RawSource,
)
from tests.server.device.conftest import OnDevice
from tests.server.device.test_flow import run_many
from tests.server.fakes import picture

AUTO, ON = (
    Options(output=Output.ALPHA, format=Format.RAW, flat_background=FlatBackground(use))
    for use in (FlatUse.AUTO, FlatUse.ON)
)
DRAWN = page("cartoon", 1, 200)


def png(pixels: NDArray[np.uint8]) -> EncodedSource:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return EncodedSource(buffer.getvalue())


def raw() -> RawSource:
    height, width = DRAWN.alpha.shape
    return RawSource(DRAWN.picture.tobytes(), PixelFormat.RGB8, width, height)


def test_a_drawing_is_not_sent_to_the_device_and_a_photo_in_its_run_is(
    brightness: OnDevice,
) -> None:
    drawing, photo = run_many(
        brightness.pipeline, [png(DRAWN.picture), EncodedSource(picture())], AUTO
    )
    assert (drawing.method, photo.method) == (Method.FLAT_BACKGROUND, Method.MODEL)
    assert drawing.copies.host_to_device == 0
    assert photo.copies.host_to_device == 1
    alpha = np.frombuffer(drawing.encoded.data, np.uint8).reshape(DRAWN.alpha.shape)
    assert np.abs(alpha / 255 - DRAWN.alpha).mean() < 0.002


def test_a_run_of_drawings_alone_launches_nothing(brightness: OnDevice) -> None:
    before = len(brightness.launches)
    run_many(brightness.pipeline, [png(DRAWN.picture)] * 2, AUTO)
    assert len(brightness.launches) == before


def test_raw_pixels_are_looked_at_when_the_caller_insists(brightness: OnDevice) -> None:
    (unasked,) = run_many(brightness.pipeline, [raw()], AUTO)
    (asked,) = run_many(brightness.pipeline, [raw()], ON)
    assert (unasked.method, asked.method) == (Method.MODEL, Method.FLAT_BACKGROUND)
