from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from click.testing import CliRunner

from mattestream.cli import doctor as doctor_module
from mattestream.cli.gpus import Found, Gpu
from mattestream.cli.libraries import (
    GPU_LIBRARIES,
    SERVER_LIBRARIES,
    TENSORRT,
    Library,
    installed,
)
from mattestream.cli.root import cli
from tests.fakes.tiny_onnx import write_tiny_model

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def doctor(tmp_path, monkeypatch):
    write_tiny_model(tmp_path)
    monkeypatch.setenv("MATTESTREAM_MODEL_DIRS", str(tmp_path))

    def run(*flags: str):
        return CliRunner().invoke(cli, ["doctor", *flags], catch_exceptions=False)

    return run


def test_it_names_what_will_run_having_run_it(doctor):
    result = doctor("--model", "tiny")
    assert result.exit_code == 0
    assert "onnxruntime" in result.output
    line = next(line for line in result.output.splitlines() if line.startswith("  tiny  "))
    assert "ready" in line
    assert "on cpu, fp32" in result.output
    assert "nothing: `mattestream serve` and `mattestream remove` will work" in result.output


@pytest.mark.parametrize("device", ["cuda", "cuda:7", "cuda:all"])
def test_a_device_that_is_not_there_is_an_error_with_what_to_do(doctor, device):
    result = doctor("--model", "tiny", "--device", device)
    assert result.exit_code == 1
    assert "was asked for" in result.output.partition("to do")[2]
    assert "on cpu" not in result.output


def test_an_engine_that_is_not_there_is_an_error_and_not_a_fallback(doctor):
    result = doctor("--model", "tiny", "--device", "cpu", "--engine", "tensorrt")
    assert result.exit_code == 1
    assert "TensorRT runs on NVIDIA GPUs" in result.output.partition("to do")[2]


@pytest.mark.parametrize(
    ("flag", "value", "allowed"),
    [
        ("--device", "gpu", "auto, cpu, cuda, cuda:N or cuda:all"),
        ("--device", "cuda:x", "auto, cpu, cuda, cuda:N or cuda:all"),
        ("--engine", "openvino", "auto, onnx, tensorrt"),
    ],
)
def test_a_word_that_is_no_device_or_engine_is_exit_code_2(doctor, flag, value, allowed):
    result = doctor(flag, value)
    assert result.exit_code == 2
    assert repr(value) in result.output
    assert allowed in result.output


def test_settings_of_the_environment_are_in_force(doctor, monkeypatch):
    monkeypatch.setenv("MATTESTREAM_DEVICE", "cuda")
    assert doctor("--model", "tiny").exit_code == 1
    assert doctor("--model", "tiny", "--device", "cpu").exit_code == 0


def test_models_to_be_fetched_are_counted_and_not_listed(doctor):
    output = doctor("--model", "tiny").output
    listed = output.partition("\nmodels")[2].partition("\nwill run")[0]
    assert re.search(r"\d+ more can be fetched, see `mattestream models list`", listed)
    assert len(listed.splitlines()) <= 8  # ours, the ready ones, and the count of the others
    assert "birefnet" not in listed


def test_a_model_that_is_not_there_is_an_error_with_what_to_do(doctor):
    result = doctor("--model", "tinny")
    assert result.exit_code == 1
    assert "the nearest names are 'tiny'" in result.output


def test_a_setting_that_is_wrong_is_exit_code_2(doctor, monkeypatch):
    monkeypatch.setenv("MATTESTREAM_PORT", "many")
    result = doctor()
    assert result.exit_code == 2
    assert "MATTESTREAM_PORT" in result.output


@pytest.fixture
def with_gpu(monkeypatch):
    found = Found((Gpu("NVIDIA H200", "9.0", 141 * 1024),), "13.0")
    monkeypatch.setattr(doctor_module, "find_gpus", lambda: found)


def test_a_gpu_is_shown_with_its_number_memory_and_capability(doctor, with_gpu):
    output = doctor("--model", "tiny").output
    assert re.search(r"cuda:0 +NVIDIA H200, 141 GiB, compute capability 9.0", output)
    assert "up to CUDA 13.0" in output


def test_each_missing_gpu_library_says_what_it_costs_and_what_adds_it(
    doctor, with_gpu, monkeypatch
):
    absent = {library.distribution for library in GPU_LIBRARIES}
    monkeypatch.setattr(doctor_module, "installed", lambda library: _unless(library, absent))
    output = doctor("--model", "tiny").output
    shown, _, advice = output.partition("to do")
    assert "missing: without it shared memory is page-locked by CuPy; nothing else changes" in shown
    for library in GPU_LIBRARIES:
        assert library.without in shown
    lines = [line for line in advice.splitlines() if "#" in line]
    assert lines[0].strip().startswith("pip install 'mattestream[gpu]'   # cupy-cuda13x: needed")
    assert [line.split("# ")[1].split(":")[0] for line in lines] == [
        *("cupy-cuda13x", "nvidia-cuda-nvrtc", "tensorrt-cu13"),
        *("onnxconverter-common", "nvidia-nvimgcodec-cu13", "pycuda"),
    ]


@pytest.mark.parametrize("there", sorted(TENSORRT))
def test_with_one_tensorrt_no_other_engine_is_advised(doctor, with_gpu, monkeypatch, there):
    absent = {library.distribution for library in GPU_LIBRARIES} - {there}
    monkeypatch.setattr(doctor_module, "installed", lambda library: _unless(library, absent))
    advice = doctor("--model", "tiny").output.partition("to do")[2]
    assert "tensorrt" not in advice
    assert "onnxruntime-gpu" not in advice


def test_a_driver_that_is_too_old_is_the_first_thing_to_do(doctor, monkeypatch):
    found = Found((Gpu("NVIDIA L4", "8.9", 24 * 1024),), "12.4")
    monkeypatch.setattr(doctor_module, "find_gpus", lambda: found)
    first = doctor("--model", "tiny").output.partition("to do\n")[2].splitlines()[0]
    assert "update the driver" in first


def test_without_a_gpu_its_libraries_are_not_looked_for(doctor, monkeypatch):
    monkeypatch.setattr(doctor_module, "find_gpus", lambda: Found(problem="no NVIDIA driver"))
    output = doctor("--model", "tiny").output
    assert "not looked for: there is none" in output
    assert "pycuda" not in output


def _unless(library: Library, absent: set[str]) -> str:
    return "" if library.distribution in absent else "1.0"


def test_a_library_is_found_by_its_distribution_its_module_or_its_shared_object():
    nothing = lambda name: None  # noqa: E731
    assert re.match(r"\d", installed(Library("numpy", "numpy", ""), nothing))
    assert installed(Library("numpy", "another-build-of-numpy", ""), nothing) == "installed"
    assert (
        installed(Library("", "none", "", shared_object="x"), lambda n: f"lib{n}.so") == "libx.so"
    )
    assert installed(Library("no_such.module", "none", ""), nothing) == ""


def test_a_missing_library_is_named_with_the_command_that_adds_it(doctor, monkeypatch):
    absent = doctor_module.Library("no_such_module", "no-such", "magic")
    monkeypatch.setattr(doctor_module, "SERVER_LIBRARIES", (absent,))
    result = doctor("--model", "tiny")
    assert "missing: magic" in result.output
    assert "pip install 'mattestream[server]'   # no-such: needed" in result.output
    assert result.exit_code == 1


def test_a_library_that_only_makes_it_faster_is_no_failure(doctor, monkeypatch):
    absent = doctor_module.Library("no_such_module", "no-such", "magic", required=False)
    monkeypatch.setattr(doctor_module, "SERVER_LIBRARIES", (absent,))
    result = doctor("--model", "tiny")
    assert "# no-such: faster with it" in result.output
    assert result.exit_code == 0


def test_every_model_that_serve_would_load_is_tried(doctor, monkeypatch):
    monkeypatch.setenv("MATTESTREAM_LOAD", "tinny")
    result = doctor("--model", "tiny")
    assert "on cpu, fp32" in result.output
    assert "there is no model 'tinny'" in result.output.partition("to do")[2]
    assert result.exit_code == 1


def distributions(extra: str) -> set[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return {re.split(r"[>=<;\[]", line)[0] for line in project["optional-dependencies"][extra]}


def test_the_table_of_libraries_has_all_that_the_extra_installs():
    assert distributions("server") <= {library.distribution for library in SERVER_LIBRARIES}


def test_the_table_of_gpu_libraries_has_all_that_the_extras_install():
    known = {library.distribution for library in GPU_LIBRARIES}
    assert distributions("gpu") | distributions("pycuda") <= known | {"onnx", "numpy"}


def test_a_library_is_optional_only_where_the_application_starts_without_it():
    optional = {library.module for library in SERVER_LIBRARIES if not library.required}
    code = f"""
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {optional!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Absent())
import server.app, mattestream.cli.local
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")
