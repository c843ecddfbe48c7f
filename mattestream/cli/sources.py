"""Which pictures a command line means: files as named, folders by their endings, "-" for stdin."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from mattestream.cli.paths import identity, is_file, is_folder

STDIN = "-"
SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".png", ".webp", ".avif", ".tif", ".tiff", ".bmp", ".gif"}
)


@dataclass(frozen=True, slots=True)
class Picture:
    """One input.

    Attributes:
        path: the file; None for stdin.
        folder: where it lies below the folder that was named; "." for files named themselves.
    """

    path: Path | None
    folder: Path = Path()

    @property
    def name(self) -> str:
        """What to call it in messages."""
        return "stdin" if self.path is None else str(self.path)

    @property
    def stem(self) -> str:
        """The name that its result gets, without ending."""
        return "stdin" if self.path is None else self.path.stem


def find(
    arguments: Iterable[str], *, recursive: bool, without: Path | None = None
) -> list[Picture]:
    """The pictures that are meant, in the order of the command line, folders sorted, none twice.

    A file that is named is taken whatever its ending, and also when it does not exist: that is one
    file's failure, told with the others.

    Args:
        arguments: paths, or "-".
        recursive: go down into folders.
        without: a folder whose content is left out: the results of an earlier run.
    """
    seen: set[str | None] = set()
    pictures: list[Picture] = []
    for argument in arguments:
        for picture in _meant_by(argument, recursive, without):
            key = identity(picture.path) if picture.path else None
            if key not in seen:
                seen.add(key)
                pictures.append(picture)
    return pictures


def _meant_by(argument: str, recursive: bool, without: Path | None) -> Iterator[Picture]:
    if argument == STDIN:
        yield Picture(None)
        return
    top = Path(argument)
    if not is_folder(top):
        yield Picture(top)
        return
    try:
        paths = sorted(top.rglob("*") if recursive else top.iterdir())
    except OSError:  # may not be listed: reading it says why, as one failure among the others
        yield Picture(top)
        return
    for path in paths:
        hidden = any(part.startswith(".") for part in path.relative_to(top).parts)
        if path.suffix.lower() not in SUFFIXES or hidden or not is_file(path):
            continue
        if without is None or not _is_a_result(path, top, without):
            yield Picture(path, path.parent.relative_to(top))


def _is_a_result(path: Path, top: Path, results: Path) -> bool:
    """True for what lies in a folder of results below `top`; `top` itself may be that folder."""
    folder = identity(results)
    return folder != identity(top) and Path(identity(path)).is_relative_to(folder)
