"""`mattestream models build` without a GPU, with TensorRT-RTX where it is installed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from click.testing import CliRunner

from mattestream.cli.root import cli
from models import tensorrt_library
from tests.fakes.recurrent_onnx import write_pan
from tests.fakes.tiny_onnx import write_tiny_model


@pytest.fixture
def build(tmp_path: Path, monkeypatch):
    write_tiny_model(tmp_path, max_batch=4)
    write_tiny_model(tmp_path, "private", license="CC-BY-NC-4.0", commercial_use=False)
    monkeypatch.setattr(tensorrt_library, "count_cuda_devices", lambda: 0)

    def run(*arguments: str):
        flags = ["--model-dir", str(tmp_path), "--cache-dir", str(tmp_path / "cache")]
        command = ["models", "build", *arguments, *flags]
        return CliRunner().invoke(cli, command, catch_exceptions=False)

    return run


@pytest.fixture
def rtx():
    if reason := tensorrt_library.missing("tensorrt-rtx"):
        if os.environ.get("CI") == "true":
            pytest.fail(f"CI must build real plans, but {reason}")
        pytest.skip(f"real plans cannot be built here: {reason}")


@pytest.mark.usefixtures("rtx")
def test_without_a_gpu_the_plan_is_built_and_not_run(build):
    result = build("tiny", "--precision", "fp32", "--engine-library", "tensorrt-rtx")
    assert result.exit_code == 0, result.output
    what, where, run = result.stdout.splitlines()
    assert what.startswith("tiny: fp32 plan for batches of 1, 2, 4 by tensorrt-rtx 1.")
    assert Path(where.split(" (")[0]).is_file()
    assert "MiB, built in " in where
    assert run == "built, not run: no GPU here, so its accuracy has not been measured"


@pytest.mark.usefixtures("rtx")
def test_a_recurrent_model_is_built_for_one_frame_at_a_time(build, tmp_path):
    write_pan(tmp_path)
    result = build("pan", "--engine-library", "tensorrt-rtx")
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("pan: fp16 plan for batches of 1 by tensorrt-rtx 1.")


@pytest.mark.usefixtures("rtx")
def test_the_second_build_finds_the_first_unless_it_is_forced(build):
    arguments = ("tiny", "--batch", "2,1", "--engine-library", "tensorrt-rtx")
    assert "batches of 1, 2 by" in build(*arguments).stdout
    assert "was there already" in build(*arguments).stdout
    assert "built in " in build(*arguments, "--force").stdout


def test_a_library_that_is_not_there_is_a_sentence(build, monkeypatch):
    monkeypatch.setattr(tensorrt_library, "_opened", {})
    monkeypatch.setattr(tensorrt_library, "MODULES", {"tensorrt": "no_such_module"})
    result = build("tiny", "--engine-library", "tensorrt")
    assert result.exit_code == 1
    assert result.stderr == "Error: tensorrt is not installed (pip install tensorrt-cu13)\n"


def test_a_gpu_that_is_not_there_is_an_error_and_not_another_kind_of_build(build):
    result = build("tiny", "--device", "cuda:63")
    assert result.exit_code == 1
    assert "cuda:63" in result.stderr


@pytest.mark.parametrize("batch", ["0", "1,,2", "two", "257", "1,-2", ""])
def test_a_wrong_batch_is_exit_code_2(build, batch):
    result = build("tiny", "--batch", batch)
    assert result.exit_code == 2
    assert "whole numbers from 1 to 256" in result.stderr


@pytest.mark.parametrize("device", ["cpu", "cuda:x", "gpu"])
def test_a_device_that_is_no_gpu_is_exit_code_2(build, device):
    result = build("tiny", "--device", device)
    assert result.exit_code == 2
    assert "allowed are auto, cuda and cuda:N" in result.stderr


def test_a_licence_that_is_not_accepted_stops_it(build):
    result = build("private")
    assert result.exit_code == 1
    assert "CC-BY-NC-4.0" in result.stderr


def test_an_unknown_model_is_a_sentence(build):
    result = build("tinny")
    assert result.exit_code == 1
    assert "'tiny'" in result.stderr
