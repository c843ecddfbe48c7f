"""What the launchers share: how many blocks, and arguments of the parameters' widths.

Called by the launchers beside it.
"""

from __future__ import annotations

import numpy as np


def blocks(n: int, per: int) -> int:
    """Blocks of `per` elements that cover `n` elements, both at least 1."""
    return (n + per - 1) // per


def check_sizes(**sizes: int) -> None:
    """Refuses sizes that no launch can cover, by name.

    Raises:
        ValueError: one of them is below 1.
    """
    for name, size in sizes.items():
        if size < 1:
            raise ValueError(f"{name} is {size}; it must be at least 1")


def address(value: int) -> np.uintp:
    """A device address as a pointer argument; 0 is the null pointer."""
    return np.uintp(value)
