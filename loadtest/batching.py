"""Batching across callers: what it brings on an engine whose runs cost the same however full they
are, and that it costs a lone caller nothing.

    python -m loadtest.batching [--run-ms 20] [--batch 16]

Two servers with the same flat engine (`flat_engine`), one of which may put `--batch` images into a
run, the other one; at each number of callers they are loaded in turn. A third pair has the real CPU
engine with its own setting, where a batch is one image, beside one that is allowed more.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

from loadtest import report
from loadtest.callers import Load, LoadSpec, let_loose, start_callers
from loadtest.figures import median_ratio, percentile
from loadtest.photos import jpeg, scene
from loadtest.servers import ServerProcess, flat_server, mattestream_server

FRAME_PX = (320, 240)  # small: the engine, not the codecs, shall be the limit
HEADERS = ("engine, callers", "batched /s", "one by one /s", "ratio", "batched p50 ms", "p50 ratio")


@dataclass(frozen=True, slots=True)
class Row:
    """Both servers of a pair at one number of callers, round by round."""

    engine: str
    callers: int
    batched_per_s: list[float]
    single_per_s: list[float]
    batched_p50_ms: list[float]
    single_p50_ms: list[float]

    def cells(self) -> list[str]:
        """Of the table: medians of the rounds, and of their ratios."""
        return [
            f"{self.engine}, {self.callers}",
            f"{median(self.batched_per_s):.1f}",
            f"{median(self.single_per_s):.1f}",
            f"{median_ratio(self.batched_per_s, self.single_per_s):.2f}",
            f"{median(self.batched_p50_ms):.1f}",
            f"{median_ratio(self.batched_p50_ms, self.single_p50_ms):.2f}",
        ]


def load_once(server: ServerProcess, photo: str, callers: int, seconds: float) -> Load:
    """What `callers` see of that server.

    Raises:
        RuntimeError: a request failed.
    """
    spec = LoadSpec(
        "mattestream", server.address, "", (photo,), callers, requests=10**6, seconds=seconds
    )
    with start_callers(spec) as process:
        load = let_loose(process)
    if load.errors:
        raise RuntimeError(f"{len(load.errors)} requests failed, the first: {load.errors[0]}")
    return load


def measure(
    engine: str,
    pair: Sequence[ServerProcess],
    photo: str,
    callers: int,
    options: argparse.Namespace,
) -> Row:
    """One row: the two, which batches and which does not, take turns, and the order is turned round
    every round.
    """
    batched, single = pair
    loads: dict[str, list[Load]] = {batched.name: [], single.name: []}
    for turn in range(options.rounds):
        for server in (batched, single) if turn % 2 == 0 else (single, batched):
            loads[server.name].append(load_once(server, photo, callers, options.seconds))
    mine, other = loads[batched.name], loads[single.name]
    return Row(
        engine,
        callers,
        [len(load.latencies_ms) / load.seconds for load in mine],
        [len(load.latencies_ms) / load.seconds for load in other],
        [percentile(load.latencies_ms, 50) for load in mine],
        [percentile(load.latencies_ms, 50) for load in other],
    )


def run(options: argparse.Namespace, arguments: Sequence[str]) -> None:
    """Measures, prints and writes."""
    facts = {
        **report.machine_facts(),
        "commit": report.commit(),
        "command": f"`{report.shown_command('batching', arguments)}`",
    }
    rows = []
    with tempfile.TemporaryDirectory(prefix="mattestream-batching-") as folder, ExitStack() as up:
        work = Path(folder)
        (work / "frame.jpg").write_bytes(jpeg(scene(*FRAME_PX, seed=1)))
        photo = str(work / "frame.jpg")
        flat = [
            up.enter_context(flat_server(work, run_ms=options.run_ms, max_batch=batch))
            for batch in (options.batch, 1)
        ]
        rows += [measure("flat", flat, photo, count, options) for count in options.callers]
        quiet = {"MATTESTREAM_LOG_LEVEL": "error"}
        real = [
            up.enter_context(
                mattestream_server(
                    work, name=name, arguments=["--device", "cpu", *more], environment=quiet
                )
            )
            for name, more in (("cpu-batched", ["--max-batch", "8"]), ("cpu", []))
        ]
        rows += [measure("CPU", real, photo, count, options) for count in options.callers]
    how = (
        f"Frames of {FRAME_PX[0]}x{FRAME_PX[1]}, JPEG in, PNG out. The flat engine takes "
        f"{options.run_ms:g} ms a run, one run at a time, and up to {options.batch} images in one; "
        "one by one it can do "
        f"{1e3 / options.run_ms:.0f} images a second and no more. The CPU rows are the built-in "
        "model on ONNX Runtime, allowed 8 images a run, beside the default of one. "
        f"{options.rounds} rounds in turn; ratios are medians of the rounds' ratios."
    )
    table = report.markdown_table(HEADERS, [row.cells() for row in rows])
    text = "\n\n".join(["# Batching across callers", report.facts_list(facts), how, table])
    print("\n" + text)
    figures = {"facts": facts, "rows": [asdict(row) for row in rows]}
    written = report.write_results("batching", figures, text, options.out)
    print("\nwritten: " + ", ".join(str(path) for path in written))


def main(arguments: Sequence[str]) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="loadtest.batching", description=__doc__.split("\n\n")[0])
    add = parser.add_argument
    add("--run-ms", type=float, default=20.0, help="of the flat engine")
    add("--batch", type=int, default=16, help="most images in its runs")
    add("--callers", type=int, nargs="+", default=[1, 8, 32])
    add("--rounds", type=int, default=3)
    add("--seconds", type=float, default=4.0, help="of one turn")
    add("--out", type=Path, default=report.RESULTS, help="folder of the report")
    run(parser.parse_args(arguments), arguments)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
