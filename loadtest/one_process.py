"""How far one process goes: what of a request can only run in one thread at a time.

    python -m loadtest.one_process

Two measurements, each with enough callers to keep the server busy. Photos with the built-in model:
CPU per request, by thread, of a whole request. Tiny raw frames with an engine that answers at once
(`flat_engine`): what is left then is gRPC and Python, and nearly all of it holds the interpreter's
lock. A core's worth of whole requests over that is the number of cores at which one process stops
getting faster.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from loadtest import report
from loadtest.callers import LoadSpec, let_loose, start_callers
from loadtest.photos import jpeg, load_photos, scene
from loadtest.servers import ServerProcess, flat_server, mattestream_server
from server.machine import usable_cores

CALLERS = 16
TINY_PX = (64, 48)
_TICK_MS = 1e3 / os.sysconf("SC_CLK_TCK")
HEADERS = ("what", "requests/s", "CPU ms a request", "of it the event loop's thread")


@dataclass(frozen=True, slots=True)
class Spent:
    """CPU of the server per request."""

    what: str
    per_s: float
    cpu_ms: float  # of all threads
    loop_ms: float  # of the event loop's

    def cells(self) -> list[str]:
        """Of the table."""
        return [self.what, f"{self.per_s:.1f}", f"{self.cpu_ms:.2f}", f"{self.loop_ms:.2f}"]


def threads_ms(pid: int) -> Mapping[int, float]:
    """CPU time of every thread of a process so far, by its id."""
    found: dict[int, float] = defaultdict(float)
    for task in Path(f"/proc/{pid}/task").iterdir():
        try:
            fields = (task / "stat").read_text(encoding="ascii").rpartition(")")[2].split()
        except OSError:
            continue  # it has ended
        found[int(task.name)] = (int(fields[11]) + int(fields[12])) * _TICK_MS
    return found


def spend(what: str, server: ServerProcess, paths: tuple[str, ...], seconds: float) -> Spent:
    """The server under load.

    Raises:
        RuntimeError: a request failed.
    """
    spec = LoadSpec(
        "mattestream", server.address, "", paths, CALLERS, requests=10**6, seconds=seconds
    )
    with start_callers(spec) as process:
        before = threads_ms(server.pid)
        load = let_loose(process)
        after = threads_ms(server.pid)
    if load.errors:
        raise RuntimeError(f"{len(load.errors)} requests failed, the first: {load.errors[0]}")
    spent = {thread: ms - before.get(thread, 0.0) for thread, ms in after.items()}
    count = len(load.latencies_ms)
    # The process' first thread, whose id is the process', runs the event loop.
    return Spent(what, count / load.seconds, sum(spent.values()) / count, spent[server.pid] / count)


def run(options: argparse.Namespace, arguments: Sequence[str]) -> None:
    """Measures, prints and writes."""
    facts = {
        **report.machine_facts(),
        "commit": report.commit(),
        "command": f"`{report.shown_command('one_process', arguments)}`",
    }
    with tempfile.TemporaryDirectory(prefix="mattestream-one-process-") as folder:
        work = Path(folder)
        tiny = work / "tiny.jpg"
        tiny.write_bytes(jpeg(scene(*TINY_PX, seed=1)))
        photos = []
        for photo in load_photos("1080p").photos:
            (work / photo.name).write_bytes(photo.data)
            photos.append(str(work / photo.name))
        with mattestream_server(work, environment={"MATTESTREAM_LOG_LEVEL": "error"}) as server:
            whole = spend("1080p photos, built-in model", server, tuple(photos), options.seconds)
        with flat_server(work, run_ms=0.0, max_batch=1, runs=usable_cores()) as server:
            name = f"{TINY_PX[0]}x{TINY_PX[1]} pictures, an engine that answers at once"
            bare = spend(name, server, (str(tiny),), options.seconds)
    cores = whole.cpu_ms / bare.cpu_ms
    words = (
        f"What can run in one thread at a time is at most {bare.cpu_ms:.2f} ms of a request, so "
        f"that one process stops getting faster somewhere above {cores:.0f} cores, at "
        f"{1e3 / bare.cpu_ms:.0f} requests/s. This machine has fewer; the number is an estimate."
    )
    table = report.markdown_table(HEADERS, [whole.cells(), bare.cells()])
    text = "\n\n".join(["# How far one process goes", report.facts_list(facts), table, words])
    print("\n" + text)
    figures = {"facts": facts, "spent": [asdict(whole), asdict(bare)], "cores": cores}
    written = report.write_results("one-process", figures, text, options.out)
    print("\nwritten: " + ", ".join(str(path) for path in written))


def main(arguments: Sequence[str]) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="loadtest.one_process", description=__doc__.split("\n\n")[0]
    )
    parser.add_argument("--seconds", type=float, default=10.0, help="of each measurement")
    parser.add_argument("--out", type=Path, default=report.RESULTS, help="folder of the report")
    run(parser.parse_args(arguments), arguments)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
