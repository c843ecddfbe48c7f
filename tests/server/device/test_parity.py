"""What a GPU answers is what the CPU answers, to a level or two: same model, same picture."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from server.device_pipeline import DevicePipeline
from server.host_pipeline import HostPipeline
from server.job import (
    Color,
    ColorMatrix,
    EncodedSource,
    Format,
    Options,
    Output,
    PixelFormat,
    RawSource,
    Source,
)
from server.pipeline import remove_one
from tests.server.device.conftest import OnDevice, on_device, on_host

# Alphas: the CPU rounds the network's alpha to 8 bits before it resizes, the kernel after.
# Colours: a composite weighs with that alpha.
LEVELS = 2
# Chroma: OpenCV rounds RGB to 8 bits before it averages, the kernel does not round at all.
CHROMA_LEVELS = 3


@pytest.fixture(scope="module")
def host(folder: Path) -> Iterator[HostPipeline]:
    pipeline, model = on_host(folder)
    yield pipeline
    model.close()


@pytest.fixture(scope="module")
def device(folder: Path) -> Iterator[DevicePipeline]:
    for made in on_device(folder, "brightness"):
        yield made.pipeline


def scene(width: int = 97, height: int = 61) -> np.ndarray:
    """(H, W, 3): smooth colours from dark to light, with an edge."""
    y, x = np.mgrid[0:height, 0:width]
    rgb = np.stack([255 * x / width, 255 * y / height, 128 + 100 * np.sin(x / 9)], axis=-1)
    rgb[height // 3 : height // 2, width // 4 : width // 2] = (250, 240, 230)
    return rgb.clip(0, 255).astype(np.uint8)


def file_of(rgb: np.ndarray, kind: str, **settings: object) -> EncodedSource:
    buffer = io.BytesIO()
    Image.fromarray(rgb).save(buffer, kind, **settings)
    return EncodedSource(buffer.getvalue())


def pixels_of(pipeline: object, source: Source, options: Options) -> np.ndarray:
    data = remove_one(pipeline, source, options).outcome.encoded  # type: ignore[arg-type]
    if data.media_type is not None:
        return np.asarray(Image.open(io.BytesIO(data.data)))
    shape = (data.height, data.width, -1)
    return np.frombuffer(data.data, np.uint8).reshape(shape)


def differ(host: HostPipeline, device: DevicePipeline, source: Source, options: Options) -> int:
    """The largest difference in levels."""
    expected, seen = (pixels_of(each, source, options) for each in (host, device))
    assert seen.shape == expected.shape
    assert seen.std() > 1, "a flat result compares nothing"
    return int(np.abs(expected.astype(int) - seen.astype(int)).max())


RAW = {"format": Format.RAW}
OPTIONS = {
    "alpha": Options(output=Output.ALPHA, **RAW),
    "alpha as a PNG": Options(output=Output.ALPHA),
    "cutout": Options(**RAW),
    "on an opaque colour": Options(output=Output.COMPOSITE, background=Color(20, 200, 90), **RAW),
    "on a translucent colour": Options(
        output=Output.COMPOSITE, background=Color(20, 200, 90, 100), **RAW
    ),
    "on a colour that is not there": Options(
        output=Output.COMPOSITE, background=Color(20, 200, 90, 0), **RAW
    ),
}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize("size", [(97, 61), (1, 1), (3, 200), (260, 190)])
def test_every_output_is_the_cpus(
    host: HostPipeline, device: DevicePipeline, options: Options, size: tuple[int, int]
) -> None:
    rgb = scene(*size) if size != (1, 1) else np.full((1, 1, 3), (180, 90, 20), np.uint8)
    source = RawSource(rgb.tobytes(), PixelFormat.RGB8, *size)
    expected, seen = (pixels_of(each, source, options) for each in (host, device))
    assert seen.shape == expected.shape
    assert np.abs(expected.astype(int) - seen.astype(int)).max() <= LEVELS


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_every_file_type_is_the_cpus(host: HostPipeline, device: DevicePipeline, kind: str) -> None:
    assert differ(host, device, file_of(scene(), kind), Options(**RAW)) <= LEVELS


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_turned_photos_are_the_cpus(
    host: HostPipeline, device: DevicePipeline, orientation: int
) -> None:
    exif = Image.Exif()
    exif[274] = orientation
    source = file_of(scene(), "JPEG", exif=exif)
    assert differ(host, device, source, Options(**RAW)) <= LEVELS


def test_a_pictures_own_alpha_is_kept_as_on_the_cpu(
    host: HostPipeline, device: DevicePipeline
) -> None:
    alpha = np.linspace(0, 255, 61 * 97).astype(np.uint8).reshape(61, 97, 1)
    source = file_of(np.concatenate([scene(), alpha], axis=-1), "PNG")
    assert differ(host, device, source, Options(**RAW)) <= LEVELS
    assert differ(host, device, source, OPTIONS["alpha"]) <= LEVELS


@pytest.mark.parametrize("padding", [0, 5])
@pytest.mark.parametrize("kind", list(PixelFormat), ids=lambda kind: kind.name)
def test_raw_pixels_of_every_layout_are_the_cpus(
    host: HostPipeline, device: DevicePipeline, kind: PixelFormat, padding: int
) -> None:
    width, height = 96, 60
    source = raw(kind, width, height, padding)
    levels = CHROMA_LEVELS if kind in (PixelFormat.NV12, PixelFormat.I420) else LEVELS
    assert differ(host, device, source, Options(**RAW)) <= levels


@pytest.mark.parametrize("matrix", [ColorMatrix.BT601, ColorMatrix.BT709])
@pytest.mark.parametrize("full_range", [False, True])
def test_colour_matrices_are_the_cpus(
    host: HostPipeline, device: DevicePipeline, matrix: ColorMatrix, full_range: bool
) -> None:
    plain = raw(PixelFormat.NV12, 96, 60, 0)
    source = RawSource(plain.data, plain.format, 96, 60, color_matrix=matrix, full_range=full_range)
    assert differ(host, device, source, Options(**RAW)) <= CHROMA_LEVELS


def test_a_zip_holds_the_pictures_colours_and_the_alpha(
    host: HostPipeline, device: DevicePipeline
) -> None:
    for source in (file_of(scene(), "PNG"), raw(PixelFormat.NV12, 96, 60, 0)):
        found = []
        for pipeline in (host, device):
            data = remove_one(pipeline, source, Options(format=Format.ZIP)).outcome.encoded.data
            with zipfile.ZipFile(io.BytesIO(data)) as archive:
                found.append(
                    [
                        np.asarray(Image.open(archive.open(name))).astype(int)
                        for name in ("color.jpg", "alpha.png")
                    ]
                )
        (color, alpha), (device_color, device_alpha) = found
        assert np.array_equal(color, device_color)
        assert np.abs(alpha - device_alpha).max() <= LEVELS


def test_metadata_travels_as_on_the_cpu(device: DevicePipeline) -> None:
    source = file_of(scene(), "JPEG", dpi=(300, 300))
    data = remove_one(device, source, Options(keep_metadata=True)).outcome.encoded.data
    assert Image.open(io.BytesIO(data)).info["dpi"] == pytest.approx((300, 300), abs=0.1)


def test_the_report_is_the_cpus(host: HostPipeline, device: DevicePipeline) -> None:
    source = file_of(scene(320, 240), "PNG")
    expected, seen = (remove_one(each, source, Options()) for each in (host, device))
    assert (seen.opened.width, seen.opened.height) == (320, 240)
    assert (seen.opened.format, seen.opened.notes) == (expected.opened.format, ())
    ours, theirs = seen.outcome.statistics, expected.outcome.statistics
    assert ours.coverage == pytest.approx(theirs.coverage, abs=0.005)
    assert ours.uncertainty == pytest.approx(theirs.uncertainty, abs=0.01)
    assert ours.box is not None
    assert theirs.box is not None
    assert np.abs(np.subtract(ours.box, theirs.box)).max() <= 2


def test_letterbox_bars_are_cut_out_as_on_the_cpu(folder: Path) -> None:
    host, model = on_host(folder, "boxed")
    for made in on_device(folder, "boxed"):
        for size in ((200, 50), (50, 200)):
            source = RawSource(scene(*size).tobytes(), PixelFormat.RGB8, *size)
            # Two logits and softmax with a steep slope: a level of input is several of alpha.
            assert differ(host, made.pipeline, source, OPTIONS["alpha"]) <= 8
    model.close()


def raw(kind: PixelFormat, width: int, height: int, padding: int) -> RawSource:
    """A scene in that layout, each row followed by `padding` bytes of 77."""
    rgb = scene(width, height)
    luma = rgb.mean(axis=-1).astype(np.uint8)
    half = rgb[::2, ::2]
    match kind:
        case PixelFormat.RGB8:
            planes = [rgb.reshape(height, -1)]
        case PixelFormat.BGR8:
            planes = [rgb[..., ::-1].reshape(height, -1)]
        case PixelFormat.RGBA8:
            alpha = np.linspace(0, 255, width * height).astype(np.uint8)
            planes = [np.dstack([rgb, alpha.reshape(height, width)]).reshape(height, -1)]
        case PixelFormat.GRAY8:
            planes = [luma]
        case PixelFormat.NV12:
            planes = [luma, half[..., :2].reshape(height // 2, -1)]
        case PixelFormat.I420:
            planes = [luma, half[..., 0], half[..., 1]]
    padded = [np.pad(plane, ((0, 0), (0, padding)), constant_values=77) for plane in planes]
    data = b"".join(np.ascontiguousarray(plane).tobytes() for plane in padded)
    return RawSource(data, kind, width, height, strides=tuple(p.shape[1] for p in padded))


def test_many_pictures_of_different_sizes_in_one_batch_keep_apart(brightness: OnDevice) -> None:
    pipeline = brightness.pipeline
    shades = [(40, 30, 0), (64, 64, 255), (7, 90, 128)]
    options = Options(output=Output.ALPHA, format=Format.RAW)
    seats = [pipeline.seat() for _ in shades]
    slots = [seat.__enter__() for seat in seats]
    opened = [
        pipeline.open(
            RawSource(bytes([shade]) * (3 * width * height), PixelFormat.RGB8, width, height),
            options,
            slot,
        )
        for (width, height, shade), slot in zip(shades, slots, strict=True)
    ]
    answers = pipeline.run(opened)
    for (width, height, shade), image, answer in zip(shades, opened, answers, strict=True):
        outcome = pipeline.close(image, answer, options)
        assert (outcome.encoded.width, outcome.encoded.height) == (width, height)
        assert set(outcome.encoded.data) == {shade}
    for seat in seats:
        seat.__exit__(None, None, None)
