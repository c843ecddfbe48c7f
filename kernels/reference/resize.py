"""How a side of an image becomes longer or shorter: the weights that every path shares.

Called by the twins that change an image's size.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def resize(plane: NDArray[np.float64], width: int, height: int) -> NDArray[np.float64]:
    """`plane`, (H, W) or (H, W, C), at `height` x `width`: each side by its own `weights`."""
    rows = np.tensordot(weights(plane.shape[0], height), plane, axes=(1, 0))
    resized = np.tensordot(weights(plane.shape[1], width), rows, axes=(1, 1))
    return np.ascontiguousarray(np.moveaxis(resized, 0, 1), np.float64)


def weights(samples: int, samples_out: int) -> NDArray[np.float64]:
    """Which share each of `samples` has in each of `samples_out`, (samples_out, samples); every
    row sums to 1.

    Shrinking: sample i of the result covers [i s, (i + 1) s) of the source, s = samples /
    samples_out, and takes every source sample by the fraction of it that lies inside. Growing:
    linear between the two nearest sample centres, the outermost sample going on past its centre.
    """
    step = samples / samples_out
    table = np.zeros((samples_out, samples))
    source = np.arange(samples)
    for i in range(samples_out):
        if step >= 1:
            inside = np.minimum(source + 1, (i + 1) * step) - np.maximum(source, i * step)
            table[i] = np.maximum(inside, 0)
        else:
            centre = min(max((i + 0.5) * step - 0.5, 0), samples - 1)
            table[i] = np.maximum(1 - np.abs(source - centre), 0)
    table /= table.sum(axis=1, keepdims=True)
    return table
