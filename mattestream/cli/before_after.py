"""A photo and its cut-out side by side, small enough for a README.

Called by `make picture`: python -m mattestream.cli.before_after PHOTO CUTOUT TARGET
"""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

HEIGHT = 320  # pixels
GAP = 12
SQUARE = 10  # of the chequered ground that stands for "transparent"
LIGHT, DARK = 255, 225
QUALITY = 88


def write_before_after(photo: Path, cutout: NDArray[np.uint8], target: Path) -> None:
    """Writes the two side by side as JPEG or PNG, as `target` ends.

    Args:
        photo: the picture as it was.
        cutout: (H, W, 4) RGBA uint8, of the photo's size.
        target: replaced when it exists.

    Raises:
        ValueError: the photo cannot be read or the target not written.
    """
    bgr = cv2.imread(str(photo), cv2.IMREAD_COLOR)
    if bgr is None:
        raise ValueError(f"{photo} is not a picture that OpenCV reads")
    before = _small(np.asarray(bgr, np.uint8))
    after = _small(_on_chequers(cutout))
    gap = np.full((HEIGHT, GAP, 3), LIGHT, np.uint8)
    target.parent.mkdir(parents=True, exist_ok=True)
    both = np.hstack([before, gap, after])
    if not cv2.imwrite(str(target), both, [cv2.IMWRITE_JPEG_QUALITY, QUALITY]):
        raise ValueError(f"{target} could not be written: use an ending like .jpg or .png")


def _on_chequers(cutout: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The cut-out on a chequered ground, (H, W, 3) BGR."""
    height, width = cutout.shape[:2]
    side = SQUARE * height // HEIGHT or 1  # the squares keep their size when all is made small
    rows, columns = np.indices((height, width)) // side
    ground = np.where((rows + columns) % 2 == 0, LIGHT, DARK).astype(np.float32)[:, :, None]
    alpha = cutout[:, :, 3:].astype(np.float32) / 255
    mixed = cutout[:, :, 2::-1].astype(np.float32) * alpha + ground * (1 - alpha)
    return np.rint(mixed).astype(np.uint8)


def _small(bgr: NDArray[np.uint8]) -> NDArray[np.uint8]:
    height, width = bgr.shape[:2]
    size = (round(width * HEIGHT / height), HEIGHT)
    return np.asarray(cv2.resize(bgr, size, interpolation=cv2.INTER_AREA), np.uint8)


def main(photo: str, cutout: str, target: str) -> None:
    """Writes the picture of the two files."""
    bgra = cv2.imread(cutout, cv2.IMREAD_UNCHANGED)
    if bgra is None or bgra.ndim != 3 or bgra.shape[2] != 4:
        raise ValueError(f"{cutout} is no cut-out: give a PNG with an alpha channel")
    write_before_after(Path(photo), np.asarray(bgra[:, :, [2, 1, 0, 3]], np.uint8), Path(target))


if __name__ == "__main__":
    main(*sys.argv[1:])
