"""Contact sheets of photos with their masks: what somebody looks at who writes `eye_masks.txt`.

Run by a person: `python -m models.training.eye_sheets --data ../shared/data --masks FOLDER
--out SHEETS`. Twenty photos a sheet, by name: outside of its mask a photo is dimmed, the edge is
green, and red dots mark the quarters of its sides, to read places in shares from. Needs no torch.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np

from models.training.data import U8, read_image

COLUMNS, ROWS = 5, 4
CELL_PX = 300
TITLE_PX = 18
DIMMED = 0.35  # of the light outside of a mask: enough to see what was missed
GREY, WHITE, GREEN, RED = (40, 40, 40), (255, 255, 255), (0, 255, 0), (0, 0, 255)


def shown(bgr: U8, mask: U8) -> U8:
    """The photo (H, W, 3) at a cell's size, dimmed where the mask (H, W) is 0."""
    h, w = mask.shape
    scale = CELL_PX / max(h, w)
    size = (max(1, round(w * scale)), max(1, round(h * scale)))
    photo = cv2.resize(bgr, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    alpha = cv2.resize(mask, size).astype(np.float32) / 255.0
    out: U8 = (photo * (DIMMED + (1.0 - DIMMED) * alpha[..., None])).astype(np.uint8)
    inside = (alpha > 0.5).astype(np.uint8)
    outlines, _ = cv2.findContours(inside, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(out, outlines, -1, GREEN, 1)
    width, height = size
    for quarter in (1, 2, 3):
        x, y = width * quarter // 4, height * quarter // 4
        for place in ((x, 0), (x, height - 1), (0, y), (width - 1, y)):
            cv2.circle(out, place, 3, RED, -1)
    return out


def cell(title: str, picture: U8) -> U8:
    """One photo in the middle of a grey square under its name."""
    out = np.full((CELL_PX + TITLE_PX, CELL_PX, 3), GREY, np.uint8)
    h, w = picture.shape[:2]
    top, left = TITLE_PX + (CELL_PX - h) // 2, (CELL_PX - w) // 2
    out[top : top + h, left : left + w] = picture
    cv2.putText(out, title, (3, 13), cv2.FONT_HERSHEY_SIMPLEX, 0.45, WHITE, 1, cv2.LINE_AA)
    return out


def sheet(cells: list[U8]) -> U8:
    """Up to `COLUMNS` x `ROWS` cells as one picture, filled up with grey."""
    missing = -len(cells) % COLUMNS
    padded = cells + [np.full_like(cells[0], GREY[0])] * missing
    rows = (padded[first : first + COLUMNS] for first in range(0, len(padded), COLUMNS))
    return np.vstack([np.hstack(row) for row in rows])


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Draw contact sheets of photos and their masks.")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--masks", type=Path, required=True, help="PNGs named as the photos are")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    paths = sorted(args.masks.glob("*.png"))
    for first in range(0, len(paths), COLUMNS * ROWS):
        cells = []
        for path in paths[first : first + COLUMNS * ROWS]:
            mask = read_image(path, cv2.IMREAD_GRAYSCALE)
            photo = read_image(args.data / "images" / f"{path.stem}.jpg", cv2.IMREAD_COLOR)
            cells.append(cell(path.stem, shown(photo, mask)))
        name = f"sheet_{first // (COLUMNS * ROWS):03d}.png"
        cv2.imwrite(str(args.out / name), sheet(cells))
    print(f"{len(paths)} photos on sheets in {args.out}")


if __name__ == "__main__":
    main()
