"""What it costs a frame to travel: by shared memory, and in the message.

    python -m loadtest.transport [--size 1080p] [--rounds 9] [--frames 60]
    python -m loadtest.transport --size tiny --network none    # what no pixel and no network costs

In each round the same frames go through the pipeline in this process, which has no transport, and
then through `Client.remove_stream` with a window of 1, once by `SharedFrames` and once as arrays.
What a frame takes longer, and what CPU both processes spend more on it, is the transport: gRPC, its
messages, the copies, and the hops between threads. The built-in network runs in all three, or an
engine that answers at once (`flat_engine`), which leaves less to subtract. A frame in shared memory
is not filled anew, because a camera would write there whatever the transport is. The two copies
that the server makes of one in shared memory are measured by themselves as well.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median

import cv2
import numpy as np
from numpy.typing import NDArray

from loadtest import report
from loadtest.flat_engine import FlatRegistry
from loadtest.photos import scene
from loadtest.servers import ServerProcess, Watch, flat_server, mattestream_server
from loadtest.streams import BUILT_IN, SIZES
from mattestream import Client, SharedFrame, SharedFrames
from mattestream.picture import ImageInput
from mattestream.request import Frame
from models.model import Model
from models.registry import Registry
from server import allocator
from server.codecs.header import Limits
from server.host_pipeline import HostPipeline
from server.job import Format, Options, Output, PixelFormat, RawSource, Refine
from server.machine import usable_cores
from server.pipeline import remove_one
from server.shared_memory.regions import Regions

PREFIX = "mattestream-transport-"
TRAVELLING = {**SIZES, "tiny": (64, 48)}
NO_NETWORK = "none"
WARM_FRAMES = 5
ALONE, COPIES = "pipeline alone", "the two copies alone"
WAYS = ("by shared memory", "in the message")
HEADERS = ("a frame travels", "takes longer, ms", "more CPU, ms", "whole, ms")


@dataclass(slots=True)
class Cost:
    """Milliseconds a frame, one number for each round."""

    wall_ms: list[float] = field(default_factory=list)
    cpu_ms: list[float] = field(default_factory=list)

    def turn(self, work: Callable[[], object], frames: int, server: ServerProcess | None) -> None:
        """Does the work of so many frames, with the server's CPU where it has a part in it."""
        with Watch(server) if server else nullcontext() as watch:
            wall_s, cpu_s = time.perf_counter(), time.process_time()
            work()
            wall_s, cpu_s = time.perf_counter() - wall_s, time.process_time() - cpu_s
        self.wall_ms.append(wall_s * 1e3 / frames)
        self.cpu_ms.append((cpu_s + (watch.cpu_s if watch else 0.0)) * 1e3 / frames)


class Alone:
    """The pipeline in this process."""

    def __init__(self, pixels: NDArray[np.uint8], registry: Registry) -> None:
        cv2.setNumThreads(1)  # as in the server
        model = registry.load(BUILT_IN)
        assert isinstance(model, Model)
        self._pipeline = HostPipeline(model, Limits(max_megapixels=50, max_side_px=16384))
        height, width = pixels.shape[:2]
        self._source = RawSource(pixels.tobytes(), PixelFormat.RGB8, width, height)
        self._options = Options(output=Output.ALPHA, format=Format.RAW, refine=Refine.OFF)

    def run(self, frames: int) -> None:
        """So many, one after the other."""
        for _ in range(frames):
            remove_one(self._pipeline, self._source, self._options)


class Copies:
    """What the server copies of a frame in shared memory: its pixels out of it, the alpha into it.

    Into memory that is kept, as the server's allocator keeps it for the next frame.
    """

    def __init__(self, frame: SharedFrame) -> None:
        image, target = frame.message().shared_memory.range, frame.target()
        assert target is not None
        self._frame = frame  # its memory stays
        self._region = Regions().open(image.name, writable=True)
        self._pixels = np.empty(image.byte_size, np.uint8)
        self._alpha = bytes(target.byte_size)
        self._offset = target.offset

    def run(self, frames: int) -> None:
        """For so many."""
        for _ in range(frames):
            self._region.read_into(0, self._pixels)
            self._region.write(self._offset, self._alpha)


def _stream(client: Client, frames: Iterable[ImageInput | Frame]) -> None:
    results = client.remove_stream(frames, window=1, on_error="raise", refine="off")
    for result in results:
        assert result.array().size


def _shared(ring: SharedFrames, frames: int) -> Iterator[ImageInput | Frame]:
    for _ in range(frames):
        yield ring.take()


def measure(server: ServerProcess, options: argparse.Namespace) -> dict[str, Cost]:
    """The pipeline alone, then both ways to travel, in turn."""
    width, height = TRAVELLING[options.size]
    pixels = scene(width, height, seed=1)
    has_network = options.network != NO_NETWORK
    registry = Registry() if has_network else FlatRegistry(run_ms=0.0, max_batch=1)
    alone = Alone(pixels, registry)
    costs = {name: Cost() for name in (ALONE, *WAYS, COPIES)}
    with (
        Client(server.address) as client,
        SharedFrames(width, height, prefix=PREFIX) as ring,
    ):
        for frame in [ring.take() for _ in range(ring.count)]:
            frame.put(pixels)
        del frame
        copies = Copies(ring.take())

        def work(name: str, frames: int) -> None:
            if name == ALONE:
                alone.run(frames)
            elif name == COPIES:
                copies.run(frames)
            elif name == WAYS[0]:
                _stream(client, _shared(ring, frames))
            else:
                _stream(client, (pixels for _ in range(frames)))

        for name in costs:
            work(name, WARM_FRAMES)
        for _ in range(options.rounds):
            for name, cost in costs.items():
                cost.turn(
                    lambda name=name: work(name, options.frames),  # type: ignore[misc]
                    options.frames,
                    server if name in WAYS else None,
                )
    return costs


def rows_of(costs: dict[str, Cost]) -> list[list[str]]:
    """Of the table: medians of what a round took more than the pipeline in the same round."""
    alone, copies = costs[ALONE], costs[COPIES]
    rows = [
        ["not at all", "", "", f"{median(alone.wall_ms):.2f}"],
        [COPIES, f"{median(copies.wall_ms):.2f}", f"{median(copies.cpu_ms):.2f}", ""],
    ]
    for name in WAYS:
        cost = costs[name]
        more = [ours - base for ours, base in zip(cost.wall_ms, alone.wall_ms, strict=True)]
        cpu = [ours - base for ours, base in zip(cost.cpu_ms, alone.cpu_ms, strict=True)]
        cells = (median(more), median(cpu), median(cost.wall_ms))
        rows.append([name, *(f"{each:.2f}" for each in cells)])
    return rows


def run(options: argparse.Namespace, arguments: Sequence[str]) -> None:
    """Measures, prints and writes."""
    facts = {
        **report.machine_facts(),
        "commit": report.commit(),
        "command": f"`{report.shown_command('transport', arguments)}`",
    }
    with (
        tempfile.TemporaryDirectory(prefix="mattestream-transport-") as folder,
        _server(Path(folder), options.network) as server,
    ):
        costs = measure(server, options)
    table = report.markdown_table(HEADERS, rows_of(costs))
    network = BUILT_IN if options.network != NO_NETWORK else "none, an engine that answers at once"
    how = (
        f"Network: {network}. Frames of {options.size} RGB, alphas back, one at a time; medians of "
        f"{options.rounds} rounds of {options.frames} frames."
    )
    text = "\n\n".join(["# Transport of one frame", report.facts_list(facts), how, table])
    print(text)
    figures = {"facts": facts, "costs": {name: asdict(cost) for name, cost in costs.items()}}
    name = f"transport-{options.size}" + "-no-network" * (options.network == NO_NETWORK)
    written = report.write_results(name, figures, text, options.out)
    print("\nwritten: " + ", ".join(str(path) for path in written))


def _server(work: Path, network: str) -> ServerProcess:
    """Not started yet."""
    if network == NO_NETWORK:
        runs = usable_cores()
        return flat_server(work, run_ms=0.0, max_batch=1, runs=runs, shared_memory=PREFIX)
    settings = {
        "MATTESTREAM_LOG_LEVEL": "error",
        "MATTESTREAM_SHARED_MEMORY": PREFIX,
        "MATTESTREAM_DEVICE": "cpu",
    }
    return mattestream_server(work, environment=settings)


def main(arguments: Sequence[str]) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="loadtest.transport", description=__doc__.split("\n\n")[0]
    )
    parser.add_argument("--size", choices=list(TRAVELLING), default="1080p")
    parser.add_argument("--network", choices=(BUILT_IN, NO_NETWORK), default=BUILT_IN)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--frames", type=int, default=60, help="of one turn")
    parser.add_argument("--out", type=Path, default=report.RESULTS, help="folder of the report")
    run(parser.parse_args(arguments), arguments)
    return 0


if __name__ == "__main__":
    # The server runs with this allocator setting, so this process must too: Python restarts once.
    allocator.ensure(os.environ, sys.orig_argv[1:])
    sys.exit(main(sys.argv[1:]))
