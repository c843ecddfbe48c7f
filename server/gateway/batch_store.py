"""Batches as they lie on disk, and nothing else of them: a folder each, safe to come back to.

    <batch_dir>/<id>/batch.json      what was asked; written last: without it it is no batch
                     in/000007       the eighth picture as it came
                     out/000007      what was made of it
                     journal.jsonl   a line for each picture that is over: done, or why not
                     results.zip     made when all are over

Names of callers never become paths. Used by `server.gateway.batches`, in threads where it reads or
writes more than a line.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import shutil
import zipfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePosixPath
from typing import IO, Any

from server.listener import StartError

_SUFFIXES = {
    "image/png": ".png",
    "image/webp": ".webp",
    "image/jpeg": ".jpg",
    "application/zip": ".zip",
}
MAX_NAME_CHARS = 200
_NOT_IN_NAMES = frozenset(':*?"<>|')


class FolderInUse(StartError):
    """Another server has its batches there; or the folder cannot be written to."""


@dataclass(slots=True)
class Batch:
    """A batch, as batch.json and its journal tell it.

    Attributes:
        options: protobuf's JSON form of RemoveOptions.
        names: of the pictures, as the caller calls them.
        created_at: seconds since 1970.
        over: by the picture's place, None when it is done, else the sentence why not.
        media_types: of what was made, by place.
        disk_bytes: what it takes.
        has_results: results.zip is there.
    """

    id: str
    owner: str
    options: dict[str, Any]
    names: list[str]
    created_at: float
    over: dict[int, str | None] = field(default_factory=dict)
    media_types: dict[int, str] = field(default_factory=dict)
    disk_bytes: int = 0
    has_results: bool = False

    @property
    def failed(self) -> list[int]:
        """Places of the pictures that nothing came of."""
        return sorted(place for place, why in self.over.items() if why is not None)

    @property
    def open_places(self) -> list[int]:
        """Places of the pictures that are still to do."""
        return [place for place in range(len(self.names)) if place not in self.over]


class BatchStore:
    """The folder of all batches; one server's alone.

    Args:
        folder: made when it is not there, readable by this user only.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock: IO[str] | None = None

    def open(self) -> list[Batch]:
        """Takes the folder, and gives the batches that lie there; what is no batch is removed.

        Raises:
            FolderInUse: another server has it, or it cannot be used.
        """
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = (self.folder / ".lock").open("w")
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.close()
            raise FolderInUse(
                f"another server keeps its batches in {self.folder}: choose another --batch-dir"
            ) from None
        except OSError as error:
            self.close()
            raise FolderInUse(
                f"batches cannot be kept in {self.folder} ({error.strerror}): choose another "
                "--batch-dir"
            ) from error
        found = []
        for place in sorted(self.folder.iterdir()):
            if not place.is_dir():
                continue
            batch = _read(place)
            if batch is None:
                shutil.rmtree(place, ignore_errors=True)  # an upload that was cut off
            else:
                found.append(batch)
        return found

    def close(self) -> None:
        """Gives the folder back."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def begin(self) -> str:
        """The id of a new batch, whose folders are there; no batch until `commit`."""
        name = secrets.token_hex(16)
        for part in ("in", "out"):
            (self.folder / name / part).mkdir(mode=0o700, parents=True)
        return name

    def commit(self, batch: Batch) -> None:
        """From here on it survives a restart."""
        place = self.folder / batch.id
        asked = {
            key: value
            for key, value in asdict(batch).items()
            if key in {"id", "owner", "options", "names", "created_at"}
        }
        draft = place / "batch.json.new"
        draft.write_text(json.dumps(asked), encoding="utf-8")
        draft.replace(place / "batch.json")

    def source(self, batch_id: str, place: int) -> Path:
        """Where a picture lies as it came."""
        return self.folder / batch_id / "in" / f"{place:06d}"

    def finish(
        self, batch: Batch, place: int, data: bytes | None, media_type: str, why: str | None
    ) -> None:
        """Notes that a picture is over: writes what was made of it, then the journal's line."""
        home = self.folder / batch.id
        if data is not None:
            (home / "out" / f"{place:06d}").write_bytes(data)
        line = {"place": place, "error": why, "media_type": media_type}
        with (home / "journal.jsonl").open("a", encoding="utf-8") as journal:
            journal.write(json.dumps(line) + "\n")

    def pack(self, batch: Batch) -> int:
        """Makes results.zip, with a list of what failed; gives its bytes. Pictures are
        compressed already and stored as they are. What it was made of goes.
        """
        home = self.folder / batch.id
        draft = home / "results.zip.new"
        with zipfile.ZipFile(draft, "w", zipfile.ZIP_STORED) as archive:
            for place, name in zip(*_named(batch), strict=True):
                archive.write(home / "out" / f"{place:06d}", name)
            failures = [
                {"name": batch.names[place], "error": batch.over[place]} for place in batch.failed
            ]
            if failures:
                archive.writestr("failed.json", json.dumps(failures, indent=1))
        draft.replace(home / "results.zip")
        for part in ("in", "out"):
            shutil.rmtree(home / part, ignore_errors=True)
        return os.path.getsize(home / "results.zip")  # noqa: PTH202  # one call, no second object

    def results(self, batch_id: str) -> IO[bytes]:
        """results.zip, open."""
        return (self.folder / batch_id / "results.zip").open("rb")

    def delete(self, batch_id: str) -> None:
        """Takes it from the disk, batch.json first, so that a cut leaves no half batch."""
        home = self.folder / batch_id
        (home / "batch.json").unlink(missing_ok=True)
        shutil.rmtree(home, ignore_errors=True)


def safe_name(name: str) -> str:
    """`name` as a relative path that leads nowhere else: no roots, no "..", no drives, no control
    characters.
    """
    words = []
    for word in name.replace("\\", "/").split("/"):
        kept = (letter for letter in word if letter.isprintable() and letter not in _NOT_IN_NAMES)
        clean = "".join(kept).strip()
        if clean.strip("."):
            words.append(clean[-MAX_NAME_CHARS:])
    return "/".join(words[-8:]) or "image"


def _named(batch: Batch) -> tuple[list[int], list[str]]:
    """Places and names in the archive of what was made, no name twice."""
    places, names, taken = [], [], set()
    for place in range(len(batch.names)):
        if batch.over.get(place, "") is not None:
            continue
        path = PurePosixPath(safe_name(batch.names[place]))
        suffix = _SUFFIXES.get(batch.media_types.get(place, ""), ".png")
        name = str(path.with_suffix(suffix))
        again = 1
        while name in taken:
            again += 1
            name = str(path.with_name(f"{path.stem}-{again}{suffix}"))
        taken.add(name)
        places.append(place)
        names.append(name)
    return places, names


def _read(home: Path) -> Batch | None:
    try:
        batch = Batch(**json.loads((home / "batch.json").read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None
    if batch.id != home.name:
        return None
    batch.has_results = (home / "results.zip").is_file()
    for line in _journal(home / "journal.jsonl"):
        made = home / "out" / f"{line['place']:06d}"
        if line["error"] is None and not batch.has_results and not made.is_file():
            continue  # the machine went down before it was on disk
        batch.over[line["place"]] = line["error"]
        batch.media_types[line["place"]] = line["media_type"]
    batch.disk_bytes = sum(file.stat().st_size for file in home.rglob("*") if file.is_file())
    return batch


def _journal(path: Path) -> Iterator[dict[str, Any]]:
    """The journal's whole lines. One that the end of a process has cut goes: its picture is done
    again, and the next line must not begin where it ends.
    """
    try:
        text = path.read_bytes()
    except OSError:
        return
    whole = text[: text.rfind(b"\n") + 1]
    if len(whole) < len(text):
        os.truncate(path, len(whole))
    for line in whole.splitlines():
        yield json.loads(line)
