"""A folder of pictures with truths, found and paired before anything is run.

Called by `mattestream eval`. A folder has up to four parts, and a manifest may name, group and
split their files:

    images/       pictures
    truth/        or masks/: their alphas, of the same stem, any ending
    cutouts/      RGBA subjects, for generated composites
    backgrounds/  pictures without a subject: grounds of composites, and a test for false alarms
"""

from __future__ import annotations

import csv
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath

import numpy as np

from server.codecs.decode import decode
from server.codecs.header import Limits
from server.evaluation.cases import Case, Lead, alpha_of, check_size, raw_source, read_truth, scaled
from server.job import EncodedSource

IMAGES, CUTOUTS, BACKGROUNDS = "images", "cutouts", "backgrounds"
TRUTHS = ("truth", "masks")
MANIFEST = "manifest.csv"
NO_SUBJECT = "no subject"
SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".avif", ".tif", ".tiff", ".bmp", ".gif"})
_WITHOUT_TRUTH = frozenset({"0", "no", "none", "false", "pseudo"})  # of the column has_gt


class BadDataset(Exception):
    """The folder or its manifest is not what can be measured with; the sentence says why."""


@dataclass(frozen=True, slots=True)
class Row:
    """One file of the folder: `file` relative to it, `truth` too or empty, `group` may be empty."""

    file: str
    group: str = ""
    truth: str = ""
    has_truth: bool = True

    @property
    def part(self) -> str:
        """The folder it lies in: "images", "cutouts", "backgrounds"."""
        return PurePosixPath(self.file).parts[0]


@dataclass(slots=True)
class Dataset:
    """What a folder holds.

    Attributes:
        folder: of the files.
        photos: pictures with truths, then pictures without a subject.
        cutouts: subjects for composites, with their groups.
        backgrounds: grounds for composites.
        problems: a sentence for each picture that had to be left out.
        notes: sentences on what was left out as the manifest wants it.
    """

    folder: Path
    photos: list[Lead] = field(default_factory=list)
    cutouts: list[tuple[Path, str]] = field(default_factory=list)
    backgrounds: list[Path] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def open_dataset(
    folder: Path,
    limits: Limits,
    *,
    manifest: Path | None = None,
    split: str | None = None,
    group_column: str | None = None,
    side_px: int | None = None,
) -> Dataset:
    """What there is to measure with; no picture is read yet.

    Args:
        folder: see the module.
        limits: of the pictures, as a server has them.
        manifest: a CSV file with the column `file` (a path relative to `folder`), and maybe
            `truth` (the same), `split`, `has_gt` and columns to group by. None: the folder's
            manifest.csv, or without one the files as they lie there.
        split: rows of this split only; None: all.
        group_column: of the manifest, in the tables a row for each value. None: `group` or `kind`,
            whichever there is. Without a manifest the subfolders of images/ are the groups.
        side_px: pictures and truths are scaled until their longer side has this many pixels.

    Raises:
        BadDataset: no folder, nothing in it, or a manifest without the columns.
    """
    if not folder.is_dir():
        raise BadDataset(f"{folder} is no folder: name one that holds images/ and truth/")
    if manifest is None and (folder / MANIFEST).is_file():
        manifest = folder / MANIFEST
    if manifest is not None:
        rows = _manifest_rows(manifest, split, group_column)
    elif split is not None or group_column is not None:
        raise BadDataset(
            f"a split or a group column was named, but {folder} has no {MANIFEST}: add one, name "
            "another with --manifest, or leave both out"
        )
    else:
        rows = _folder_rows(folder)
    found = Dataset(folder)
    reading = _Reading(folder, limits, side_px)
    truths = _truths_by_stem(folder)
    without: Counter[str] = Counter()
    for row in rows:
        if row.part == CUTOUTS:
            found.cutouts.append((folder / row.file, row.group))
        elif row.part == BACKGROUNDS:
            found.backgrounds.append(folder / row.file)
            found.photos.append(_lead(reading, row.file, None, NO_SUBJECT))
        elif not row.has_truth:
            without[row.group] += 1
        else:
            _add_photo(found, row, truths, reading)
    if total := sum(without.values()):
        found.notes.append(f"{total} pictures are left out: by the manifest they have no truth")
    if not found.photos and not found.cutouts and not found.problems:
        raise BadDataset(
            f"{folder} has nothing to measure with: put pictures into {IMAGES}/ and their alphas, "
            f"under the same names, into {TRUTHS[0]}/"
        )
    return found


def limited(leads: Sequence[Lead], most: int) -> list[Lead]:
    """At most so many of each group, spread evenly over its files; the same ones every time."""
    groups: dict[str, list[Lead]] = defaultdict(list)
    for lead in leads:
        groups[lead.group].append(lead)
    return [
        members[place]
        for members in groups.values()
        for place in np.linspace(0, len(members) - 1, min(most, len(members))).round().astype(int)
    ]


def _add_photo(
    found: Dataset,
    row: Row,
    truths: dict[str, list[Path]],
    reading: _Reading,
) -> None:
    stem = _stem(row.file)
    named = [found.folder / row.truth] if row.truth else truths.get(stem, [])
    if not (found.folder / row.file).is_file():
        found.problems.append(f"{row.file} is not there, though the manifest names it")
    elif not named or not named[0].is_file():
        where = row.truth or f"{TRUTHS[0]}/{stem}.png (or in {TRUTHS[1]}/)"
        found.problems.append(f"{row.file} has no truth: it is looked for at {where}")
    elif len(named) > 1:
        several = ", ".join(path.relative_to(found.folder).as_posix() for path in named)
        found.problems.append(f"{row.file} has more than one truth ({several}): keep one")
    else:
        group = row.group or "all"
        found.photos.append(_lead(reading, row.file, named[0], group))


@dataclass(frozen=True, slots=True)
class _Reading:
    """How pictures are read."""

    folder: Path
    limits: Limits
    side_px: int | None


def _lead(reading: _Reading, file: str, truth: Path | None, group: str) -> Lead:
    return Lead(file, group, partial(_load, reading, file, truth, group))


def _load(reading: _Reading, name: str, truth: Path | None, group: str) -> Case:
    side_px = reading.side_px
    encoded = EncodedSource((reading.folder / name).read_bytes())
    decoded = decode(encoded, reading.limits)
    height, width = decoded.rgb.shape[:2]
    alpha_u8 = np.zeros((height, width), np.uint8) if truth is None else read_truth(truth)
    check_size(name, alpha_u8, width, height)
    if side_px is None:
        return Case(name, group, encoded, alpha_of(alpha_u8))
    own = None if decoded.alpha is None else scaled(decoded.alpha, side_px)
    source = raw_source(scaled(decoded.rgb, side_px), own)
    return Case(name, group, source, alpha_of(scaled(alpha_u8, side_px)))


def _manifest_rows(path: Path, split: str | None, group_column: str | None) -> list[Row]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as lines:
            reader = csv.DictReader(lines)
            columns = list(reader.fieldnames or ())
            table = list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise BadDataset(f"the manifest {path} cannot be read: {error}") from error
    wanted = ["file", *(["split"] if split else []), *([group_column] if group_column else [])]
    for column in wanted:
        if column not in columns:
            raise BadDataset(
                f"the manifest {path} has no column {column}; it has {', '.join(columns) or 'none'}"
            )
    splits = {row["split"] for row in table} if split else set()
    if split and split not in splits:
        raise BadDataset(f"no row of {path} has the split {split}; there are {_listed(splits)}")
    group = group_column or next((name for name in ("group", "kind") if name in columns), "")
    rows = [row for row in table if not split or row["split"] == split]
    return [_row(path, place, row, group) for place, row in enumerate(rows, start=1)]


def _row(manifest: Path, place: int, row: dict[str, str | None], group: str) -> Row:
    file = (row["file"] or "").strip().replace("\\", "/")
    truth = (row.get("truth") or "").strip().replace("\\", "/")
    for name in filter(None, (file, truth)):
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
            raise BadDataset(
                f"the manifest {manifest} names {name}: paths must be relative to the folder and "
                "stay inside it"
            )
    if not file or PurePosixPath(file).parts[0] not in (IMAGES, CUTOUTS, BACKGROUNDS):
        raise BadDataset(
            f"row {place} of those meant in {manifest} names {file or 'no file'}: files lie in "
            f"{IMAGES}/, {CUTOUTS}/ or {BACKGROUNDS}/"
        )
    has_truth = (row.get("has_gt") or "1").strip().lower() not in _WITHOUT_TRUTH
    return Row(file, (row.get(group) or "").strip() if group else "", truth, has_truth)


def _folder_rows(folder: Path) -> list[Row]:
    rows: list[Row] = []
    for part in (IMAGES, CUTOUTS, BACKGROUNDS):
        for path in _pictures(folder / part):
            inner = path.relative_to(folder / part).parent
            rows.append(Row(path.relative_to(folder).as_posix(), "/".join(inner.parts)))
    return rows


def _truths_by_stem(folder: Path) -> dict[str, list[Path]]:
    """Every truth by its path below truth/ or masks/, without ending."""
    truths: dict[str, list[Path]] = defaultdict(list)
    for part in TRUTHS:
        for path in _pictures(folder / part):
            truths[_stem(path.relative_to(folder).as_posix())].append(path)
    return truths


def _stem(file: str) -> str:
    """The path below its first folder, without ending: "ann" of "images/ann.jpg"."""
    return "/".join(PurePosixPath(file).with_suffix("").parts[1:])


def _pictures(folder: Path) -> list[Path]:
    return sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())


def _listed(words: Iterable[str | None]) -> str:
    return ", ".join(sorted(filter(None, words))) or "none"
