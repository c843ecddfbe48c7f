"""Sizes and judges that the tests of `make gpu-check` share; all of it runs without a GPU.

Not tested here: CuPy's clock and copies, PyTorch's engine, PyCUDA, compute-sanitizer.
"""

from __future__ import annotations

import shutil

import pytest

from loadtest.gpu_check.rows import Row, Verdict

needs_gcc = pytest.mark.skipif(
    shutil.which("g++") is None, reason="kernels run on the CPU through g++, which is not installed"
)
SMALL = (130, 67)
FRAME = (64, 48)


def failed(found: list[Row]) -> list[str]:
    return [f"{row.name}: {row.note}" for row in found if row.verdict is Verdict.FAILED]
