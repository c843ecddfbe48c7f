"""Masks and tensors as the client and the command line give them, made by the real pipeline."""

from __future__ import annotations

import json

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from mattestream.cli.root import cli
from mattestream.errors import InvalidRequest, MattestreamError, ServerError
from mattestream.reply import removal
from mattestream.request import build_options
from mattestream.shapes import coco_polygons, rle_area, rle_mask, rle_runs
from mattestream.v1 import image_pb2, removal_pb2
from tests.fakes.tiny_onnx import write_tiny_model


def answer(**data):
    return removal_pb2.RemoveResponse(result=image_pb2.Result(width=3, height=2, **data))


@pytest.fixture
def remove(tmp_path):
    """The command on a picture whose left half is white, which is the subject."""
    pixels = np.zeros((20, 30, 3), np.uint8)
    pixels[:, :15] = 255
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    models = tmp_path / "models"
    models.mkdir()
    write_tiny_model(models)

    def run(*arguments):
        flags = ["--model", "tiny", "--model-dir", str(models), "--refine", "off"]
        command = ["remove", str(tmp_path / "photo.png"), *map(str, arguments), *flags]
        return CliRunner().invoke(cli, command, catch_exceptions=False)

    return run


# Worked out by hand, as the server's tests of the same strings are.
@pytest.mark.parametrize(
    ("counts", "runs"), [("04", [0, 4]), ("`0", [16]), ("61X13mNM", [6, 1, 40, 4, 5, 1])]
)
def test_a_string_of_run_lengths_is_read(counts, runs):
    assert rle_runs({"size": [1, 1], "counts": counts}) == runs


def test_a_mask_is_read_column_by_column():
    rle = {"size": [2, 3], "counts": "023O"}  # runs of 0, 2, 3 and 2 - 1
    assert rle_mask(rle).tolist() == [[1, 0, 0], [1, 0, 1]]
    assert rle_area(rle) == 3
    with pytest.raises(ValueError, match="the mask is 3x2"):
        rle_mask({**rle, "counts": "02"})


def test_a_tensor_is_an_array_and_its_data_numpys_file(tmp_path):
    values = np.arange(6, dtype="<f2").reshape(1, 3, 1, 2)
    message = image_pb2.Tensor(
        type=image_pb2.TENSOR_TYPE_FP16, shape=values.shape, data=values.tobytes()
    )
    result = removal(answer(tensor=message))
    assert np.array_equal(result.tensor, values)
    assert result.tensor.dtype == values.dtype
    result.save(tmp_path / "values.npy")
    assert np.array_equal(np.load(tmp_path / "values.npy"), values)


@pytest.mark.parametrize("fields", [{"data": bytes(5)}, {"type": 9}, {"shape": [-1, 6]}])
def test_a_tensor_that_contradicts_itself_is_the_servers_fault(fields):
    right = {"type": 3, "shape": [1, 2, 3], "data": bytes(6)}
    with pytest.raises(ServerError, match="do not fit together"):
        removal(answer(tensor=image_pb2.Tensor(**{**right, **fields})))


def test_a_mask_is_no_picture_and_says_where_to_look():
    result = removal(answer(mask_rle=image_pb2.MaskRle(height=2, width=3, counts="023O")))
    with pytest.raises(MattestreamError, match=r"read \.rle"):
        result.array()
    assert result.extension == ".json"


def test_the_keywords_reach_the_message():
    options = build_options(
        output="tensor", tensor_type="fp16", tensor_mean="0.5,0.25,0.125", tensor_std=(1, 2, 4)
    )
    assert options.tensor.type == image_pb2.TENSOR_TYPE_FP16
    assert list(options.tensor.mean) == [0.5, 0.25, 0.125]
    assert list(options.tensor.std) == [1, 2, 4]
    assert not options.HasField("background")


@pytest.mark.parametrize(
    "keywords", [{"tensor_type": "int8"}, {"tensor_mean": "a,b"}, {"tensor_std": 3}]
)
def test_what_is_no_tensor_is_said_so(keywords):
    with pytest.raises(InvalidRequest, match="tensor_"):
        build_options(output="tensor", **keywords)


def test_the_command_writes_run_lengths(remove, tmp_path):
    assert remove("-o", tmp_path / "out", "--output", "rle").exit_code == 0
    mask = rle_mask(json.loads((tmp_path / "out" / "photo.json").read_text()))
    assert mask.shape == (20, 30)
    assert mask[:, :14].all()
    assert not mask[:, 16:].any()


def test_the_command_writes_polygons(remove, tmp_path):
    assert remove("-o", tmp_path / "photo.json", "--output", "polygons").exit_code == 0
    made = json.loads((tmp_path / "photo.json").read_text())
    assert made["size"] == [20, 30]
    (points,) = coco_polygons(made["polygons"])
    assert max(points[::2]) == pytest.approx(15, abs=1)


def test_the_command_writes_tensors(remove, tmp_path):
    flags = ("--tensor-mean", "0.5,0.5,0.5", "--tensor-std", "0.5,0.5,0.5")
    assert remove("-o", tmp_path / "photo.npy", "--output", "tensor", *flags).exit_code == 0
    tensor = np.load(tmp_path / "photo.npy")
    assert (tensor.shape, tensor.dtype) == ((1, 3, 20, 30), np.float32)
    assert tensor[0, :, 10, 2].min() > 0.95
    assert np.abs(tensor[0, :, 10, 28]).max() < 0.01  # neutral grey


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("-o", "photo.png", "--output", "rle"), "makes .json files"),
        (("-o", "out", "--output", "tensor", "--format", "png"), "leave --format out"),
        (("-o", "photo.npy"), "can hold tensor"),
        (("-o", "photo.json", "--output", "alpha"), "can hold rle, polygons"),
    ],
)
def test_a_file_that_cannot_hold_the_output_is_a_wrong_command_line(remove, arguments, sentence):
    result = remove(*arguments)
    assert result.exit_code == 2
    assert sentence in " ".join(result.output.split())
