"""What several test files of this folder share: how a missing tool ends a test, how a kernel that
only a test needs is written.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import pytest

from kernels.cupy_device import CupyDevice

if TYPE_CHECKING:
    from tests.fakes.emulated_cupy import EmulatedCupy


def missing(what: str) -> NoReturn:
    """Skips a test, or a file of them, for want of a tool; in CI, which has them all, fails it."""
    if os.environ.get("CI") == "true":
        pytest.fail(what)
    pytest.skip(what, allow_module_level=True)


def write_kernel(folder: Path, file: str, parameters: str, body: str) -> None:
    """Writes `file`.cu with one kernel of the same name."""
    text = f'extern "C" __global__ void {file}({parameters}) {{\n{body}\n}}\n'
    (folder / f"{file}.cu").write_text(text, encoding="utf-8")


def cupy_device(
    folder: Path, monkeypatch: pytest.MonkeyPatch, gpus: int = 1
) -> tuple[CupyDevice, EmulatedCupy]:
    """`CupyDevice` on an emulated driver, and that driver."""
    try:
        from tests.fakes.emulated_cupy import EmulatedCupy
    except ImportError:
        missing("CuPy is not installed")
    emulated = EmulatedCupy(folder, gpus)
    for module in ("kernels.cupy_device", "kernels.gpus"):
        monkeypatch.setattr(f"{module}.import_cupy", lambda: emulated)
    return CupyDevice(0, folder=folder), emulated
