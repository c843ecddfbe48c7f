"""Made-up pictures, pools and shares for the tests of the training package."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from models.training.composite import Mix
from models.training.data import Picture, Pool, Row

F32 = NDArray[np.float32]


@pytest.fixture
def disc() -> Callable[..., F32]:
    """A filled disc in the middle (plus `shift` px to the right), (side, side) of 0.0 and 1.0."""

    def make(side: int, radius: float, shift: float = 0.0) -> F32:
        y, x = np.mgrid[:side, :side] - (side - 1) / 2
        return ((x - shift) ** 2 + y**2 <= radius**2).astype(np.float32)

    return make


@pytest.fixture
def picture(disc: Callable[..., F32]) -> Callable[..., Picture]:
    """A picture of noise, 80 x 60, with a disc for a subject."""

    def make(folder: str, prefix: str, masked: bool, seed: int) -> Picture:
        rng = np.random.default_rng(seed)
        row = Row(f"{folder}/{prefix}_{seed}.png", "object", "train", "a/b", "MIT", "1", "A")
        rgb = rng.integers(0, 256, (60, 80, 3), dtype=np.uint8)
        alpha = np.zeros((60, 80), np.uint8)
        alpha[:, 10:70] = (disc(60, 25) * 255).astype(np.uint8)
        return Picture(row, rgb, alpha if masked else None)

    return make


@pytest.fixture
def pool(picture: Callable[..., Picture]) -> Pool:
    """One picture of each use."""
    return Pool(
        photos={"ecssd": [picture("images", "ecssd", True, 1)]},
        cutouts={"noto": [picture("cutouts", "noto", True, 2)]},
        plain=[picture("images", "inet", False, 3)],
        backgrounds=[picture("backgrounds", "bgl", False, 4)],
    )


@pytest.fixture
def mix() -> Callable[..., Mix]:
    """Shares of the kinds, the sources left equal."""

    def make(photo: float, composite: float, plain: float, empty: float) -> Mix:
        rest = {"rest": 1.0}
        return Mix(photo, composite, plain, empty, 0.5, rest, rest, rest)

    return make
