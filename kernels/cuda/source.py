"""A kernel file's full text: prelude, then file, with line numbers that stay each one's own.

Called by everything that compiles: `kernels.cupy_device`, `kernels.nvrtc`, the tests' CPU build.
"""

from __future__ import annotations

from pathlib import Path

from kernels.cuda.catalogue import FOLDER

PRELUDE = FOLDER / "prelude.cuh"


def source_of(file: str, folder: Path = FOLDER) -> str:
    """The text to compile, so that a compiler's message names "blur.cu:41" and not a line of both.

    Args:
        file: the file's name without ".cu".
        folder: where it lies; the prelude is always this package's.

    Raises:
        FileNotFoundError: there is no such file.
    """
    prelude = PRELUDE.read_text(encoding="utf-8")
    text = (folder / f"{file}.cu").read_text(encoding="utf-8")
    return f'#line 1 "{PRELUDE.name}"\n{prelude}\n#line 1 "{file}.cu"\n{text}\n'
