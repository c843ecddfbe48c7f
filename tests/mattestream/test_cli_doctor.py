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
from mattestream.cli.libraries import SERVER_LIBRARIES
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


def test_a_device_that_is_not_there_is_an_error(doctor):
    result = doctor("--model", "tiny", "--device", "cuda")
    assert result.exit_code == 1
    assert "cannot run" in result.output


def test_a_model_that_is_not_there_is_an_error_with_what_to_do(doctor):
    result = doctor("--model", "tinny")
    assert result.exit_code == 1
    assert "the nearest names are 'tiny'" in result.output


def test_a_setting_that_is_wrong_is_exit_code_2(doctor, monkeypatch):
    monkeypatch.setenv("MATTESTREAM_PORT", "many")
    result = doctor()
    assert result.exit_code == 2
    assert "MATTESTREAM_PORT" in result.output


def test_a_gpu_is_shown_and_nothing_is_promised_for_it(doctor, monkeypatch):
    found = Found((Gpu("NVIDIA H200", "9.0", 141 * 1024),), "13.0")
    monkeypatch.setattr(doctor_module, "find_gpus", lambda: found)
    result = doctor("--model", "tiny")
    assert "NVIDIA H200, 141 GiB, compute capability 9.0" in result.output
    assert "tensorrt-cu13" in result.output
    assert "the TensorRT path comes later" in result.output


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


def test_the_table_of_libraries_has_all_that_the_extra_installs():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extra = [re.split(r"[>=<;]", line)[0] for line in project["optional-dependencies"]["server"]]
    assert set(extra) <= {library.distribution for library in SERVER_LIBRARIES}


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
