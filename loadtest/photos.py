"""What is sent: real photos where they lie beside the checkout, else pictures made here.

Called by `compare_rembg` and `stages`. The project holds no one else's pictures, so
`../shared/photos` is read when it is there; a run without it says "generated" in its report.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SHARED = Path(__file__).resolve().parents[2] / "shared" / "photos"
SIZES = {"1080p": (1920, 1080), "12mp": (4000, 3000)}  # pixels of the generated ones
PATTERNS = {"1080p": "hd_*.jpg", "12mp": "uhd_*.jpg"}
GENERATED = 3


@dataclass(frozen=True, slots=True)
class Photo:
    """One JPEG as a caller would send it."""

    name: str
    data: bytes
    width: int
    height: int

    @property
    def megapixels(self) -> float:
        """Millions of pixels."""
        return self.width * self.height / 1e6


@dataclass(frozen=True, slots=True)
class PhotoSet:
    """The photos of one run and the sentence that says where they come from."""

    photos: tuple[Photo, ...]
    note: str


def load_photos(size: str, files: Sequence[Path] = (), *, shared: Path = SHARED) -> PhotoSet:
    """The photos of a run: `files` when given, else the shared ones of `size`, else generated ones.

    Args:
        size: "1080p" or "12mp".
        files: JPEGs of the caller's own.
        shared: folder with `hd_*.jpg` and `uhd_*.jpg`.

    Raises:
        KeyError: an unknown size.
        OSError: a file is missing or no picture.
    """
    pattern, (width, height) = PATTERNS[size], SIZES[size]
    found = tuple(files) or tuple(sorted(shared.glob(pattern)))
    if not found:
        made = tuple(
            _photo(f"generated-{seed}.jpg", jpeg(scene(width, height, seed)))
            for seed in range(GENERATED)
        )
        return PhotoSet(
            made, f"{len(made)} generated pictures of {width}x{height}: no photos found"
        )
    photos = tuple(_photo(path.name, path.read_bytes()) for path in found)
    sizes = sorted({f"{photo.width}x{photo.height}" for photo in photos})
    kilobytes = sum(len(photo.data) for photo in photos) / len(photos) / 1e3
    noun = "photo" if len(photos) == 1 else "photos"
    return PhotoSet(
        photos, f"{len(photos)} {noun} ({', '.join(sizes)}; JPEG, {kilobytes:,.0f} KB on average)"
    )


def scene(width: int, height: int, seed: int) -> NDArray[np.uint8]:
    """A made-up picture, (H, W, 3) uint8: soft blobs, a bright figure in the middle, fine grain."""
    random = np.random.default_rng(seed)
    coarse = random.integers(20, 130, (9, 16, 3), np.uint8)
    backdrop = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
    rows, columns = np.ogrid[0:height, 0:width]
    x = (columns - width * random.uniform(0.4, 0.6)) / (width * 0.16)
    head = x**2 * 3 + ((rows - height * 0.25) / (height * 0.15)) ** 2 < 1
    body = x**2 + ((rows - height * 0.75) / (height * 0.40)) ** 2 < 1
    pixels = np.array(backdrop, np.int16)
    pixels[head | body] = random.integers(150, 240, 3)
    pixels += random.integers(-6, 7, (height, width, 1), np.int16)  # grain: flat areas cost nothing
    return np.clip(pixels, 0, 255).astype(np.uint8)


def jpeg(pixels: NDArray[np.uint8], quality: int = 90) -> bytes:
    """(H, W, 3) uint8 as a JPEG file."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def _photo(name: str, data: bytes) -> Photo:
    with Image.open(io.BytesIO(data)) as picture:
        return Photo(name, data, *picture.size)
