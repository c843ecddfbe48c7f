"""Which kernels there are, found by reading this folder.

Called by `kernels.nvrtc`, which compiles them all, by the device that looks up an entry, and by the
tests.
"""

from __future__ import annotations

import re
from pathlib import Path

from kernels.device import Kernel

FOLDER = Path(__file__).parent
_COMMENT = re.compile(r"//[^\n]*|/\*.*?\*/", re.DOTALL)
_ENTRY = re.compile(
    r'extern\s+"C"\s+__global__\s+void\s+(?:__launch_bounds__\s*\([^)]*\)\s*)?(\w+)\s*\('
)


def files(folder: Path = FOLDER) -> tuple[str, ...]:
    """Names of the kernel files without ".cu", sorted."""
    return tuple(sorted(path.stem for path in folder.glob("*.cu")))


def entries(source: str) -> tuple[str, ...]:
    """Names of the `extern "C" __global__` functions of a source text, in its order.

    A macro that would write such a function is not expanded: its entries are not found.
    """
    return tuple(_ENTRY.findall(_COMMENT.sub(" ", source)))


def kernels(file: str, folder: Path = FOLDER) -> tuple[Kernel, ...]:
    """The kernels of one file."""
    text = (folder / f"{file}.cu").read_text(encoding="utf-8")
    return tuple(Kernel(file, entry) for entry in entries(text))


def all_kernels(folder: Path = FOLDER) -> tuple[Kernel, ...]:
    """The kernels of all files."""
    return tuple(kernel for file in files(folder) for kernel in kernels(file, folder))
