"""Ten times more than the server can do, for a minute: is what it takes in on time, what it refuses
refused at once, and is it itself again when the load ends?

    python -m loadtest.overload [--times 10] [--seconds 60] [--deadline 1]

Capacity is measured first, by a closed loop. Then one open loop runs calm, loaded, calm; what is
called calm is half the capacity. The page judges each claim; a broken one makes the exit code 1.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from loadtest import report
from loadtest.callers import LoadSpec, let_loose, start_callers
from loadtest.open_loop import OpenLoopSpec, Step, outcomes_of, start_open_loop
from loadtest.overload_findings import REFUSED, Overload, Refusals, page
from loadtest.photos import SIZES, PhotoSet, load_photos
from loadtest.servers import ServerProcess, Watch, mattestream_server

CALM_SHARE = 0.5  # of the capacity
CLOSED_CALLERS = 8


def capacity(server: ServerProcess, paths: tuple[str, ...], model: str, seconds: float) -> float:
    """Photos per second that a few callers get out of the server."""
    spec = LoadSpec(
        "mattestream",
        server.address,
        model,
        paths,
        callers=CLOSED_CALLERS,
        requests=10**6,
        seconds=seconds,
    )
    with start_callers(spec) as load_process:
        load = let_loose(load_process)
    if load.errors:
        raise RuntimeError(f"{len(load.errors)} requests failed, the first: {load.errors[0]}")
    return len(load.latencies_ms) / load.seconds


def refusals(log: Path) -> Refusals:
    """How long the server took to refuse, from its log's lines."""
    lines = log.read_text(encoding="utf-8").splitlines()
    entries = (_entry(line) for line in lines if f'"{REFUSED}"' in line)
    return Refusals([entry["total_ms"] for entry in entries if entry is not None])


def _entry(line: str) -> dict[str, float] | None:
    try:
        entry: dict[str, float] = json.loads(line)
    except ValueError:
        return None
    return entry if "total_ms" in entry else None


def run(options: argparse.Namespace, arguments: Sequence[str]) -> int:
    """Measures, prints and writes; the number of broken claims."""
    facts = {
        **report.machine_facts(),
        "commit": report.commit(),
        "command": f"`{report.shown_command('overload', arguments)}`",
    }
    with tempfile.TemporaryDirectory(prefix="mattestream-overload-") as folder:
        work = Path(folder)
        photos = load_photos(options.size, options.photos)
        paths = _written(photos, work)
        settings = {"MATTESTREAM_LOG_FORMAT": "json"}
        if options.model:
            settings |= {
                "MATTESTREAM_MODEL": options.model,
                "MATTESTREAM_MODEL_DIRS": str(options.model_dir or ""),
            }
        with mattestream_server(work, environment=settings) as server:
            per_s = capacity(server, paths, options.model, options.calibrate)
            print(f"capacity: {per_s:.1f} photos/s; loading {options.times:g} times that")
            calm = Step(per_s * CALM_SHARE, options.calm)
            loaded = Step(per_s * options.times, options.seconds)
            spec = OpenLoopSpec(
                server.address, options.model, paths, (calm, loaded, calm), options.deadline
            )
            with start_open_loop(spec) as generator:
                idle_mb = server.rss_mb()
                with Watch(server) as watch:
                    outcomes = outcomes_of(generator)
        found = Overload(
            facts=facts,
            photos=photos.note,
            capacity_per_s=per_s,
            steps=spec.steps,
            deadline_s=options.deadline,
            outcomes=outcomes,
            refusals=refusals(work / "mattestream.log"),
            idle_rss_mb=idle_mb,
            peak_rss_mb=watch.peak_rss_mb,
            server_cpu_s=watch.cpu_s,
        )
    text = page(found)
    print("\n" + text)
    written = report.write_results(f"overload-{options.size}", found.figures(), text, options.out)
    print("\nwritten: " + ", ".join(str(path) for path in written))
    return sum(not claim.holds for claim in found.claims)


def _written(photos: PhotoSet, work: Path) -> tuple[str, ...]:
    paths = []
    for photo in photos.photos:
        (work / photo.name).write_bytes(photo.data)
        paths.append(str(work / photo.name))
    return tuple(paths)


def main(arguments: Sequence[str]) -> int:
    """The command line; 1 when a claim is broken."""
    parser = argparse.ArgumentParser(prog="loadtest.overload", description=__doc__.split("\n\n")[0])
    add = parser.add_argument
    add("--times", type=float, default=10.0, help="load, in multiples of the capacity")
    add("--seconds", type=float, default=60.0, help="of the overload")
    add("--calm", type=float, default=12.0, help="seconds before and after it")
    add("--deadline", type=float, default=1.0, help="of each request, seconds")
    add("--calibrate", type=float, default=8.0, help="seconds in which the capacity is measured")
    add("--size", choices=list(SIZES), default="1080p", help="which photos")
    add("--photos", type=Path, nargs="+", default=[], help="JPEGs to send instead")
    add("--model", default="", help="name; default: the server's")
    add("--model-dir", type=Path, help="folder of its manifest")
    add("--out", type=Path, default=report.RESULTS, help="folder of the report")
    return 1 if run(parser.parse_args(arguments), arguments) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
