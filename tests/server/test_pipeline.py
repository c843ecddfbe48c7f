"""The pipeline by itself, with a model whose alpha is the image's brightness."""

from __future__ import annotations

import io
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from models.device_model import DeviceModel
from models.model import Model
from models.registry import Registry
from server.codecs.encode import Encoded
from server.codecs.errors import ImageRejected
from server.codecs.header import Limits
from server.device_pipeline import DevicePipeline
from server.finishing import needs_colours
from server.host_pipeline import HostPipeline
from server.job import (
    Color,
    EncodedSource,
    FlatBackground,
    FlatUse,
    Format,
    Options,
    Output,
    PixelFormat,
    RawSource,
    Refine,
)
from server.pipeline import Pipeline, remove_one
from tests.fakes.emulated_engine import EmulatedRegistry
from tests.fakes.tiny_onnx import write_tiny_model
from tests.kernels.cuda.tools import missing

LIMITS = Limits(max_megapixels=10, max_side_px=5000)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real ONNX model whose alpha is the image's brightness."""
    made = tmp_path_factory.mktemp("models")
    write_tiny_model(made, "brightness")
    return made


@pytest.fixture(scope="module")
def brightness(folder: Path) -> Iterator[Model]:
    model = Registry([folder]).load("brightness")
    assert isinstance(model, Model)
    yield model
    model.close()


@pytest.fixture(scope="module")
def emulated(folder: Path) -> Iterator[DeviceModel]:
    if shutil.which("g++") is None:
        missing("kernels run on the CPU through g++, which is not installed")
    model = EmulatedRegistry((folder,), late=True).load("brightness")
    model.warm()
    yield model
    model.close()


@pytest.fixture(params=["host", "device"])
def pipeline(request: pytest.FixtureRequest) -> Pipeline:
    """The stages on the CPU, and those of a GPU on the emulated device: they behave the same."""
    if request.param == "host":
        return HostPipeline(request.getfixturevalue("brightness"), LIMITS)
    return DevicePipeline(request.getfixturevalue("emulated"), LIMITS)


def half_white_png(width: int = 101, height: int = 67) -> tuple[bytes, np.ndarray]:
    """A picture, black on the left and white on the right, as PNG and as (H, W, 3) uint8."""
    rgb = np.zeros((height, width, 3), np.uint8)
    rgb[:, width // 2 :] = 255
    buffer = io.BytesIO()
    Image.fromarray(rgb).save(buffer, "PNG")
    return buffer.getvalue(), rgb


def opened(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)))


def test_a_cutout_has_the_sources_size_and_no_colour_where_alpha_is_zero(
    pipeline: Pipeline,
) -> None:
    data, rgb = half_white_png()
    outcome = remove_one(pipeline, EncodedSource(data), Options()).outcome
    rgba = opened(outcome.encoded.data)
    assert rgba.shape == (*rgb.shape[:2], 4)
    assert rgba[33, 5].tolist() == [0, 0, 0, 0]
    assert rgba[33, 95].tolist() == [255, 255, 255, 255]
    assert not rgba[rgba[..., 3] == 0].any()


def test_the_report_tells_box_coverage_and_size(pipeline: Pipeline) -> None:
    data, _ = half_white_png(width=200, height=100)
    removed = remove_one(pipeline, EncodedSource(data), Options())
    outcome = removed.outcome
    assert (removed.opened.width, removed.opened.height) == (200, 100)
    assert removed.opened.format == "png"
    left, top, right, bottom = outcome.statistics.box or (0, 0, 0, 0)
    assert abs(left - 100) <= 4
    assert (top, right, bottom) == (0, 200, 100)
    assert outcome.statistics.coverage == pytest.approx(0.5, abs=0.03)


def test_a_black_picture_has_no_subject(pipeline: Pipeline) -> None:
    source = RawSource(bytes(40 * 30 * 3), PixelFormat.RGB8, width=40, height=30)
    outcome = remove_one(pipeline, source, Options(output=Output.ALPHA, format=Format.RAW)).outcome
    assert outcome.statistics.box is None
    assert outcome.encoded.data == bytes(40 * 30)


def test_a_composite_shows_the_colour_where_alpha_is_zero(
    pipeline: Pipeline,
) -> None:
    data, _ = half_white_png()
    options = Options(
        output=Output.COMPOSITE, format=Format.JPEG, quality=95, background=Color(250, 0, 0)
    )
    outcome = remove_one(pipeline, EncodedSource(data), options).outcome
    assert outcome.encoded.media_type == "image/jpeg"
    bgr = cv2.imdecode(np.frombuffer(outcome.encoded.data, np.uint8), cv2.IMREAD_COLOR)
    assert np.abs(bgr[33, 5].astype(int) - [0, 0, 250]).max() <= 6


def test_what_was_transparent_stays_transparent(pipeline: Pipeline) -> None:
    rgba = np.full((50, 60, 4), 255, np.uint8)
    rgba[:, :30, 3] = 0
    source = RawSource(rgba.tobytes(), PixelFormat.RGBA8, width=60, height=50)
    outcome = remove_one(pipeline, source, Options(output=Output.ALPHA, format=Format.RAW)).outcome
    alpha = np.frombuffer(outcome.encoded.data, np.uint8).reshape(50, 60)
    assert not alpha[:, :30].any()
    assert (alpha[:, 30:] == 255).all()


def test_the_network_sees_transparent_pixels_as_white(brightness: Model) -> None:
    rgba = np.zeros((64, 64, 4), np.uint8)  # black under full transparency
    source = RawSource(rgba.tobytes(), PixelFormat.RGBA8, width=64, height=64)
    tensor = HostPipeline(brightness, LIMITS).open(source, Options()).tensor
    alphas = brightness.run(tensor)
    assert alphas.min() > 0.99


@pytest.mark.parametrize("output", [Output.CUTOUT, Output.ALPHA])
@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 1), (17, 33)])
def test_odd_sizes_come_back_at_their_own_size(
    pipeline: Pipeline, size: tuple[int, int], output: Output
) -> None:
    width, height = size
    source = RawSource(bytes([255]) * (width * height * 3), PixelFormat.RGB8, width, height)
    outcome = remove_one(pipeline, source, Options(output=output)).outcome
    assert opened(outcome.encoded.data).shape[:2] == (height, width)


def test_stages_are_timed(pipeline: Pipeline) -> None:
    data, _ = half_white_png()
    removed = remove_one(pipeline, EncodedSource(data), Options())
    stages = (
        removed.opened.decode_ms,
        removed.opened.prepare_ms,
        removed.infer_ms,
        removed.outcome.finish_ms,
        removed.outcome.encode_ms,
    )
    assert all(ms > 0 for ms in stages)


def test_a_bad_image_is_refused_and_the_next_one_works(
    pipeline: Pipeline,
) -> None:
    with pytest.raises(ImageRejected):
        remove_one(pipeline, EncodedSource(b"not a picture"), Options())
    data, _ = half_white_png()
    assert remove_one(pipeline, EncodedSource(data), Options()).outcome.encoded.data


@pytest.mark.parametrize("output", [Output.ALPHA, Output.MASK])
def test_an_alpha_alone_is_the_same_whether_its_jpeg_was_decoded_whole_or_smaller(
    brightness: Model, output: Output
) -> None:
    pipeline = HostPipeline(brightness, LIMITS)
    y, x = np.mgrid[0:1000, 0:1600]
    grey = np.clip(128 + 160 * np.sin(x / 190) * np.cos(y / 130), 0, 255).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(grey).convert("RGB").save(file, "JPEG", quality=95)
    source = EncodedSource(file.getvalue())
    form = Format.RAW if output is Output.ALPHA else Format.RLE
    lean = Options(output=output, format=form, refine=Refine.OFF)
    # A wish that changes nothing but needs the pixels: the picture is small enough already.
    whole = replace(lean, max_megapixels=5)
    small, large = (pipeline.open(source, options) for options in (lean, whole))
    assert small.decoded.rgb.size < large.decoded.rgb.size / 3
    assert (small.width, small.height) == (large.width, large.height) == (1600, 1000)
    alphas = []
    for opened, options in ((small, lean), (large, whole)):
        (answer,) = pipeline.run([opened])
        outcome = pipeline.close(
            opened, answer, replace(options, output=Output.ALPHA, format=Format.RAW)
        )
        encoded = outcome.encoded
        assert isinstance(encoded, Encoded)
        alphas.append(np.frombuffer(encoded.data, np.uint8).reshape(1000, 1600).astype(int))
    assert np.abs(alphas[0] - alphas[1]).max() <= 4
    assert np.abs(alphas[0] - alphas[1]).mean() <= 1


@pytest.mark.parametrize(
    "wish",
    [
        {"output": Output.CUTOUT, "format": Format.PNG},
        {"refine": Refine.FAST},
        {"refine": None},
        {"max_megapixels": 1.0},
        {"flat_background": FlatBackground(FlatUse.AUTO)},
    ],
    ids=lambda wish: next(reversed(wish)),
)
def test_whoever_looks_at_the_pixels_gets_all_of_them(wish: dict[str, object]) -> None:
    lean = Options(output=Output.ALPHA, format=Format.RAW, refine=Refine.OFF)
    assert not needs_colours(lean)
    assert needs_colours(replace(lean, **wish))  # type: ignore[arg-type]
