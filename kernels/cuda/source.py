"""A kernel file's full text: prelude, then file, with line numbers that stay each one's own.

Called by everything that compiles: `kernels.cupy_device`, `kernels.nvrtc`, the tests' CPU build. No
compiler sees an include: a line `#include "box.cuh"` is replaced by that file of this folder, once.
"""

from __future__ import annotations

import re
from pathlib import Path

from kernels.cuda.catalogue import FOLDER

PRELUDE = "prelude.cuh"
_INCLUDE = re.compile(r'#include "(\w+\.cuh)"')


def source_of(file: str, folder: Path = FOLDER) -> str:
    """The text to compile, so that a compiler's message names "blur.cu:41" and not a line of all.

    Args:
        file: the file's name without ".cu".
        folder: where it lies; the prelude and what is included are always this package's.

    Raises:
        FileNotFoundError: there is no such file, or it includes one that is not there.
    """
    seen: set[str] = set()
    return _expanded(FOLDER / PRELUDE, seen) + _expanded(folder / f"{file}.cu", seen)


def _expanded(path: Path, seen: set[str]) -> str:
    """The file with what it includes in place, each part under its own name and line numbers."""
    lines = [f'#line 1 "{path.name}"']
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        included = _INCLUDE.fullmatch(line)
        if included is None:
            lines.append(line)
            continue
        name = included[1]
        if name not in seen:
            seen.add(name)
            lines.append(_expanded(FOLDER / name, seen).rstrip("\n"))
        lines.append(f'#line {number + 1} "{path.name}"')
    return "\n".join(lines) + "\n"
