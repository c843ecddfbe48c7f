"""A data folder for training from pictures that come with an alpha of their own, as icons do.

Run by a person: `python -m models.training.cutout_folder --pictures FOLDER --out DATA
--repo NAME --licence NAME`, then `train.py --more DATA`. Pictures that are opaque are left out.
"""

from __future__ import annotations

import argparse
import csv
import shutil
from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np

COLUMNS = ["file", "kind", "split", "source_repo", "path", "licence", "has_gt", "note", "tier"]
SUFFIXES = {".png", ".webp"}


def write_manifest(
    data: Path,
    cutouts: Iterable[tuple[str, str]],
    about: argparse.Namespace,
    kind: str = "cutout-object",
) -> int:
    """Writes `manifest.csv` for cut-outs, each a name and a place of origin; returns how many."""
    rows = [
        [name, kind, "train", about.repo, path, about.licence, 1, "", about.tier]
        for name, path in cutouts
    ]
    with (data / "manifest.csv").open("w", newline="", encoding="utf-8") as out_file:
        csv.writer(out_file).writerows([COLUMNS, *rows])
    return len(rows)


def source_parser(description: str) -> argparse.ArgumentParser:
    """The words that say where a folder's cut-outs are from."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--out", type=Path, required=True, help="the data folder to write")
    parser.add_argument("--repo", required=True, help="where they are from")
    parser.add_argument("--licence", required=True, help="theirs")
    parser.add_argument("--tier", default="A")
    parser.add_argument("--prefix", default="thing", help="the source's name in a mix")
    parser.add_argument("--skip", nargs="*", default=[], help="words in paths to leave out")
    return parser


def wanted(folder: Path, suffixes: Iterable[str], skip: Iterable[str]) -> list[Path]:
    """The files below a folder with one of the suffixes, without those whose path has a word."""
    allowed = set(suffixes)
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in allowed)
    inner = [(path, str(path.relative_to(folder)).lower()) for path in found]
    return [path for path, name in inner if not any(word in name for word in skip)]


def is_cutout(path: Path) -> bool:
    """True for a picture with an alpha that leaves out at least a fiftieth of it."""
    image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if image is None or image.ndim < 3 or image.shape[2] != 4 or image.dtype != np.uint8:
        return False
    return bool((image[..., 3] < 8).mean() > 0.02)


def main() -> None:
    """Command line."""
    parser = source_parser("Make a data folder of pictures with an alpha.")
    parser.add_argument("--pictures", type=Path, required=True, help="folder of RGBA pictures")
    args = parser.parse_args()
    (args.out / "cutouts").mkdir(parents=True, exist_ok=True)
    made = []
    found = [path for path in wanted(args.pictures, SUFFIXES, args.skip) if is_cutout(path)]
    for number, path in enumerate(found):
        name = f"cutouts/{args.prefix}_{number:05d}{path.suffix.lower()}"
        shutil.copyfile(path, args.out / name)
        made.append((name, str(path.relative_to(args.pictures))))
    print(f"{args.out}: {write_manifest(args.out, made, args)} pictures")


if __name__ == "__main__":
    main()
