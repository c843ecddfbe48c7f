"""What the tests of frames in shared memory are made with: sizes, shades, and what is left."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mattestream import Removal

SHM = Path("/dev/shm")
WIDTH, HEIGHT = 64, 48
AS_IS: Any = {"on_error": "raise", "refine": "off"}  # the network's alpha, shade for shade


def shade(value: int) -> NDArray[np.uint8]:
    """(48, 64, 3) of one grey: the tiny model's alpha is its brightness."""
    return np.full((HEIGHT, WIDTH, 3), value, np.uint8)


def shown(result: Removal) -> int:
    """The alpha's first value."""
    return int(result.array()[0, 0])


def left_of(prefix: str) -> list[str]:
    return [path.name for path in SHM.glob(f"{prefix}*")]


def open_of(prefix: str) -> int:
    """Descriptors of this process that lead to objects under `prefix`."""
    links = []
    for entry in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # the listing's own
            links.append(str(entry.readlink()))
    return sum(link.startswith(f"/dev/shm/{prefix}") for link in links)
