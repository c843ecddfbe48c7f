"""Under which names results are written: one per picture, and no two alike."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mattestream.cli.paths import is_file, is_folder
from mattestream.cli.sources import Picture

STDOUT = "-"
FORMAT_OF_SUFFIX = {
    ".png": "png",
    ".webp": "webp",
    ".jpg": "jpeg",
    ".jpeg": "jpeg",
    ".zip": "zip",
    ".json": "json",
    ".npy": "npy",
}
SUFFIX_OF_FORMAT = {
    "png": ".png",
    "webp": ".webp",
    "jpeg": ".jpg",
    "zip": ".zip",
    "json": ".json",
    "npy": ".npy",
}
# Endings that nobody gives a folder.
FOREIGN_SUFFIXES = frozenset(
    {".gif", ".bmp", ".tif", ".tiff", ".avif", ".heic", ".jfif", ".psd", ".svg", ".pdf", ".mp4"}
)
# Outputs with a form of their own, and the file that holds it.
FORMAT_OF_OUTPUT = {"rle": "json", "polygons": "json", "tensor": "npy"}


@dataclass(frozen=True, slots=True)
class Destination:
    """What `-o` means.

    Attributes:
        folder: results go in here under their own names; None when `file` is set.
        file: the one result's path; None with `folder` None too is stdout.
    """

    folder: Path | None = None
    file: Path | None = None


def read_destination(output: str, pictures: int) -> Destination:
    """What `-o OUTPUT` means for so many pictures.

    A file is meant for one picture when the path has an ending we write and is no folder.

    Raises:
        ValueError: several pictures cannot go into one file, or files of that ending are not
            written; the sentence says so.
    """
    if output == STDOUT:
        if pictures > 1:
            raise ValueError(f"-o - takes one picture, {pictures} were given: name a folder")
        return Destination()
    path = Path(output)
    named_as_file = (
        path.suffix.lower() in FORMAT_OF_SUFFIX and not is_folder(path) and not output.endswith("/")
    )
    if not named_as_file:
        if is_file(path):
            raise ValueError(
                f"{output} is a file and its ending is none of "
                f"{', '.join(FORMAT_OF_SUFFIX)}: name a folder, or a file with such an ending"
            )
        if path.suffix.lower() in FOREIGN_SUFFIXES and not is_folder(path):
            raise ValueError(
                f"{output} is no ending that is written: name a file with one of "
                f"{', '.join(FORMAT_OF_SUFFIX)}, or a folder"
            )
        return Destination(folder=path)
    if pictures > 1:
        raise ValueError(f"-o {output} is one file, {pictures} pictures were given: name a folder")
    return Destination(file=path)


def choose_format(asked: str | None, destination: Destination, output: str | None = None) -> str:
    """The format's name: the output's own, else what was asked, else what the file's ending says,
    else "png".

    Raises:
        ValueError: the two contradict each other.
    """
    implied = FORMAT_OF_SUFFIX.get(destination.file.suffix.lower()) if destination.file else None
    own = FORMAT_OF_OUTPUT.get(output or "")
    if own and asked:
        raise ValueError(f"--output {output} has a form of its own: leave --format out")
    if own and implied not in (None, own):
        raise ValueError(
            f"--output {output} makes {SUFFIX_OF_FORMAT[own]} files, not {destination.file}: name "
            f"the file so, or name a folder"
        )
    if not own and implied in FORMAT_OF_OUTPUT.values():
        fitting = ", ".join(name for name, kind in FORMAT_OF_OUTPUT.items() if kind == implied)
        raise ValueError(
            f"{destination.file} can hold {fitting}: choose it with --output, or another ending"
        )
    if own:
        return own
    if asked and implied and asked != implied:
        raise ValueError(
            f"--format {asked} does not fit {destination.file}: leave --format out or "
            f"name the file {destination.file.stem if destination.file else ''}"
            f"{SUFFIX_OF_FORMAT[asked]}"
        )
    return asked or implied or "png"


def plan(
    pictures: Sequence[Picture], destination: Destination, format_name: str
) -> list[Path | None]:
    """The path of each picture's result; None stands for stdout.

    NAME.png as a rule. Pictures that would share a name keep their own ending in it (a.jpg.png,
    a.png.png), and get a number when that is not enough.
    """
    if destination.folder is None:
        return [destination.file] * len(pictures)
    suffix = SUFFIX_OF_FORMAT[format_name]
    folders = [destination.folder / picture.folder for picture in pictures]
    short = [folder / f"{p.stem}{suffix}" for folder, p in zip(folders, pictures, strict=True)]
    # Case is folded because some file systems do: A.png and a.png would be one file there.
    counts = Counter(_key(path) for path in short)
    taken = {_key(path) for path in short if counts[_key(path)] == 1}
    paths: list[Path | None] = []
    for picture, folder, path in zip(pictures, folders, short, strict=True):
        if counts[_key(path)] == 1:
            paths.append(path)
            continue
        name = picture.path.name if picture.path else picture.stem
        paths.append(_free(folder, name, suffix, taken))
    return paths


def _free(folder: Path, name: str, suffix: str, taken: set[str]) -> Path:
    """The first of name.png, name-2.png, name-3.png, ... that nobody has; takes it."""
    path, number = folder / f"{name}{suffix}", 1
    while _key(path) in taken:
        number += 1
        path = folder / f"{name}-{number}{suffix}"
    taken.add(_key(path))
    return path


def _key(path: Path) -> str:
    return str(path).casefold()
