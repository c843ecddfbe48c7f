"""What a promptable model is asked and what it answers, in shares of the picture and free of any
network.

Made by whoever has a caller's pixels, read by `models.prompt_model`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

F32 = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Click:
    """A place in shares of width and height, 0..1; `wanted` says which side it is on."""

    x: float
    y: float
    wanted: bool = True


@dataclass(frozen=True, slots=True)
class BoxPrompt:
    """A rectangle in shares of width and height, 0..1: left < right, top < bottom."""

    left: float
    top: float
    right: float
    bottom: float


@dataclass(frozen=True, slots=True, eq=False)
class Prompts:
    """One wish for one subject; at least one of the three must say something wanted."""

    clicks: tuple[Click, ...] = ()
    box: BoxPrompt | None = None
    earlier: F32 | None = None  # (h, w) in [0, 1], of any size: covers the whole picture


@dataclass(frozen=True, slots=True, eq=False)
class Features:
    """What the encoder made of one picture: worth keeping, since every prompt begins with it."""

    tensors: Mapping[str, NDArray[Any]]  # by the encoder's output names
    width: int  # px, of the picture
    height: int

    @property
    def nbytes(self) -> int:
        """Memory that they take."""
        return sum(tensor.nbytes for tensor in self.tensors.values())


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """One subject: its alpha (h, w) float32 in [0, 1] over the whole picture, at a size of the
    network's choice, and how good the model takes it to be, 0..1.
    """

    alpha: F32
    score: float
