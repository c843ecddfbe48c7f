"""Our server beside rembg's, on the same ONNX and the same photos, in one run that takes turns.

    python -m loadtest.compare_rembg --rembg-venv ENV [--network sinet|u2netp] [--size 1080p|12mp]

Both servers are started here with their own defaults and stay up; at each number of callers they
are loaded in turn, first one, then the other, and in the next round the other way round. Ratios are
taken within a round and their median is shown: a shared machine drifts, both drift with it.
"""

from __future__ import annotations

import argparse
import io
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from loadtest import report
from loadtest.answers import Difference, difference, open_cutout
from loadtest.callers import LEAST_EACH, LoadSpec, let_loose, start_callers
from loadtest.comparison import OURS, THEIRS, Cell, Comparison, page
from loadtest.engine_alone import EngineAlone
from loadtest.figures import percentile
from loadtest.networks import (
    BUILT_IN,
    FILES,
    MODEL_NAME,
    SIDE_PX,
    Network,
    make_network,
    place_network,
)
from loadtest.photos import SIZES, Photo, PhotoSet, load_photos
from loadtest.servers import (
    HOST,
    ServerProcess,
    Watch,
    free_port,
    mattestream_server,
    rembg_server,
)
from models.registry import Registry

# How our server is asked: the kind of `loadtest.callers` for each.
DOORS = {"grpc": OURS, "http": "own HTTP", "removebg": "remove.bg"}
LIMIT_S = 2.0  # in which the engine alone is measured, before and after
THEIR_LIBRARIES = ("rembg", "onnxruntime", "pillow", "numpy", "fastapi", "uvicorn")


@dataclass(frozen=True, slots=True)
class Contender:
    """One of the two servers, running, and how it is asked."""

    server: ServerProcess
    spec: LoadSpec  # photos, address and model are right; the rest is set per cell


def measure_cell(
    contender: Contender, callers: int, turn: int, options: argparse.Namespace
) -> Cell:
    """One server under one load, after a warm-up that does not count."""
    spec = replace(
        contender.spec,
        callers=callers,
        requests=options.requests,
        seconds=options.seconds,
        least_each=options.least_each,
    )
    with start_callers(spec) as load_process, Watch(contender.server) as watch:
        load = let_loose(load_process)
    good = len(load.latencies_ms)
    others_s = watch.machine_cpu_s - watch.cpu_s - load.caller_cpu_s
    return Cell(
        server=contender.server.name,
        callers=callers,
        turn=turn,
        requests=good,
        errors=load.errors,
        seconds=load.seconds,
        requests_per_s=good / load.seconds,
        p50_ms=percentile(load.latencies_ms, 50) if good else float("nan"),
        p95_ms=percentile(load.latencies_ms, 95) if good else float("nan"),
        p99_ms=percentile(load.latencies_ms, 99) if good else float("nan"),
        cpu_ms=watch.cpu_s * 1e3 / good if good else float("nan"),
        caller_cpu_ms=load.caller_cpu_s * 1e3 / good if good else float("nan"),
        peak_rss_mb=watch.peak_rss_mb,
        answer_kb=sum(load.answer_bytes) / good / 1e3 if good else float("nan"),
        others_cores=max(0.0, others_s / watch.seconds),
    )


def measure(
    ours: Contender, theirs: Contender, options: argparse.Namespace, say: Callable[[str], None]
) -> list[Cell]:
    """Every cell: callers outside, so that peak memory at 1 caller knows nothing of 16."""
    cells = []
    for callers in sorted(options.callers):
        for turn in range(options.rounds):
            pair = (ours, theirs) if turn % 2 == 0 else (theirs, ours)
            for contender in pair:
                cell = measure_cell(contender, callers, turn, options)
                say(cell.line())
                cells.append(cell)
    return cells


def compare_answers(
    ours: Contender, theirs: Contender, photos: PhotoSet, work: Path
) -> dict[str, Difference]:
    """How far the two alphas of each photo lie apart, by the photo's name; every answer is checked.

    Raises:
        WrongAnswer: one of them is no cut-out of the photo.
    """
    alphas = []
    for contender in (ours, theirs):
        folder = work / f"answers-{contender.server.name}"
        folder.mkdir()
        with start_callers(replace(contender.spec, keep_answers_in=str(folder))):
            pass  # the warm-up is all that is wanted here
        alphas.append([_alpha(folder / f"{i}.png", photo) for i, photo in enumerate(photos.photos)])
    pairs = zip(photos.photos, *alphas, strict=True)
    return {photo.name: difference(mine, other) for photo, mine, other in pairs}


def brightest(photo: Photo) -> int:
    """The brightest sample, 0..255, of a photo at the network's size, as rembg shrinks it."""
    with Image.open(io.BytesIO(photo.data)) as picture:
        small = picture.convert("RGB").resize((SIDE_PX, SIDE_PX), Image.Resampling.LANCZOS)
    return int(np.asarray(small).max())


def compare(
    options: argparse.Namespace, command: str, say: Callable[[str], None] = print
) -> Comparison:
    """A whole run: both servers are started, measured and stopped.

    Args:
        options: as `parse` gives them.
        command: as the report shall show it.
        say: told of every turn.
    """
    their_python = options.rembg_venv / "bin" / "python"
    facts = {
        **report.machine_facts(),
        "our versions": _words(report.versions(report.OUR_LIBRARIES)),
        "rembg's versions": _words(report.versions(THEIR_LIBRARIES, their_python)),
        "commit": report.commit(),
        "command": f"`{command}`",
    }
    with tempfile.TemporaryDirectory(prefix="mattestream-compare-") as folder:
        work = Path(folder)
        photos = load_photos(options.size, options.photos)
        onnx = options.onnx or make_network(options.network, work, their_python)
        network = place_network(onnx, work)
        engine = EngineAlone(Registry((network.model_dir,)), MODEL_NAME)
        limits = [engine.per_s(LIMIT_S)]
        http_port = 0 if options.door == "grpc" else free_port()
        with (
            _our_server(network, work, http_port) as our_server,
            _their_server(network, work, options) as their_server,
        ):
            paths = _written(photos, work)
            address = our_server.address if http_port == 0 else f"{HOST}:{http_port}"
            ours = Contender(our_server, _spec(DOORS[options.door], address, MODEL_NAME, paths))
            theirs = Contender(
                their_server, _spec(THEIRS, their_server.address, str(network.rembg_path), paths)
            )
            differences = compare_answers(ours, theirs, photos, work)
            cells = measure(ours, theirs, options, say)
        limits.append(engine.per_s(LIMIT_S))
    return Comparison(
        facts=facts,
        network=f"{network.name} (sha256 {network.sha256[:12]}…)",
        photos=photos.note,
        their_threads=options.rembg_threads,
        door=options.door,
        cells=cells,
        differences=differences,
        brightest={photo.name: brightest(photo) for photo in photos.photos},
        engine_per_s=limits,
    )


def run(options: argparse.Namespace, arguments: Sequence[str]) -> int:
    """Measures, prints and writes; the number of failed requests."""
    comparison = compare(options, report.shown_command("compare_rembg", arguments))
    text = page(comparison)
    print("\n" + text)
    prefix = "compare-rembg" if options.door == "grpc" else f"gateway-{options.door}"
    network = options.onnx.stem if options.onnx else options.network
    name = f"{prefix}-{options.size}-{network}"
    written = report.write_results(name, comparison.figures(), text, options.out)
    print("\nwritten: " + ", ".join(str(path) for path in written))
    return comparison.failed


def _our_server(network: Network, work: Path, http_port: int) -> ServerProcess:
    settings = {
        "MATTESTREAM_MODEL": MODEL_NAME,
        "MATTESTREAM_MODEL_DIRS": str(network.model_dir),
        "MATTESTREAM_HTTP_PORT": str(http_port),
    }
    return mattestream_server(work, environment=settings)


def _their_server(network: Network, work: Path, options: argparse.Namespace) -> ServerProcess:
    threads = options.rembg_threads
    settings = {} if threads is None else {"OMP_NUM_THREADS": str(threads)}
    return rembg_server(options.rembg_venv, network.rembg_home, work, environment=settings)


def _spec(kind: str, address: str, model: str, paths: tuple[str, ...]) -> LoadSpec:
    return LoadSpec(kind, address, model, paths, callers=1, requests=0, seconds=0.0)


def _written(photos: PhotoSet, work: Path) -> tuple[str, ...]:
    """Paths of the photos as files, for the load process."""
    folder = work / "photos"
    folder.mkdir()
    for photo in photos.photos:
        (folder / photo.name).write_bytes(photo.data)
    return tuple(str(folder / photo.name) for photo in photos.photos)


def _alpha(path: Path, photo: Photo) -> NDArray[np.uint8]:
    return open_cutout(path.read_bytes(), photo.width, photo.height)


def _words(versions: dict[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in versions.items())


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The command line's values."""
    parser = argparse.ArgumentParser(
        prog="loadtest.compare_rembg", description=__doc__.split("\n\n")[0]
    )
    add = parser.add_argument
    add("--rembg-venv", type=Path, required=True, help="environment with rembg[cpu,cli] and onnx")
    add("--network", choices=[BUILT_IN, *FILES], default="sinet", help="which ONNX to have made")
    add("--onnx", type=Path, help="ONNX to run instead: 1x3x320x320 in, 1x1x320x320 out")
    add("--door", choices=list(DOORS), default="grpc", help="how our server is asked")
    add("--size", choices=list(SIZES), default="1080p", help="which photos")
    add("--photos", type=Path, nargs="+", default=[], help="JPEGs to send instead")
    add("--callers", type=int, nargs="+", default=[1, 4, 16, 64])
    add("--rounds", type=int, default=3, help="turns of each server at each number of callers")
    add("--requests", type=int, default=400, help="most requests of one turn")
    add("--seconds", type=float, default=10.0, help="longest time of one turn")
    add("--rembg-threads", type=int, help="OMP_NUM_THREADS of rembg; its default is all cores")
    add("--out", type=Path, default=report.RESULTS, help="folder of the report")
    add("--least-each", type=int, default=LEAST_EACH, help="photos each caller sends at least")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str]) -> int:
    """The command line; 1 when a request failed."""
    return 1 if run(parse(arguments), arguments) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
