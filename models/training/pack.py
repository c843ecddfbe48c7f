"""The data folder made small enough to carry to a lent machine: one zip of the same form.

Run by a person: `python -m models.training.pack --data ../shared/data --out PACK.zip
--limit-mib 60`. `train.py --data PACK.zip` then reads it like the folder. It carries the wanted
tiers' pictures at the best size and quality that fit, the val photos for the curve, nothing else.
"""

from __future__ import annotations

import argparse
import csv
import io
import zipfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np

from models.training.data import (
    U8,
    Folder,
    Picture,
    Row,
    fit_within,
    load_picture,
    open_folder,
    read_manifest,
    select,
)

MIB = 1 << 20


@dataclass(frozen=True)
class Rung:
    """One size and quality: the long side in pixels, JPEG and WebP quality of 100."""

    side_px: int
    quality: int


# from best to smallest; the first that fits is taken
LADDER = (Rung(384, 85), Rung(352, 80), Rung(320, 80), Rung(288, 75), Rung(256, 75), Rung(224, 70))


def wanted_rows(rows: Sequence[Row], tiers: Sequence[str]) -> list[Row]:
    """The train split, and of the val split the photos with masks."""
    val = [row for row in select(rows, "val", tiers) if row.has_mask]
    return [*select(rows, "train", tiers), *val]


def packed_files(picture: Picture, rung: Rung) -> dict[str, bytes]:
    """The picture's files by their name in the folder, shrunk and encoded."""
    row = picture.row
    rgb = fit_within(picture.rgb, rung.side_px)
    alpha = None if picture.alpha is None else fit_within(picture.alpha, rung.side_px)
    webp, jpeg = cv2.IMWRITE_WEBP_QUALITY, cv2.IMWRITE_JPEG_QUALITY
    if row.folder == "cutouts" and alpha is not None:
        rgba = np.dstack([rgb[..., ::-1], alpha])
        # a transparent frame: WebP drops the alpha of a picture that is opaque all over
        framed = cv2.copyMakeBorder(rgba, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=(0, 0, 0, 0))
        return {row.file: encoded(".webp", framed, [webp, rung.quality])}
    files = {row.file: encoded(".jpg", rgb[..., ::-1], [jpeg, rung.quality])}
    if alpha is not None:
        # 16 levels: hard masks shrunk need no more, and the file halves
        coarse = np.asarray(np.round(alpha / 17.0) * 17.0, np.uint8)
        files[f"masks/{Path(row.file).stem}.png"] = encoded(
            ".png", coarse, [cv2.IMWRITE_PNG_COMPRESSION, 9]
        )
    return files


def encoded(suffix: str, image: U8, options: list[int]) -> bytes:
    """The image as a file's bytes."""
    done, packed = cv2.imencode(suffix, np.ascontiguousarray(image), options)
    if not done:
        raise ValueError(f"OpenCV cannot write {suffix} of shape {image.shape}")
    return packed.tobytes()


def manifest_text(rows: Sequence[Row]) -> str:
    """manifest.csv for the rows, with the columns that `read_manifest` asks for."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(asdict(rows[0])), lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(row) for row in rows)
    return text.getvalue()


def write_pack(data: Folder, rows: Sequence[Row], rung: Rung, out_path: Path) -> int:
    """Writes the zip and returns its size in bytes."""
    with zipfile.ZipFile(out_path, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("manifest.csv", manifest_text(rows))
        for row in rows:
            picture = load_picture(data, row, rung.side_px)
            for name, content in packed_files(picture, rung).items():
                archive.writestr(name, content)
    return out_path.stat().st_size


def estimate_bytes(data: Folder, rows: Sequence[Row], rung: Rung) -> int:
    """About how large the pack would be, from every twentieth picture."""
    sample = rows[::20]
    total = 0
    for row in sample:
        files = packed_files(load_picture(data, row, rung.side_px), rung)
        total += sum(len(content) + 2 * len(name) + 120 for name, content in files.items())
    return total * len(rows) // max(1, len(sample))


def pack(data: Folder, tiers: Sequence[str], limit_bytes: int, out_path: Path) -> tuple[Rung, int]:
    """Writes the best pack within the limit; returns its rung and its size.

    Raises ValueError when even the smallest rung is too large.
    """
    rows = wanted_rows(read_manifest(data), tiers)
    for rung in LADDER:
        if estimate_bytes(data, rows, rung) > 1.03 * limit_bytes:
            continue
        size = write_pack(data, rows, rung, out_path)
        if size <= limit_bytes:
            return rung, size
    out_path.unlink(missing_ok=True)
    raise ValueError(
        f"{len(rows)} pictures do not fit {limit_bytes / MIB:.0f} MiB even at "
        f"{LADDER[-1].side_px} px: take fewer tiers or a larger limit"
    )


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Pack the training data into one small zip.")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--tiers", default="AB", help="letters, as in AB")
    parser.add_argument("--limit-mib", type=float, default=60.0)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    rung, size = pack(open_folder(args.data), args.tiers, int(args.limit_mib * MIB), args.out)
    print(f"{args.out}: {size / MIB:.1f} MiB, long side {rung.side_px} px, quality {rung.quality}")


if __name__ == "__main__":
    main()
