"""A binary mask as COCO's compressed run lengths: the string that its tools read and write.

Called by `server.codecs.encode` for run lengths. The format, as the COCO API's C source has it:
run lengths column by column, beginning with a run of zeros that may be empty; from the fourth run
on, the difference to the run two before; each number in groups of 5 bits, lowest first, as
characters from '0' on, with 32 added where more groups follow and the last group's highest bit as
its sign.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

_GROUP_BITS = 5
_MORE = 1 << _GROUP_BITS
_SIGN = 1 << (_GROUP_BITS - 1)
_FIRST_CHARACTER = 48  # "0"
_AT_ONCE = 1 << 16  # runs; noise has one for every other pixel, and each takes 80 bytes here


def encode_mask(mask_u8: NDArray[np.uint8]) -> str:
    """The `counts` string of a mask.

    Args:
        mask_u8: (H, W), at least 1 x 1; what is not 0 belongs to the mask.
    """
    runs = run_lengths(mask_u8)
    differences = runs.copy()
    differences[3:] -= runs[1:-2]
    return "".join(
        _compressed(differences[at : at + _AT_ONCE]) for at in range(0, runs.size, _AT_ONCE)
    )


def run_lengths(mask_u8: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Lengths of the runs, column by column, in turn outside and inside the mask; the first may
    be 0.

    Args:
        mask_u8: (H, W).
    """
    # OpenCV turns an image in a fraction of the time that NumPy takes to copy a turned view.
    along_columns = cv2.transpose(np.ascontiguousarray(mask_u8)).reshape(-1) != 0
    changes = np.flatnonzero(along_columns[1:] != along_columns[:-1]) + 1
    starts = [0, 0] if along_columns[0] else [0]  # an empty run of zeros comes first
    return np.diff(np.concatenate([starts, changes, [along_columns.size]]))


def _compressed(left: NDArray[np.int64]) -> str:
    numbers = np.arange(left.size)
    keys, characters = [], []
    group = 0
    while numbers.size:
        bits = left & (_MORE - 1)
        left = left >> _GROUP_BITS  # keeps the sign
        is_last = np.where(bits & _SIGN, left == -1, left == 0)
        characters.append(np.where(is_last, bits, bits | _MORE) + _FIRST_CHARACTER)
        keys.append(numbers * 16 + group)  # 64 bits are at most 13 groups
        numbers, left = numbers[~is_last], left[~is_last]
        group += 1
    order = np.argsort(np.concatenate(keys), kind="stable")
    return np.concatenate(characters)[order].astype(np.uint8).tobytes().decode("ascii")
