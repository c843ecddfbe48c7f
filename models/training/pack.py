"""All that a run trains on, made small enough to carry to a lent machine: one zip of a folder.

Run by a person: `python -m models.training.pack --data ../shared/data [--more FOLDER ...]
[--seen FOLDER] --out PACK.zip --limit-mib 60`. `train.py --data PACK.zip` then reads it like the
folder, further folders and masks by eye included. It carries the wanted tiers' pictures at the best
size and quality that fit, the val photos for the curve, nothing else.
"""

from __future__ import annotations

import argparse
import csv
import io
import zipfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
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
    mask_of,
    open_folder,
    read_manifest,
    select,
)

MIB = 1 << 20


@dataclass(frozen=True)
class Rung:
    """One size and quality: the long side in pixels, WebP quality of 100."""

    side_px: int
    quality: int


# from best to smallest; the first that fits is taken
LADDER = (
    Rung(384, 85),
    Rung(352, 80),
    Rung(320, 80),
    Rung(288, 75),
    Rung(256, 75),
    Rung(256, 60),
    Rung(224, 60),
)


@dataclass(frozen=True)
class Entry:
    """A row of a folder, and the row as which it is carried, perhaps with a mask by eye (H, W)."""

    data: Folder
    row: Row
    carried: Row
    mask: U8 | None = None

    def picture(self) -> Picture:
        """What is carried, decoded, at the size of the best rung."""
        picture = load_picture(self.data, self.row, LADDER[0].side_px)
        alpha = picture.alpha if self.mask is None else self.mask
        return replace(picture, row=self.carried, alpha=alpha)


def entries(
    data: Folder, tiers: Sequence[str], more: Sequence[Folder] = (), seen: Path | None = None
) -> list[Entry]:
    """The train split, that of further folders, and of the val split the photos with masks.

    Raises ValueError where two folders hold a picture of one name.
    """
    rows = read_manifest(data)
    own = [Entry(data, row, as_webp(row)) for row in select(rows, "train", tiers)]
    if seen:
        own = [entry for plain in own for entry in with_mask(plain, seen)]
    val = [row for row in select(rows, "val", tiers) if row.has_mask]
    own += [Entry(data, row, as_webp(row)) for row in val]
    names = {entry.carried.file for entry in own}
    for folder in more:
        rows = select(read_manifest(folder), "train", tiers)
        added = [Entry(folder, row, as_webp(row)) for row in rows]
        twice = names & {entry.carried.file for entry in added}
        if twice:
            raise ValueError(f"{folder} holds {min(twice)}, and so does a folder before it")
        names |= {entry.carried.file for entry in added}
        own += added
    return own


def with_mask(entry: Entry, seen: Path) -> list[Entry]:
    """What `eye_masks.add_seen` makes of a row: it and itself with a mask, or a ground."""
    row = entry.row
    if row.folder != "images" or row.has_mask:
        return [entry]
    mask = mask_of(load_picture(entry.data, row, LADDER[0].side_px), seen)
    if mask is None:
        return [entry]
    if not mask.any():
        name = Path(entry.carried.file).name
        return [replace(entry, carried=replace(entry.carried, file=f"backgrounds/{name}"))]
    return [entry, replace(entry, carried=replace(entry.carried, has_gt="1"), mask=mask)]


def as_webp(row: Row) -> Row:
    """The row with the name that its file has in a pack."""
    return replace(row, file=Path(row.file).with_suffix(".webp").as_posix())


def packed_files(picture: Picture, rung: Rung) -> dict[str, bytes]:
    """The picture's files by their name in the folder, shrunk and encoded."""
    row = picture.row
    rgb = fit_within(picture.rgb, rung.side_px)
    alpha = None if picture.alpha is None else fit_within(picture.alpha, rung.side_px)
    how = [cv2.IMWRITE_WEBP_QUALITY, rung.quality]
    if row.folder == "cutouts" and alpha is not None:
        rgba = np.dstack([rgb[..., ::-1], alpha])
        # a transparent frame: WebP drops the alpha of a picture that is opaque all over
        framed = cv2.copyMakeBorder(rgba, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=(0, 0, 0, 0))
        return {row.file: encoded(".webp", framed, how)}
    files = {row.file: encoded(".webp", rgb[..., ::-1], how)}
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


def write_pack(wanted: Sequence[Entry], rung: Rung, out_path: Path) -> int:
    """Writes the zip and returns its size in bytes."""
    with zipfile.ZipFile(out_path, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("manifest.csv", manifest_text([entry.carried for entry in wanted]))
        written: set[str] = set()
        for entry in wanted:
            files = packed_files(entry.picture(), rung)
            for name in files.keys() - written:  # a photo with a mask by eye is there twice
                archive.writestr(name, files[name])
            written |= files.keys()
    return out_path.stat().st_size


def estimate_bytes(wanted: Sequence[Entry], rung: Rung) -> int:
    """About how large the pack would be, from every twentieth picture."""
    sample = wanted[::20]
    total = 0
    for entry in sample:
        files = packed_files(entry.picture(), rung)
        total += sum(len(content) + 2 * len(name) + 120 for name, content in files.items())
    return total * len(wanted) // max(1, len(sample))


def pack(wanted: Sequence[Entry], limit_bytes: int, out_path: Path) -> tuple[Rung, int]:
    """Writes the best pack within the limit; returns its rung and its size.

    Raises ValueError when even the smallest rung is too large.
    """
    for rung in LADDER:
        if estimate_bytes(wanted, rung) > 1.03 * limit_bytes:
            continue
        size = write_pack(wanted, rung, out_path)
        if size <= limit_bytes:
            return rung, size
    out_path.unlink(missing_ok=True)
    raise ValueError(
        f"{len(wanted)} pictures do not fit {limit_bytes / MIB:.0f} MiB even at "
        f"{LADDER[-1].side_px} px: take fewer tiers or a larger limit"
    )


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Pack the training data into one small zip.")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument(
        "--more", type=Path, action="append", default=[], help="another data folder to carry"
    )
    parser.add_argument("--seen", type=Path, help="folder of masks made by eye_masks")
    parser.add_argument("--tiers", default="AB", help="letters, as in AB")
    parser.add_argument("--limit-mib", type=float, default=60.0)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    more = [open_folder(folder) for folder in args.more]
    wanted = entries(open_folder(args.data), args.tiers, more, args.seen)
    rung, size = pack(wanted, int(args.limit_mib * MIB), args.out)
    print(f"{args.out}: {size / MIB:.1f} MiB, long side {rung.side_px} px, quality {rung.quality}")


if __name__ == "__main__":
    main()
