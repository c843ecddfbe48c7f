"""Masks that a trained network gives to photos without one, for a second round of training.

Run by a person: `python -m models.training.pseudo --checkpoint RUN_DIR/last.pt
--data ../shared/data --out FOLDER`, or with `--model matte-m` in the checkpoint's place, a released
model that teaches; then `train.py --pseudo FOLDER` learns from them too. Only pictures on which the
views (six of a network; those that a released model takes itself) agree are kept.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from models.model import Model
from models.registry import BUILTIN_DIR, Registry
from models.training.checkpoints import net_from
from models.training.data import U8, Picture, Pool, load_pool, mask_of, read_manifest, select
from models.training.network import MatteNet
from models.training.served import served_alpha
from models.training.trainer import normalise
from models.training.view import stretch

F32 = NDArray[np.float32]

SIDES_PX = (256, 320, 384)  # each as it is and mirrored
SURE = 0.45  # mean |p - 0.5| of a kept picture: on val such answers have IoU 0.89, all 0.78
AREA = (0.03, 0.75)  # share of the picture that a kept subject covers
PREFIX = "pseudo"  # the source's name in a mix


def consensus(net: MatteNet, rgb: U8) -> F32:
    """Mean probability (H, W) in [0, 1] over three sizes, each also mirrored."""
    h, w = rgb.shape[:2]
    total = np.zeros((h, w), np.float32)
    for side in SIDES_PX:
        square = torch.from_numpy(np.ascontiguousarray(stretch(rgb, side).transpose(2, 0, 1)))
        pair = torch.stack([square, square.flip(2)])
        with torch.no_grad():
            plain, mirrored = torch.sigmoid(net(normalise(pair)))[:, 0]
        both = ((plain + mirrored.flip(1)) / 2).numpy()
        total += cv2.resize(both, (w, h), interpolation=cv2.INTER_LINEAR)
    return total / len(SIDES_PX)


def released(model: Model, rgb: U8) -> F32:
    """A released model's alpha (H, W) in [0, 1], by the server's own way."""
    return served_alpha(model, rgb).astype(np.float32) / np.float32(255.0)


def is_sure(probability: F32, sure: float = SURE) -> bool:
    """True when the views agree and the subject is neither nothing nor nearly everything."""
    area = float((probability > 0.5).mean())
    return AREA[0] <= area <= AREA[1] and float(np.abs(probability - 0.5).mean()) >= sure


def label(
    teach: Callable[[U8], F32], pictures: list[Picture], out_dir: Path, sure: float = SURE
) -> int:
    """Writes `<stem>.png`, 8-bit probability, for every sure picture; returns how many."""
    out_dir.mkdir(parents=True, exist_ok=True)
    kept = 0
    for picture in pictures:
        probability = teach(picture.rgb)
        if is_sure(probability, sure):
            levels = np.round(probability * 255.0).astype(np.uint8)
            cv2.imwrite(str(out_dir / f"{Path(picture.row.file).stem}.png"), levels)
            kept += 1
    return kept


def add_pseudo(pool: Pool, folder: Path) -> int:
    """Adds every plain photo with a mask in `folder` to the photos, as source `pseudo`.

    The plain photo stays where it is too, as a ground behind other subjects.
    """
    found = [
        replace(picture, alpha=mask)
        for picture in pool.plain
        if (mask := mask_of(picture, folder)) is not None
    ]
    if found:
        pool.photos[PREFIX] = found
    return len(found)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Label photos that have no mask.")
    teacher = parser.add_mutually_exclusive_group(required=True)
    teacher.add_argument("--checkpoint", type=Path)
    teacher.add_argument("--model", help="name of a released model")
    parser.add_argument("--sure", type=float, default=SURE, help="mean |p - 0.5| to be kept")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--tiers", default="AB", help="letters, as in AB")
    parser.add_argument("--side", type=int, default=384, help="the run's cache_side_px")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    torch.set_num_threads(1)
    rows = select(read_manifest(args.data), "train", args.tiers)
    plain = [row for row in rows if row.folder == "images" and not row.has_mask]
    pictures = load_pool(args.data, plain, args.side).plain
    if args.model:
        model = Registry([], shipped_dirs=(BUILTIN_DIR,)).load(args.model)
        assert isinstance(model, Model)  # no target was named, so it runs on the CPU
        teach = partial(released, model)
    else:
        teach = partial(consensus, net_from(args.checkpoint).eval())
    kept = label(teach, pictures, args.out, args.sure)
    print(f"{kept} of {len(pictures)} photos labelled in {args.out}")


if __name__ == "__main__":
    main()
