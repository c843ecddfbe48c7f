"""The bindings of TensorRT 11.4 check the types of our calls themselves, without TensorRT.

Its libraries need a GPU and hundreds of megabytes; its Python bindings are a wheel of one, and load
over stub libraries (stub.c). What passes here has right names, arguments and types; it computes
nothing.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
BINDINGS = "tensorrt-cu13-bindings"
LIBRARIES = ("nvinfer", "nvonnxparser", "nvinfer_plugin")


def lacking() -> str:
    """Why the check cannot run here, empty when it can."""
    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        return "stub.c is for Linux on x86-64"
    if shutil.which("gcc") is None:
        return "gcc, which builds the stub libraries, is not installed"
    try:
        importlib.metadata.version(BINDINGS)
    except importlib.metadata.PackageNotFoundError:
        return f"the bindings are not installed: pip install {BINDINGS}"
    return ""


@pytest.fixture(scope="module")
def stubs(tmp_path_factory):
    if reason := lacking():
        if os.environ.get("CI") == "true":
            pytest.fail(f"CI must check our calls against TensorRT's bindings, but {reason}")
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("stubs")
    major = importlib.metadata.version(BINDINGS).split(".")[0]
    for name in LIBRARIES:
        library = f"lib{name}.so.{major}"
        flags = ["-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-Werror", f"-Wl,-soname,{library}"]
        command = ["gcc", *flags, "-o", str(folder / library), str(HERE / "stub.c")]
        subprocess.run(command, check=True)
    return folder


@pytest.fixture
def check(stubs, tmp_path):
    def run(case: str) -> str:
        found = {"LD_LIBRARY_PATH": str(stubs), "PYTHONPATH": str(ROOT)}
        done = subprocess.run(
            [sys.executable, "-W", "error", HERE / "bindings_check.py", tmp_path, case],
            env={**os.environ, **found},
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def test_the_builders_calls_have_the_types_that_tensorrt_wants(check):
    assert check("build") == f"passed tensorrt {importlib.metadata.version(BINDINGS)}\n"


def test_the_engines_calls_have_the_types_that_tensorrt_wants(check):
    assert check("engine").startswith("passed")


def test_the_binding_of_states_has_the_types_that_tensorrt_wants(check):
    assert check("states").startswith("passed")


def test_calls_with_wrong_types_are_refused_so_the_check_can_fail(check):
    assert check("wrong").startswith("passed")
