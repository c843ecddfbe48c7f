"""Masks of photos that were looked at: a model's proposal, accepted or put right by hand.

Run by a person: `python -m models.training.eye_masks --data ../shared/data --out FOLDER`; then
`train.py --seen FOLDER` learns from them. What somebody saw is in `eye_masks.txt`, a line for each
photo: its name, a verdict, and after `edit` what to do, in order and separated by `|`:

    inet_00001 ok                   the proposal of matte-m is right
    inet_00002 skip                 no mask would be right, or none is worth the work
    inet_00003 empty                nothing in the photo is its subject: a ground
    inet_00004 edit largest | fill
    inet_00005 edit click +.5,.4 -.1,.9 box .2,.1,.8,.9 | cut .1,.8 .3,.8 .3,1 .1,1

Places are shares of width and height. `click` asks matte-click (box optional) and `grab L,T,R,B`
cuts along colours from a box; both begin anew. `only`, `add` and `cut` take a polygon, whose edge
then follows the picture's; with a `!` after the word it stays as drawn. `largest` drops all but the
largest part, `fill` closes holes (`mask_steps.py`). `eye_sheets.py` draws what one looks at. Needs
no torch.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from models.model import Model
from models.prompts import BoxPrompt, Click, Features, Prompts
from models.registry import BUILTIN_DIR, Registry
from models.training.data import U8, Pool, load_picture, mask_of, read_manifest
from models.training.mask_steps import apply, numbers
from models.training.served import served_alpha

F32 = NDArray[np.float32]

SEEN = Path(__file__).with_suffix(".txt")
PROPOSERS = (  # sha256 of matte-m 0.1.0 and of matte-click 0.2.0's encoder
    "ee40408a32634ea85a3f6196bca564c06ad644a32b99ad0e18113ffc252b38fa",
    "f7d674f64f1b68eb6ad773b5fc618a084bafde36ca2ccecfaf99350e4052d09c",
)
VERDICTS = ("ok", "edit", "skip", "empty")
CERTAIN = 4.0  # steepness of an accepted proposal: somebody has seen where its edge is


@dataclass(frozen=True)
class Seen:
    """One line: a photo's name without folder and ending, the verdict, and what is to be done."""

    stem: str
    verdict: str
    steps: tuple[str, ...] = ()


def read_seen(path: Path) -> list[Seen]:
    """The lines of a file of verdicts; `#` begins a comment.

    Raises:
        ValueError: a line is none, or a photo has two.
    """
    found: dict[str, Seen] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        words = line.split("#")[0].split(maxsplit=2)
        if not words:
            continue
        steps = tuple(step.strip() for step in words[2].split("|")) if len(words) == 3 else ()
        if len(words) < 2 or words[1] not in VERDICTS or (words[1] == "edit") != bool(steps):
            raise ValueError(
                f"{path}:{number} is '{line}': wanted is a name and one of {', '.join(VERDICTS)}, "
                f"with steps after 'edit' alone"
            )
        if words[0] in found:
            raise ValueError(f"{path}:{number}: {words[0]} has a line already")
        found[words[0]] = Seen(words[0], words[1], steps)
    return list(found.values())


class Maker:
    """Makes the masks of one photo after the other with the models whose proposals were seen.

    `models_dir` holds matte-m and matte-click as they were then, where the shipped ones are newer.
    """

    def __init__(self, models_dir: Path = BUILTIN_DIR) -> None:
        registry = Registry([], shipped_dirs=(models_dir,))
        proposer, clicker = registry.load("matte-m"), registry.load_prompt("matte-click")
        assert isinstance(proposer, Model)  # no target was named, so it runs on the CPU
        self.proposer, self.clicker = proposer, clicker

    def is_the_one_seen(self) -> bool:
        """True when these are the models that the verdicts of the repository speak of."""
        return (self.proposer.weights_sha256, self.clicker.weights_sha256) == PROPOSERS

    def propose(self, rgb: U8) -> F32:
        """Alpha (H, W) float32 in [0, 1] by matte-m, averaged with that of the mirrored photo."""
        mirrored = np.ascontiguousarray(rgb[:, ::-1])
        both = (served_alpha(self.proposer, rgb), served_alpha(self.proposer, mirrored)[:, ::-1])
        plain, turned = (alpha.astype(np.float32) / np.float32(255.0) for alpha in both)
        return (plain + turned) / np.float32(2.0)

    def make(self, rgb: U8, seen: Seen, proposal: F32 | None = None) -> U8:
        """The mask (H, W) uint8 of RGB (H, W, 3); all 0 where the verdict is `empty`.

        `proposal` saves asking matte-m again.

        Raises:
            ValueError: a step is none that the module's text names, or leaves nothing.
        """
        if seen.verdict == "empty":
            return np.zeros(rgb.shape[:2], np.uint8)
        alpha = self.propose(rgb) if proposal is None else proposal
        features: Features | None = None
        for step in seen.steps:
            word, _, rest = step.partition(" ")
            if word == "click":
                features = features or self.clicker.look(rgb)
                alpha = self._click(features, rest)
            else:
                alpha = apply(word, rest, rgb, alpha)
        levels = np.clip((alpha - 0.5) * CERTAIN + 0.5, 0.0, 1.0) * 255.0
        if seen.steps and levels.max() < 128:
            raise ValueError(f"{seen.stem}: its steps leave no subject")
        return np.round(levels).astype(np.uint8)

    def _click(self, features: Features, text: str) -> F32:
        clicks: list[Click] = []
        box: BoxPrompt | None = None
        words = iter(text.split())
        for word in words:
            if word == "box":
                box = BoxPrompt(*numbers(next(words, ""), 4))
            elif word[0] in "+-":
                clicks.append(Click(*numbers(word[1:], 2), wanted=word[0] == "+"))
            else:
                raise ValueError(f"click has '{word}': allowed are +x,y -x,y and box l,t,r,b")
        answer = self.clicker.answer(features, Prompts(tuple(clicks), box))
        whole = cv2.resize(answer.alpha, (features.width, features.height))
        return np.asarray(whole, np.float32)


def proposals(data: Path) -> list[Seen]:
    """Every photo without a mask, as if its proposal were right: what one looks at first."""
    plain = (row for row in read_manifest(data) if row.folder == "images" and not row.has_mask)
    return [Seen(Path(row.file).stem, "ok") for row in plain]


def masks(maker: Maker, data: Path, side: int, seen: list[Seen]) -> Iterator[tuple[str, U8]]:
    """Name and mask of every photo that is not skipped; `side` is the run's cache_side_px."""
    wanted = {line.stem: line for line in seen if line.verdict != "skip"}
    for row in read_manifest(data):
        line = wanted.get(Path(row.file).stem)
        if line is not None:
            yield line.stem, maker.make(load_picture(data, row, side).rgb, line)


def add_seen(pool: Pool, folder: Path) -> int:
    """Adds every plain photo with a mask in `folder` to the photos of its source; returns how many.

    Empty ones become backgrounds. A photo with a subject stays where it is too, as a ground behind
    other subjects.
    """
    plain, count = [], 0
    for picture in pool.plain:
        mask = mask_of(picture, folder)
        if mask is not None and not mask.any():
            pool.backgrounds.append(picture)
            count += 1
            continue
        plain.append(picture)
        if mask is not None:
            labelled = replace(picture, alpha=mask)
            pool.photos.setdefault(picture.row.prefix, []).append(labelled)
            count += 1
    pool.plain[:] = plain
    return count


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Make the masks of photos that were looked at.")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--seen", type=Path, default=SEEN, help="file of verdicts")
    which.add_argument(
        "--propose", action="store_true", help="every photo without a mask, as if it were `ok`"
    )
    parser.add_argument("--side", type=int, default=384, help="the run's cache_side_px")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument(
        "--models-dir", type=Path, default=BUILTIN_DIR, help="matte-m and matte-click as they were"
    )
    args = parser.parse_args()
    maker = Maker(args.models_dir)
    if not args.propose and args.seen == SEEN and not maker.is_the_one_seen():
        parser.error(
            f"{args.models_dir} holds other models than those whose proposals were looked at: "
            f"take models/builtin of the commit that added {SEEN.name}, by --models-dir"
        )
    args.out.mkdir(parents=True, exist_ok=True)
    count = 0
    seen = proposals(args.data) if args.propose else read_seen(args.seen)
    for stem, mask in masks(maker, args.data, args.side, seen):
        cv2.imwrite(str(args.out / f"{stem}.png"), mask)
        count += 1
    print(f"{count} masks in {args.out}")


if __name__ == "__main__":
    main()
