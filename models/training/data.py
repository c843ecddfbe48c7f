"""The training pictures in memory: manifest rows, filtered and decoded once to uint8.

`train.py` loads the train split, `evaluate.py` the val split; both draw from a `Pool`, so no file
is opened while training runs. A data folder may also be one zip of it, as `pack.py` makes.
"""

from __future__ import annotations

import csv
import hashlib
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

U8 = NDArray[np.uint8]
Folder = Path | zipfile.Path  # the same reading methods on both
BUST = "cutout-bust"  # a row's kind


@dataclass(frozen=True)
class Row:
    """One line of manifest.csv; `prefix` is the source's short name, as in `ecssd`."""

    file: str
    kind: str
    split: str
    source_repo: str
    licence: str
    has_gt: str
    tier: str

    @property
    def folder(self) -> str:
        """`images`, `cutouts` or `backgrounds`."""
        return self.file.split("/")[0]

    @property
    def prefix(self) -> str:
        """The source's short name: `images/ecssd_00001.jpg` gives `ecssd`."""
        return Path(self.file).stem.split("_")[0]

    @property
    def is_bust(self) -> bool:
        """True for a cut-out of a head and shoulders, which a frame cuts below."""
        return self.kind == BUST

    @property
    def has_mask(self) -> bool:
        """True for a photo with a human-made mask."""
        return self.folder == "images" and self.has_gt == "1"


@dataclass(frozen=True)
class Picture:
    """A decoded picture: RGB (H, W, 3) and alpha (H, W), uint8; alpha is None without a mask."""

    row: Row
    rgb: U8
    alpha: U8 | None


@dataclass
class Pool:
    """The decoded pictures by their use."""

    photos: dict[str, list[Picture]] = field(default_factory=dict)  # with a mask, by prefix
    cutouts: dict[str, list[Picture]] = field(default_factory=dict)  # true alpha, by prefix
    plain: list[Picture] = field(default_factory=list)  # photos without a mask
    backgrounds: list[Picture] = field(default_factory=list)

    def add(self, other: Pool) -> None:
        """Takes the pictures of another pool in too."""
        for held, added in ((self.photos, other.photos), (self.cutouts, other.cutouts)):
            for source, pictures in added.items():
                held.setdefault(source, []).extend(pictures)
        self.plain += other.plain
        self.backgrounds += other.backgrounds

    def count(self) -> int:
        """How many pictures are held."""
        masked = sum(len(v) for v in self.photos.values())
        cut = sum(len(v) for v in self.cutouts.values())
        return masked + cut + len(self.plain) + len(self.backgrounds)


def open_folder(path: Path) -> Folder:
    """The data folder at `path`, or inside it where `path` is a zip."""
    return zipfile.Path(path) if path.is_file() else path


def read_manifest(data: Folder) -> list[Row]:
    """All rows of manifest.csv, in file order."""
    text = (data / "manifest.csv").read_text(encoding="utf-8")
    return [
        Row(
            file=line["file"],
            kind=line["kind"],
            split=line["split"],
            source_repo=line["source_repo"],
            licence=line["licence"],
            has_gt=line["has_gt"],
            tier=line["tier"],
        )
        for line in csv.DictReader(text.splitlines())
    ]


def select(rows: Iterable[Row], split: str, tiers: Iterable[str]) -> list[Row]:
    """The rows of one split whose licence tier is among `tiers`."""
    wanted = set(tiers)
    return [r for r in rows if r.split == split and r.tier in wanted]


def data_digest(data: Folder) -> str:
    """sha256 of manifest.csv, hex: which data a run saw."""
    return hashlib.sha256((data / "manifest.csv").read_bytes()).hexdigest()


def load_pool(data: Folder, rows: Iterable[Row], side_max: int) -> Pool:
    """Decodes every row, long side at most `side_max` px."""
    pool = Pool()
    for row in rows:
        picture = load_picture(data, row, side_max)
        if row.folder == "backgrounds":
            pool.backgrounds.append(picture)
        elif row.folder == "cutouts":
            pool.cutouts.setdefault(row.prefix, []).append(picture)
        elif row.has_mask:
            pool.photos.setdefault(row.prefix, []).append(picture)
        else:
            pool.plain.append(picture)
    return pool


def load_picture(data: Folder, row: Row, side_max: int) -> Picture:
    """One decoded row; a cut-out comes cropped to its subject."""
    path = data / row.file
    if row.folder == "cutouts":
        bgra = read_image(path, cv2.IMREAD_UNCHANGED)
        if bgra.shape[2] != 4:
            raise ValueError(f"{path} has {bgra.shape[2]} channels, a cut-out needs 4 (RGBA)")
        rgb, alpha = crop_to_subject(np.ascontiguousarray(bgra[..., 2::-1]), bgra[..., 3])
        return Picture(row, fit_within(rgb, side_max), fit_within(alpha, side_max))
    rgb = np.ascontiguousarray(read_image(path, cv2.IMREAD_COLOR)[..., ::-1])
    if not row.has_mask:
        return Picture(row, fit_within(rgb, side_max), None)
    mask = read_image(data / "masks" / f"{Path(row.file).stem}.png", cv2.IMREAD_GRAYSCALE)
    return Picture(row, fit_within(rgb, side_max), fit_within(mask, side_max))


def mask_of(picture: Picture, folder: Path) -> U8 | None:
    """The mask (H, W) that was made for a photo, in `folder` under its stem; None without one.

    Raises:
        ValueError: it has another size than the picture in memory.
    """
    path = folder / f"{Path(picture.row.file).stem}.png"
    if not path.exists():
        return None
    mask = read_image(path, cv2.IMREAD_GRAYSCALE)
    if mask.shape != picture.rgb.shape[:2]:
        raise ValueError(
            f"{path} is {mask.shape}, its picture {picture.rgb.shape[:2]}: make the masks "
            f"again, with the same cache_side_px"
        )
    return mask


def read_image(path: Folder, flags: int) -> U8:
    """The decoded file, uint8; raises FileNotFoundError where OpenCV would give None."""
    packed = np.frombuffer(path.read_bytes(), np.uint8) if path.exists() else None
    image = None if packed is None else cv2.imdecode(packed, flags)
    if image is None:
        raise FileNotFoundError(f"{path} is missing or not a picture")
    return np.asarray(image, np.uint8)


def fit_within(image: U8, side_max: int) -> U8:
    """The picture with its long side at most `side_max` px; never enlarged."""
    h, w = image.shape[:2]
    scale = side_max / max(h, w)
    if scale >= 1.0:
        return image
    size = (max(1, round(w * scale)), max(1, round(h * scale)))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)


def extent(inside: NDArray[np.bool_]) -> tuple[int, int, int, int] | None:
    """Left, top, right and bottom in px of where (H, W) is True, the last two outside; or None."""
    columns, rows = np.nonzero(inside.any(axis=0))[0], np.nonzero(inside.any(axis=1))[0]
    if len(columns) == 0:
        return None
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def crop_to_subject(rgb: U8, alpha: U8) -> tuple[U8, U8]:
    """Both cropped to the box where alpha is above 8 of 255; unchanged where nothing is."""
    found = extent(alpha > 8)
    if found is None:
        return rgb, alpha
    left, top, right, bottom = found
    box = (slice(top, bottom), slice(left, right))
    return np.ascontiguousarray(rgb[box]), np.ascontiguousarray(alpha[box])
