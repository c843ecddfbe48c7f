"""Masks as run lengths and polygons, pictures as tensors: by both pipelines, alone and in streams.

The model's alpha is the picture's brightness, so a picture's own shades are its alpha.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import grpc
import numpy as np
import pytest

from mattestream.v1 import image_pb2, options_pb2, removal_pb2
from models.device_model import DeviceModel
from models.model import Model
from models.registry import Registry
from server import replies
from server.admission import BYTES_PER_PIXEL_OF
from server.codecs.header import Limits
from server.device_pipeline import DevicePipeline
from server.host_pipeline import HostPipeline
from server.job import Format, Output, PixelFormat, RawSource
from server.option_rules import InvalidOption
from server.options import read_options
from server.pipeline import Pipeline, remove_one
from tests.fakes.emulated_engine import EmulatedRegistry
from tests.fakes.tiny_onnx import write_tiny_model
from tests.kernels.cuda.tools import missing
from tests.server.fakes import frame_message, picture, request
from tests.server.serving import Serve, Served
from tests.server.streaming import open_stream, read_all

O = options_pb2  # noqa: E741
LIMITS = Limits(max_megapixels=10, max_side_px=5000)
PLAIN = O.Edges(refine=O.REFINE_OFF)
SHAPES = (O.OUTPUT_MASK_RLE, O.OUTPUT_POLYGONS, O.OUTPUT_TENSOR)
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
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
    if request.param == "host":
        return HostPipeline(request.getfixturevalue("brightness"), LIMITS)
    return DevicePipeline(request.getfixturevalue("emulated"), LIMITS)


def scene() -> RawSource:
    """A bright disc with a dark one in it, on dark: 192 x 128 pixels."""
    rgb = np.full((128, 192, 3), 20, np.uint8)
    cv2.circle(rgb, (90, 64), 50, (250, 240, 220), -1)
    cv2.circle(rgb, (95, 60), 15, (20, 20, 20), -1)
    return RawSource(rgb.tobytes(), PixelFormat.RGB8, 192, 128)


def result_of(pipeline: Pipeline, options: O.RemoveOptions) -> image_pb2.Result:
    """What the pipeline makes of the scene, as a caller gets it: by its model, though drawn."""
    options.flat_background.use = O.FLAT_BACKGROUND_USE_OFF
    made = remove_one(pipeline, scene(), read_options(options, stream=False))
    result = image_pb2.Result()
    replies.fill_result(result, made.outcome)
    return result


def pixels_of(pipeline: Pipeline, options: O.RemoveOptions) -> np.ndarray:
    """(H, W, C), the same as raw pixels."""
    options.format = O.FORMAT_RAW
    raw = result_of(pipeline, options).raw
    return np.frombuffer(raw.data, np.uint8).reshape(raw.layout.height, raw.layout.width, -1)


def mask_of(pipeline: Pipeline, edges: O.Edges = PLAIN) -> np.ndarray:
    """(H, W) bool: where the alpha of those edges is at least one half."""
    alpha = pixels_of(pipeline, O.RemoveOptions(output=O.OUTPUT_ALPHA, edges=edges))
    return alpha[..., 0] >= 128


def decoded(rle: image_pb2.MaskRle) -> np.ndarray:
    """(H, W) bool, one character at a time as COCO has it."""
    runs, at, value, shift = [], 0, 0, 0
    for at in range(len(rle.counts)):
        bits = ord(rle.counts[at]) - 48
        value |= (bits & 31) << shift
        shift += 5
        if not bits & 32:
            value -= (bits & 16) and 1 << shift
            runs.append(value + (runs[-2] if len(runs) > 2 else 0))
            value = shift = 0
    flat = np.repeat(np.arange(len(runs)) % 2, runs)
    return flat.reshape(rle.width, rle.height).T.astype(bool)


def painted(polygons: image_pb2.Polygons) -> np.ndarray:
    """(H, W) bool, by OpenCV on a grid 16 times as fine, whose painted rims count for little."""
    fine = np.zeros((polygons.height * 16, polygons.width * 16), np.uint8)
    outlines = [np.int32(np.reshape(each.points, (-1, 2)) * 16) for each in polygons.polygons]
    cv2.fillPoly(fine, outlines, 255)
    size = (polygons.width, polygons.height)
    return cv2.resize(fine, size, interpolation=cv2.INTER_AREA) >= 128


def test_run_lengths_are_the_mask_of_the_alpha(pipeline: Pipeline) -> None:
    result = result_of(pipeline, O.RemoveOptions(output=O.OUTPUT_MASK_RLE, edges=PLAIN))
    assert (result.width, result.height) == (192, 128)
    assert np.array_equal(decoded(result.mask_rle), mask_of(pipeline))


def test_a_threshold_moves_the_masks_edge(pipeline: Pipeline) -> None:
    edges = O.Edges(refine=O.REFINE_OFF, threshold=0.9)
    rle = result_of(pipeline, O.RemoveOptions(output=O.OUTPUT_MASK_RLE, edges=edges)).mask_rle
    assert np.array_equal(decoded(rle), mask_of(pipeline, edges))
    assert decoded(rle).sum() < mask_of(pipeline).sum()


def test_polygons_painted_by_opencv_are_the_mask(pipeline: Pipeline) -> None:
    options = O.RemoveOptions(output=O.OUTPUT_POLYGONS, edges=PLAIN)
    polygons = result_of(pipeline, options).polygons
    mask, back = mask_of(pipeline), painted(polygons)
    assert (mask & back).sum() / (mask | back).sum() > 0.99
    assert [polygon.hole for polygon in polygons.polygons] == [False, True]


def test_without_a_subject_masks_are_empty_but_have_their_size(brightness: Model) -> None:
    host = HostPipeline(brightness, LIMITS)
    dark = RawSource(bytes(30 * 40 * 3), PixelFormat.RGB8, 40, 30)
    for output in (O.OUTPUT_MASK_RLE, O.OUTPUT_POLYGONS):
        options = read_options(O.RemoveOptions(output=output), stream=False)
        result = image_pb2.Result()
        replies.fill_result(result, remove_one(host, dark, options).outcome)
        kind = result.WhichOneof("data")
        assert (getattr(result, kind).width, getattr(result, kind).height) == (40, 30)
        assert result.polygons.polygons == []
        assert kind == "polygons" or not decoded(result.mask_rle).any()


@pytest.mark.parametrize(
    ("kind", "dtype", "off"),
    [(image_pb2.TENSOR_TYPE_FP32, "<f4", 1e-6), (image_pb2.TENSOR_TYPE_FP16, "<f2", 2e-3)],
)
def test_a_float_tensor_is_the_normalised_composite(
    pipeline: Pipeline, kind: int, dtype: str, off: float
) -> None:
    behind = O.Background(color="teal")
    options = O.RemoveOptions(
        output=O.OUTPUT_TENSOR,
        background=behind,
        edges=PLAIN,
        tensor=O.TensorOptions(type=kind, mean=MEAN, std=STD),  # type: ignore[arg-type]
    )
    tensor = result_of(pipeline, options).tensor
    assert (tensor.type, list(tensor.shape)) == (kind, [1, 3, 128, 192])
    values = np.frombuffer(tensor.data, dtype).reshape(tensor.shape)
    same = O.RemoveOptions(output=O.OUTPUT_COMPOSITE, background=behind, edges=PLAIN)
    truth = ((pixels_of(pipeline, same) / 255 - MEAN) / STD).transpose(2, 0, 1)[None]
    assert np.abs(values - truth).max() <= off


def test_a_uint8_tensor_has_the_composites_pixels_on_neutral_grey(pipeline: Pipeline) -> None:
    wish = O.TensorOptions(type=image_pb2.TENSOR_TYPE_UINT8)
    options = O.RemoveOptions(output=O.OUTPUT_TENSOR, tensor=wish, edges=PLAIN)
    tensor = result_of(pipeline, options).tensor
    same = O.RemoveOptions(
        output=O.OUTPUT_COMPOSITE, background=O.Background(color="#808080"), edges=PLAIN
    )
    assert list(tensor.shape) == [128, 192, 3]
    assert tensor.data == pixels_of(pipeline, same).tobytes()


def test_a_tensor_takes_the_colours_treatment(pipeline: Pipeline) -> None:
    plain, clean = (
        O.RemoveOptions(
            output=O.OUTPUT_TENSOR, edges=PLAIN, foreground=O.Foreground(decontaminate=strength)
        )
        for strength in (0, 1)
    )
    is_same = result_of(pipeline, plain).tensor == result_of(pipeline, clean).tensor
    assert not is_same


@pytest.mark.parametrize("circle", [False, True])
def test_a_masks_crop_is_that_of_the_alpha(pipeline: Pipeline, circle: bool) -> None:
    crop = O.Crop(canvas_width=64, canvas_height=48, circle=circle)
    alpha = pixels_of(pipeline, O.RemoveOptions(output=O.OUTPUT_ALPHA, edges=PLAIN, crop=crop))
    rle = result_of(pipeline, O.RemoveOptions(output=O.OUTPUT_MASK_RLE, edges=PLAIN, crop=crop))
    assert np.array_equal(decoded(rle.mask_rle), alpha[..., 0] >= 128)
    assert decoded(rle.mask_rle).shape == (48, 64)


def test_a_tensors_crop_and_shadow_are_those_of_the_composite(pipeline: Pipeline) -> None:
    looks = {
        "crop": O.Crop(canvas_width=64, canvas_height=64),
        "shadow": O.Shadow(kind=O.SHADOW_KIND_DROP),
        "background": O.Background(blur=O.BackgroundBlur()),
        "edges": PLAIN,
    }
    wish = O.TensorOptions(type=image_pb2.TENSOR_TYPE_UINT8)
    options = O.RemoveOptions(output=O.OUTPUT_TENSOR, tensor=wish, **looks)  # type: ignore[arg-type]
    same = O.RemoveOptions(output=O.OUTPUT_COMPOSITE, **looks)  # type: ignore[arg-type]
    tensor = result_of(pipeline, options).tensor
    assert list(tensor.shape) == [64, 64, 3]
    assert tensor.data == pixels_of(pipeline, same).tobytes()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"output": O.OUTPUT_MASK_RLE, "format": O.FORMAT_PNG}, "FORMAT_PNG, but OUTPUT_MASK_RLE"),
        ({"output": O.OUTPUT_POLYGONS, "format": O.FORMAT_RAW}, "leave format unset"),
        ({"output": O.OUTPUT_TENSOR, "format": O.FORMAT_RAW}, "has a form of its own"),
        ({"output": O.OUTPUT_TENSOR, "quality": 5}, "quality is 5"),
        ({"output": O.OUTPUT_MASK_RLE, "keep_metadata": True}, "keep_metadata is set"),
        ({"output": O.OUTPUT_POLYGONS, "background": O.Background(color="red")}, "is mask"),
        (
            {"output": O.OUTPUT_MASK_RLE, "foreground": O.Foreground(decontaminate=1)},
            "has no colours",
        ),
        ({"output": O.OUTPUT_TENSOR, "background": O.Background(color="#ff000080")}, "no alpha"),
        ({"output": O.OUTPUT_TENSOR, "crop": O.Crop(circle=True)}, "outside of crop.circle"),
        (
            {"output": O.OUTPUT_POLYGONS, "shadow": O.Shadow(kind=O.SHADOW_KIND_DROP)},
            "about the subject's shape",
        ),
        ({"tensor": O.TensorOptions(mean=MEAN)}, "tensor.mean is set, but the output is cutout"),
        ({"output": O.OUTPUT_TENSOR, "tensor": O.TensorOptions(mean=[1, 2])}, "mean has 2 values"),
        ({"output": O.OUTPUT_TENSOR, "tensor": O.TensorOptions(std=[1, 0, 1])}, "may be 0"),
        (
            {
                "output": O.OUTPUT_TENSOR,
                "tensor": O.TensorOptions(type=image_pb2.TENSOR_TYPE_UINT8, std=STD),
            },
            "UINT8 holds the pixels as they are",
        ),
    ],
)
def test_what_a_form_has_no_place_for_is_refused(options: dict[str, object], sentence: str) -> None:
    with pytest.raises(InvalidOption, match=sentence):
        read_options(O.RemoveOptions(**options), stream=False)  # type: ignore[arg-type]


def test_streams_take_the_same_forms() -> None:
    for output in SHAPES:
        flat = O.FlatBackground(use=O.FLAT_BACKGROUND_USE_OFF)  # by default on for images only
        options = O.RemoveOptions(output=output, flat_background=flat)
        single = replace(read_options(options, stream=False))
        assert read_options(options, stream=True) == single
        assert not single.output.has_pixels
    assert single.output is Output.TENSOR


def test_a_tensor_counts_with_the_memory_that_its_floats_take() -> None:
    assert BYTES_PER_PIXEL_OF[Format.TENSOR] > 4 * 12


async def test_each_form_comes_over_the_wire(served: Served) -> None:
    for output, kind in zip(SHAPES, ("mask_rle", "polygons", "tensor"), strict=True):
        reply = await served.removal.Remove(
            request(picture(96, 64), O.RemoveOptions(output=output))
        )
        assert reply.result.WhichOneof("data") == kind
        assert (reply.result.width, reply.result.height) == (96, 64)
        assert reply.report.coverage == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize("output", SHAPES)
async def test_each_form_comes_in_streams(served: Served, output: O.Output.ValueType) -> None:
    stream, _ = await open_stream(served, options=O.RemoveOptions(output=output))
    for number in range(3):
        await stream.write(frame_message(number, picture(64, 48 + number)))
    await stream.done_writing()
    frames = await read_all(stream)
    assert [frame.result.height for frame in frames] == [48, 49, 50]
    assert len({frame.result.WhichOneof("data") for frame in frames}) == 1


@pytest.mark.parametrize("output", SHAPES)
async def test_shared_memory_takes_none_of_them(serve: Serve, output: O.Output.ValueType) -> None:
    async with serve(shared_memory=("mstest-",)) as served:
        ask = removal_pb2.RemoveRequest(
            image=request(picture()).image,
            options=O.RemoveOptions(
                output=output,
                shared_memory_output=image_pb2.SharedMemoryRange(name="mstest-x", byte_size=9),
            ),
        )
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await served.removal.Remove(ask)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "comes in the reply" in str(caught.value.details())
