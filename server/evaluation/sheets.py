"""Contact sheets: the worst and the best results of every run and group, as one JPEG each.

Called by `mattestream eval`, result by result; only what a sheet shows is kept in memory.
"""

from __future__ import annotations

import bisect
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from server.evaluation import panels
from server.evaluation.cases import U8
from server.evaluation.runs import Measured

_LINE_PX = 20
_TEXT_PX = 13
_QUALITY = 88


@dataclass(frozen=True, slots=True)
class Kept:
    """A result and its panel."""

    measured: Measured
    strip: U8


@dataclass(slots=True)
class Ends:
    """The worst and the best of one run and group, each sorted with the most telling first."""

    worst: list[Kept] = field(default_factory=list)
    best: list[Kept] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Sheet:
    """A sheet that was written."""

    run: str
    group: str
    end: str  # "worst" or "best"
    file: str  # name of the JPEG
    images: int


class Sheets:
    """Keeps the `worst` and `best` results by MAE of each run and group."""

    def __init__(self, worst: int, best: int) -> None:
        self._most = (worst, best)
        self._ends: dict[tuple[str, str], Ends] = {}

    def add(self, measured: Measured, draw: Callable[[], U8]) -> None:
        """Takes a result; `draw` gives its panel and is called only when it is kept."""
        ends = self._ends.setdefault((measured.run, measured.group), Ends())
        places = [
            _place(kept, measured, most, sign)
            for kept, most, sign in zip((ends.worst, ends.best), self._most, (-1, 1), strict=True)
        ]
        if all(place is None for place in places):
            return
        kept = Kept(measured, draw())
        for members, place, most in zip((ends.worst, ends.best), places, self._most, strict=True):
            if place is not None:
                members.insert(place, kept)
                del members[most:]

    def write(self, folder: Path) -> list[Sheet]:
        """The sheets as JPEG files in `folder`. A picture that is among the worst and the best, as
        in a group of few, is shown among the worst only.
        """
        folder.mkdir(parents=True, exist_ok=True)
        written: list[Sheet] = []
        for (run, group), ends in self._ends.items():
            shown = {kept.measured.name for kept in ends.worst}
            best = [kept for kept in ends.best if kept.measured.name not in shown]
            for end, members in (("worst", ends.worst), ("best", best)):
                if members:
                    file = f"{len(written) + 1:02d}-{_slug(group)}-{_slug(run)}-{end}.jpg"
                    _drawn(members).save(folder / file, quality=_QUALITY)
                    written.append(Sheet(run, group, end, file, len(members)))
        return written


def _place(members: list[Kept], measured: Measured, most: int, sign: int) -> int | None:
    """Where it belongs in the list; None when it is not among the `most` first."""
    errors = [sign * kept.measured.scores["mae"] for kept in members]
    place = bisect.bisect_right(errors, sign * measured.scores["mae"])
    return place if place < most else None


def _drawn(members: list[Kept]) -> Image.Image:
    font = ImageFont.load_default(_TEXT_PX)
    height = _LINE_PX + sum(kept.strip.shape[0] + _LINE_PX + 8 for kept in members)
    sheet = Image.new("RGB", (panels.row_width(), height), "white")
    pen = ImageDraw.Draw(sheet)
    for place, title in enumerate(panels.TITLES):
        pen.text((panels.tile_left(place) + 2, 2), title, "black", font)
    top = _LINE_PX
    for kept in members:
        # Pillow's own font knows Latin letters only; a name in others still tells its ending.
        caption = f"{kept.measured.name}   {figures(kept.measured)}"
        pen.text((2, top + 3), caption.encode("latin-1", "replace").decode("latin-1"), "#444", font)
        sheet.paste(Image.fromarray(np.ascontiguousarray(kept.strip)), (0, top + _LINE_PX))
        top += kept.strip.shape[0] + _LINE_PX + 8
    return sheet


def figures(measured: Measured) -> str:
    """The figures under a picture: "MAE 0.012, IoU 0.95, uncertainty 0.08"."""
    scores = measured.scores
    parts = [f"MAE {scores['mae']:.3f}"]
    if not measured.is_empty:
        parts.append(f"IoU {scores['iou']:.3f}")
    return ", ".join([*parts, f"uncertainty {measured.uncertainty:.2f}"])


def _slug(text: str) -> str:
    """Letters and digits that every file system takes."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:60] or "x"
