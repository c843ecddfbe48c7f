"""What the server adds to the sum of the fastest stages, for one caller: the aim is 10 % at most.

    python -m loadtest.stages [--rounds 30] [--sizes 1080p 12mp] [--onnx FILE]

One process runs the stages one by one on one thread (`best_stages`), then sends the same photo to a
server of ours that runs the same ONNX; round after round, so that both see the same minutes of a
shared machine. The table sets each stage beside the server's own report of it.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median

from loadtest import report
from loadtest.answers import open_cutout
from loadtest.best_stages import STAGES, BestStages, Timed
from loadtest.figures import median_ratio, percentile
from loadtest.networks import FILES, MODEL_NAME, Network, make_network, place_network
from loadtest.photos import SIZES, PhotoSet, load_photos
from loadtest.servers import ServerProcess, mattestream_server
from mattestream import Client, Removal
from server import allocator

WARM_ROUNDS = 3
REPORTED = ("queue", "decode", "prepare", "batch_wait", "infer", "finish", "encode", "total")
# The server's report has one time for the alpha's way up, its statistics and the composite: finish.
SERVER_STAGE = {"decode": "decode", "prepare": "prepare", "infer": "infer", "encode": "encode"}


@dataclass(slots=True)
class Measured:
    """All rounds at one photo size."""

    size: str
    note: str  # which photos
    stages: Timed = field(default_factory=Timed)
    latency_ms: list[float] = field(default_factory=list)  # of the server's answers, at the caller
    reported_ms: dict[str, list[float]] = field(default_factory=dict)  # the server's own report

    @property
    def ratio(self) -> float:
        """Caller's latency over the sum of the best stages, median over the rounds."""
        return median_ratio(self.latency_ms, self.stages.sums_of_best_ms())

    @property
    def ratio_inside(self) -> float:
        """The server's own total over the sum: what it adds before the wire is counted."""
        return median_ratio(self.reported_ms["total"], self.stages.sums_of_best_ms())


def measure(size: str, photos: PhotoSet, best: BestStages, client: Client, rounds: int) -> Measured:
    """`rounds` rounds over the photos in turn: each through the stages, then through the server.

    Raises:
        WrongAnswer: either made something that is no cut-out of the photo.
    """
    measured = Measured(size, photos.note)
    for turn in range(rounds + WARM_ROUNDS):
        photo = photos.photos[turn % len(photos.photos)]
        counts = turn >= WARM_ROUNDS
        made = best.once(photo.data, measured.stages if counts else Timed())
        sent = time.perf_counter()
        # The stages that are added up hold neither, so neither may stand on the server's side.
        answer = client.remove(photo.data, model=MODEL_NAME, refine="off", decontaminate=0)
        latency_ms = (time.perf_counter() - sent) * 1e3
        if counts:
            measured.latency_ms.append(latency_ms)
            _note_report(measured, answer)
        else:
            for data in (made, answer.data):
                open_cutout(data, photo.width, photo.height)
    return measured


def _note_report(measured: Measured, answer: Removal) -> None:
    timings = answer.report.timings
    for name in REPORTED:
        measured.reported_ms.setdefault(name, []).append(float(getattr(timings, f"{name}_ms")))


def stage_table(measured: Measured) -> str:
    """Markdown: each stage's fastest call beside the server's own time for it, medians in ms."""
    reported = {name: median(times) for name, times in measured.reported_ms.items()}
    rows = []
    for stage in STAGES:
        call, best_ms = measured.stages.best(stage)
        server = reported.get(SERVER_STAGE.get(stage, ""))
        if stage == "composite":
            server = reported["finish"]
        rows.append([stage, call, f"{best_ms:.2f}", "" if server is None else f"{server:.2f}"])
    total_ms = measured.stages.sum_of_best_ms()
    waiting = reported["queue"] + reported["batch_wait"]
    rows += [
        ["waiting", "", "", f"{waiting:.2f}"],
        ["sum, server's own total", "", f"{total_ms:.2f}", f"{reported['total']:.2f}"],
        ["at the caller", "", "", f"{median(measured.latency_ms):.2f}"],
    ]
    return report.markdown_table(["stage", "fastest call", "fastest, ms", "server, ms"], rows)


def summary(measured: Measured) -> str:
    """Two sentences with the ratios."""
    p95 = percentile(measured.latency_ms, 95)
    return (
        f"{measured.size}: a caller waits {measured.ratio:.2f} times the sum of the fastest stages "
        f"(aim: 1.10 at most), the server by itself takes {measured.ratio_inside:.2f} times. "
        f"{len(measured.latency_ms)} rounds; p95 at the caller {p95:.1f} ms."
    )


def page(network: Network, measured: Sequence[Measured], facts: dict[str, str]) -> str:
    """The whole report in Markdown."""
    parts = ["# One caller beside the sum of the fastest stages", report.facts_list(facts)]
    parts.append(
        f"Network `{network.name}` (sha256 {network.sha256[:12]}…). One thread, medians. "
        "The server's `finish` holds the alpha's way up, its statistics and the composite, so it "
        "stands in the composite's row and is to be compared with both."
    )
    for one in measured:
        parts += [f"## {one.size}", f"Sent: {one.note}.", stage_table(one), summary(one)]
        others = [
            f"{stage}: " + ", ".join(f"{call} {median(ms):.2f}" for call, ms in calls.items())
            for stage, calls in one.stages.ms.items()
            if len(calls) > 1
        ]
        parts.append("Calls tried, ms: " + "; ".join(others) + ".")
    return "\n\n".join(parts)


def run(options: argparse.Namespace, arguments: Sequence[str]) -> None:
    """Measures, prints and writes."""
    facts = {
        **report.machine_facts(),
        "versions": ", ".join(f"{k} {v}" for k, v in report.versions(report.OUR_LIBRARIES).items()),
        "commit": report.commit(),
        "command": f"`{report.shown_command('stages', arguments)}`",
    }
    with tempfile.TemporaryDirectory(prefix="mattestream-stages-") as folder:
        work = Path(folder)
        onnx = options.onnx or make_network(options.network, work, Path(sys.executable))
        network = place_network(onnx, work)
        best = BestStages(network.path)
        with _server(network, work) as server, Client(server.address, retries=False) as client:
            measured = [
                measure(size, load_photos(size), best, client, options.rounds)
                for size in options.sizes
            ]
    text = page(network, measured, facts)
    figures = {"facts": facts, "network": network.name, "sizes": [_figures(m) for m in measured]}
    print(text)
    for path in report.write_results("stages", figures, text, options.out):
        print(f"\nwritten: {path}", end="")
    print()


def _server(network: Network, work: Path) -> ServerProcess:
    settings = {
        "MATTESTREAM_MODEL": MODEL_NAME,
        "MATTESTREAM_MODEL_DIRS": str(network.model_dir),
    }
    return mattestream_server(work, environment=settings)


def _figures(measured: Measured) -> dict[str, object]:
    return {
        **asdict(measured),
        "sum_of_best_ms": measured.stages.sum_of_best_ms(),
        "ratio": measured.ratio,
        "ratio_inside": measured.ratio_inside,
    }


def main(arguments: Sequence[str]) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="loadtest.stages", description=__doc__.split("\n\n")[0])
    parser.add_argument("--rounds", type=int, default=30, help="rounds per photo size")
    parser.add_argument("--sizes", nargs="+", choices=list(SIZES), default=list(SIZES))
    parser.add_argument("--network", choices=list(FILES), default="sinet")
    parser.add_argument("--onnx", type=Path, help="ONNX to run, instead of making --network")
    parser.add_argument("--out", type=Path, default=report.RESULTS, help="folder of the report")
    run(parser.parse_args(arguments), arguments)


if __name__ == "__main__":
    # The server runs with this allocator setting, so the stages must too: Python restarts once.
    allocator.ensure(os.environ, sys.orig_argv[1:])
    main(sys.argv[1:])
