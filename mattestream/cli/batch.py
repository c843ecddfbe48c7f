"""Many pictures through one remover, a few at a time; one that fails does not stop the rest.

Called by `mattestream.cli.remove`. Memory holds `jobs` pictures, however long the list.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Generator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Protocol

from mattestream.cli.paths import identity, is_file, is_folder, is_taken
from mattestream.cli.sources import Picture
from mattestream.cli.wording import in_flags
from mattestream.reply import Removal


class Remover(Protocol):
    """Takes the background from one picture; called from several threads."""

    def remove(self, data: bytes) -> Removal:
        """The result.

        Raises:
            Exception: of the kinds in `errors`; the text is for people.
        """

    @property
    def errors(self) -> tuple[type[Exception], ...]:
        """What `remove` raises for one picture's own failure."""


@dataclass(frozen=True, slots=True)
class Job:
    """One picture and the path of its result; None is stdout."""

    picture: Picture
    target: Path | None


@dataclass(frozen=True, slots=True)
class Finished:
    """What became of one job.

    Attributes:
        job: the job.
        removal: the result, already written; None when it failed or was skipped.
        problem: why it failed; empty when it did not.
        skipped: True when the result was there and `skip_existing` said to leave it.
        elapsed_ms: from reading the file to its result on disk.
    """

    job: Job
    removal: Removal | None = None
    problem: str = ""
    skipped: bool = False
    elapsed_ms: float = 0.0


def run(
    jobs: Sequence[Job],
    remover: Remover,
    *,
    workers: int,
    force: bool = False,
    skip_existing: bool = False,
) -> Generator[Finished, None, None]:
    """Outcomes as they come; closing the iterator gives up what has not begun.

    Args:
        jobs: what to do.
        remover: who does it.
        workers: pictures at a time, 1 or more.
        force: replace results that exist.
        skip_existing: leave results that exist, without calling that a failure.
    """
    sources = {identity(job.picture.path) for job in jobs if job.picture.path}

    def one(job: Job) -> Finished:
        return _one(job, remover, sources, force=force, skip_existing=skip_existing)

    remaining = iter(jobs)
    with ThreadPoolExecutor(workers, thread_name_prefix="remove") as pool:
        running: set[Future[Finished]] = set()
        try:
            while True:
                for job in islice(remaining, workers - len(running)):
                    running.add(pool.submit(one, job))
                if not running:
                    return
                done, running = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    yield future.result()
        finally:
            for future in running:
                future.cancel()


def _one(
    job: Job, remover: Remover, sources: set[str], *, force: bool, skip_existing: bool
) -> Finished:
    def taken() -> Finished | None:
        return _taken(job, sources, force=force, skip_existing=skip_existing)

    if finished := taken():
        return finished
    started = time.perf_counter()
    try:
        removal = remover.remove(_read(job.picture))
        _write(removal, job.target, force)
    except FileExistsError as error:  # the result came while we worked; or a file is in its way
        return taken() or _failed(job, error)
    except OSError as error:
        return _failed(job, error)
    except remover.errors as error:
        return Finished(job, problem=in_flags(str(error)))
    return Finished(job, removal, elapsed_ms=(time.perf_counter() - started) * 1e3)


def _taken(job: Job, sources: set[str], *, force: bool, skip_existing: bool) -> Finished | None:
    """What becomes of a job whose target is there already; None when it may be written."""
    target = job.target
    if target is None or not is_taken(target):
        return None
    if identity(target) in sources:
        problem = f"{target} is itself one of the pictures: write to another folder"
    elif is_folder(target):
        problem = f"{target} is a folder: move it away, or write to another folder"
    elif skip_existing and is_file(target):
        return Finished(job, skipped=True)
    elif force:
        return None
    else:
        problem = f"{target} exists: use --force to replace it, --skip-existing to keep it"
    return Finished(job, problem=problem)


def _failed(job: Job, error: OSError) -> Finished:
    said = error.strerror or str(error)
    name = job.picture.name
    where = str(error.filename or name)
    return Finished(job, problem=said if where == name else f"{where}: {said}")


def _read(picture: Picture) -> bytes:
    return sys.stdin.buffer.read() if picture.path is None else picture.path.read_bytes()


def _write(removal: Removal, target: Path | None, force: bool) -> None:
    if target is None:
        sys.stdout.buffer.write(removal.data)
        sys.stdout.buffer.flush()
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    removal.save(target, replace=force)
