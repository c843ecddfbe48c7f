"""Frames per second of streams, beside the engine that does nothing else.

    python -m loadtest.streams [--network built-in|u2netp] [--size 480p 1080p] [--streams 1 8]

In each round every kind of frame (JPEG, raw RGB8, shared memory) is streamed in turn, and in the
same round two limits are measured, each on as many threads as the server has: the network alone,
and the pipeline alone, which is all stages of a frame without a wire. On a CPU decoding, resizing
and finishing share the cores with the network, so that the second is what can be reached; on a GPU
they run beside it.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median

from loadtest import report
from loadtest.engine_alone import EngineAlone
from loadtest.figures import median_ratio
from loadtest.networks import MODEL_NAME, make_network, place_network
from loadtest.photos import scene
from loadtest.pipeline_alone import PipelineAlone, source_of
from loadtest.servers import ServerProcess, Watch, mattestream_server
from loadtest.stream_load import KINDS, PREFIX, StreamSpec, frames_of, start_streams
from models.registry import Registry
from server import allocator
from server.machine import usable_cores

SIZES = {"480p": (854, 480), "1080p": (1920, 1080)}
BUILT_IN = "matte-s"
HEADERS = (
    "frames",
    "frames/s",
    "of the engine alone",
    "of the pipeline alone",
    "server CPU ms",
    "caller CPU ms",
)


@dataclass(slots=True)
class Row:
    """One kind of frames at one size and number of streams, round by round."""

    name: str
    frames_per_s: list[float] = field(default_factory=list)
    limit_per_s: list[float] = field(default_factory=list)  # of the engine, in the same round
    pipeline_per_s: list[float] = field(default_factory=list)  # likewise
    server_cpu_ms: list[float] = field(default_factory=list)  # a frame
    caller_cpu_ms: list[float] = field(default_factory=list)

    def cells(self) -> list[str]:
        """Of the table: medians."""
        return [
            self.name,
            f"{median(self.frames_per_s):.1f}",
            f"{median_ratio(self.frames_per_s, self.limit_per_s):.0%}",
            f"{median_ratio(self.frames_per_s, self.pipeline_per_s):.0%}",
            f"{median(self.server_cpu_ms):.1f}",
            f"{median(self.caller_cpu_ms):.1f}",
        ]


def measure(
    server: ServerProcess,
    engine: EngineAlone,
    pipeline: PipelineAlone,
    model: str,
    options: argparse.Namespace,
) -> list[Row]:
    """All rows; within a round each follows on its own measurement of the limits."""
    rows: list[Row] = []
    for size in options.size:
        width, height = SIZES[size]
        sources = {kind: source_of(kind, scene(width, height, seed=1)) for kind in KINDS}
        for streams in options.streams:
            cells = {kind: Row(f"{kind} {size}, {_count(streams)}") for kind in KINDS}
            for turn in range(options.rounds):
                kinds = KINDS if turn % 2 == 0 else KINDS[::-1]
                for kind in kinds:
                    row = cells[kind]
                    row.limit_per_s.append(engine.per_s(options.seconds / 2))
                    row.pipeline_per_s.append(pipeline.per_s(sources[kind], options.seconds / 2))
                    spec = StreamSpec(
                        server.address, model, kind, width, height, streams, options.seconds
                    )
                    _stream(server, spec, row)
                    print(f"{row.name}: {row.frames_per_s[-1]:.1f} of {row.limit_per_s[-1]:.1f}")
            rows += cells.values()
    return rows


def _stream(server: ServerProcess, spec: StreamSpec, row: Row) -> None:
    with start_streams(spec) as process, Watch(server) as watch:
        load = frames_of(process)
    if load.errors or not load.frames:
        raise RuntimeError(f"{row.name}: {load.errors or 'no frames'}")
    row.frames_per_s.append(load.frames / load.seconds)
    row.server_cpu_ms.append(watch.cpu_s * 1e3 / load.frames)
    row.caller_cpu_ms.append(load.caller_cpu_s * 1e3 / load.frames)


def _count(streams: int) -> str:
    return f"{streams} stream" + "s" * (streams != 1)


def run(options: argparse.Namespace, arguments: Sequence[str]) -> None:
    """Measures, prints and writes."""
    facts = {
        **report.machine_facts(),
        "commit": report.commit(),
        "command": f"`{report.shown_command('streams', arguments)}`",
    }
    with tempfile.TemporaryDirectory(prefix="mattestream-streams-") as folder:
        work = Path(folder)
        registry, model = Registry(), BUILT_IN
        settings = {
            "MATTESTREAM_LOG_LEVEL": "error",
            "MATTESTREAM_SHARED_MEMORY": PREFIX,
            "MATTESTREAM_DEVICE": "cpu",
        }
        if options.network != "built-in":
            network = place_network(make_network(options.network, work, Path(sys.executable)), work)
            registry, model = Registry((network.model_dir,)), MODEL_NAME
            settings |= {
                "MATTESTREAM_MODEL": model,
                "MATTESTREAM_MODEL_DIRS": str(network.model_dir),
            }
        with mattestream_server(work, environment=settings) as server:
            alone = EngineAlone(registry, model), PipelineAlone(registry, model)
            rows = measure(server, *alone, model, options)
    how = (
        f"Network: {model if options.network == 'built-in' else options.network}, ONNX Runtime on "
        f"{usable_cores()} cores. The pipeline alone is all stages of a frame without a wire, on "
        "the same cores. Alphas come back uncompressed; each stream has a connection of its own "
        "and all are fed by one process on the same machine, whose CPU is in the last column. "
        f"{options.rounds} rounds of {options.seconds:g} s; medians."
    )
    table = report.markdown_table(HEADERS, [row.cells() for row in rows])
    text = "\n\n".join(["# Streams beside the engine alone", report.facts_list(facts), how, table])
    print("\n" + text)
    figures = {"facts": facts, "rows": [asdict(row) for row in rows]}
    written = report.write_results(f"streams-{options.network}", figures, text, options.out)
    print("\nwritten: " + ", ".join(str(path) for path in written))


def main(arguments: Sequence[str]) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="loadtest.streams", description=__doc__.split("\n\n")[0])
    add = parser.add_argument
    add("--network", choices=("built-in", "u2netp", "sinet"), default="built-in")
    add("--size", choices=list(SIZES), nargs="+", default=list(SIZES))
    add("--streams", type=int, nargs="+", default=[1, 8])
    add("--rounds", type=int, default=3)
    add("--seconds", type=float, default=5.0, help="of one turn")
    add("--out", type=Path, default=report.RESULTS, help="folder of the report")
    run(parser.parse_args(arguments), arguments)
    return 0


if __name__ == "__main__":
    # The server runs with this allocator setting, so this process must too: Python restarts once.
    allocator.ensure(os.environ, sys.orig_argv[1:])
    sys.exit(main(sys.argv[1:]))
