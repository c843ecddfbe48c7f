"""Backgrounds whose colour is known: keying against the plain way, drawings against the model.

    python -m loadtest.solved [--scenes 6] [--pages 6] [--out FOLDER]

Green and blue screens at 1080p, keyed by `chroma-key` and by the HSV threshold that does best on
these very scenes, each with the time of one core in times of the plain way's. Pages of every kind
of drawing, as PNG and as JPEG, by their paper's colour and by the default model. All are drawn here
with their true alpha.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import product
from pathlib import Path
from statistics import mean, median
from time import perf_counter
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from kernels.cpu.chroma_key import chroma_key
from kernels.cpu.flat_background import flat_background
from kernels.cpu.flat_paper import find_paper
from kernels.cpu.screen_color import screen_color
from loadtest import report
from loadtest.drawn_pages import KINDS, Page, page
from loadtest.drawn_screens import SCREENS, Scene, scene
from models import metrics
from models.model import Model
from models.registry import Registry
from server import allocator
from server.codecs.encode import Encoded
from server.codecs.header import Limits
from server.config import Config
from server.host_pipeline import HostPipeline
from server.job import Format, Options, PixelFormat, RawSource
from server.pipeline import remove_one

U8 = NDArray[np.uint8]
F32 = NDArray[np.float32]
Cut = tuple[U8, U8]  # alpha, (H, W), and colours, (H, W, 3)

SIZE = (1920, 1080)
PAGE_SIDE = 900
JPEG = 90
_LEGEND = (
    "Means over what was drawn, medians of milliseconds; less is better everywhere. MAE and its "
    "edge part are alpha's, 0 to 1; colour is how far the subject is off on a new background, in "
    "levels of 255. One core; all ways take turns on each picture."
)
NEW = np.array((30.0, 90.0, 200.0))  # the background that colours are judged on, R G B
HUES, SATURATIONS, VALUES = (12, 18, 24, 30, 40), (50, 70, 90, 120), (20, 40, 60)


class Figures(NamedTuple):
    """How far one result is from the truth."""

    mae: float  # of alpha, 0..1
    edge_mae: float  # the same along edges
    gradient: float  # thousands
    colour: float  # levels, on a new background, where the subject is
    ms: float


def judged(cut: Cut, alpha: F32, colours: F32, ms: float) -> Figures:
    """The figures of a result whose truth is `alpha` and `colours`."""
    found, own = _unit(cut[0]), cut[1].astype(np.float32)
    seen = alpha > 0
    wrong = np.abs(_on_new(found, own) - _on_new(alpha, colours))[seen].mean()
    return Figures(
        metrics.mae(found, alpha),
        metrics.edge_mae(found, alpha),
        metrics.gradient_error(found, alpha),
        float(wrong),
        ms,
    )


def _unit(alpha_u8: U8) -> F32:
    return np.asarray(alpha_u8 / np.float32(255), np.float32)


def _on_new(alpha: F32, colours: F32) -> F32:
    share = alpha[..., None]
    return np.asarray(share * colours + (1 - share) * NEW, np.float32)


def _timed(work: Callable[[], Cut]) -> tuple[Cut, float]:
    """The result, and the median of three runs in milliseconds."""
    times = []
    for _ in range(3):
        started = perf_counter()
        cut = work()
        times.append((perf_counter() - started) * 1e3)
    return cut, median(times)


def hsv(picture: U8, key: tuple[float, ...], hue: int, saturation: int, value: int) -> Cut:
    """The plain way: what is near the key's hue and not too pale or dark is screen."""
    planes = cv2.cvtColor(picture, cv2.COLOR_RGB2HSV)
    at = int(cv2.cvtColor(np.asarray([[key]], np.uint8), cv2.COLOR_RGB2HSV)[0, 0, 0])
    low, high = (max(0, at - hue), saturation, value), (min(179, at + hue), 255, 255)
    is_screen = cv2.inRange(planes, np.array(low), np.array(high))
    return np.asarray(cv2.bitwise_not(is_screen), np.uint8), picture


def keyed(picture: U8, key: tuple[float, float, float] | None = None) -> Cut:
    """Ours; without a key it is found."""
    found = screen_color(picture) if key is None else key
    assert found is not None
    return chroma_key(picture, found)


WAYS: Mapping[str, Callable[[Scene, tuple[int, int, int]], Cut]] = {
    "best HSV threshold": lambda one, best: hsv(one.picture, one.key, *best),
    "chroma-key, key named": lambda one, best: keyed(one.picture, one.key),
    "chroma-key, key found": lambda one, best: keyed(one.picture),
}


def measure_screens(scenes: int) -> dict[str, dict[str, list[Figures]]]:
    """The figures of every way on every scene, by screen."""
    measured: dict[str, dict[str, list[Figures]]] = {}
    for screen in SCREENS:
        drawn = [scene(screen, seed, *SIZE) for seed in range(scenes)]
        best = _best_threshold(drawn)
        measured[screen] = {name: [] for name in WAYS}
        for one in drawn:
            for name, way in WAYS.items():
                cut, ms = _timed(partial(way, one, best))
                measured[screen][name].append(judged(cut, one.alpha, one.colours, ms))
        print(f"{screen} measured, HSV at {best}", file=sys.stderr)
    return measured


def _best_threshold(drawn: Sequence[Scene]) -> tuple[int, int, int]:
    """Hue, saturation and value with the least error over these very scenes."""

    def error(limits: tuple[int, int, int]) -> float:
        cuts = [_unit(hsv(one.picture, one.key, *limits)[0]) for one in drawn]
        return mean(metrics.mae(cut, one.alpha) for cut, one in zip(cuts, drawn, strict=True))

    return min(product(HUES, SATURATIONS, VALUES), key=error)


def measure_pages(pages: int, pipeline: HostPipeline) -> dict[str, dict[str, list[Figures]]]:
    """The figures of both ways on every page, by kind and file."""
    measured: dict[str, dict[str, list[Figures]]] = {}
    for kind, jpeg in product(KINDS, (None, JPEG)):
        title = f"{kind}, {'PNG' if jpeg is None else f'JPEG {jpeg}'}"
        own: dict[str, list[Figures]] = {"flat paper": [], "model": []}
        missed = 0
        for seed in range(pages):
            drawn = page(kind, seed, PAGE_SIDE, jpeg=jpeg)
            missed += find_paper(drawn.picture) is None
            for name, way in (("flat paper", _by_paper), ("model", _by_model)):
                cut, ms = _timed(partial(way, drawn, pipeline))
                own[name].append(judged(cut, drawn.alpha, drawn.colours, ms))
        measured[f"{title}, {pages - missed} of {pages} found"] = own
    return measured


def _by_paper(drawn: Page, pipeline: HostPipeline) -> Cut:
    paper = find_paper(drawn.picture) or find_paper(drawn.picture, forced=True)
    assert paper is not None
    return flat_background(drawn.picture, paper)


def _by_model(drawn: Page, pipeline: HostPipeline) -> Cut:
    height, width = drawn.alpha.shape
    source = RawSource(drawn.picture.tobytes(), PixelFormat.RGB8, width, height)
    options = Options(format=Format.RAW, refine=None, decontaminate=None)
    encoded = remove_one(pipeline, source, options).outcome.encoded
    assert isinstance(encoded, Encoded)
    rgba = np.frombuffer(encoded.data, np.uint8).reshape(height, width, 4)
    return rgba[..., 3], rgba[..., :3]


def table(measured: Mapping[str, Mapping[str, Sequence[Figures]]]) -> str:
    """Markdown: a row for each way on each group; `time` in times of the group's first way."""
    headers = ["what", "MAE", "edge MAE", "gradient, k", "colour, levels", "ms", "time"]
    body = []
    for group, ways in measured.items():
        first = [one.ms for one in next(iter(ways.values()))]
        for name, figures in ways.items():
            columns = list(zip(*figures, strict=True))
            own = [mean(column) for column in columns[:4]]
            times = median(one.ms / base for one, base in zip(figures, first, strict=True))
            cells = [f"{own[0]:.4f}", f"{own[1]:.3f}", f"{own[2]:.2f}", f"{own[3]:.1f}"]
            body.append([f"{group}: {name}", *cells, f"{median(columns[4]):.0f}", f"{times:.2f}"])
    return report.markdown_table(headers, body)


def run(options: argparse.Namespace, arguments: Sequence[str]) -> None:
    """Measures, prints and writes."""
    cv2.setNumThreads(1)
    facts = {
        **report.machine_facts(),
        "versions": ", ".join(f"{k} {v}" for k, v in report.versions(report.OUR_LIBRARIES).items()),
        "commit": report.commit(),
        "command": f"`{report.shown_command('solved', arguments)}`",
    }
    screens = measure_screens(options.scenes)
    model = Registry().load(Config().model)
    assert isinstance(model, Model)
    model.warm()
    try:
        pipeline = HostPipeline(model, Limits(100, 16384))
        pages = measure_pages(options.pages, pipeline)
        facts["model"] = f"{model.manifest.name} {model.manifest.version}"
    finally:
        model.close()
    text = "\n\n".join(
        [
            "# Backgrounds whose colour is known: keying and flat paper",
            report.facts_list(facts),
            _LEGEND,
            f"## Screens at {SIZE[0]}x{SIZE[1]} ({options.scenes} scenes each)",
            table(screens),
            f"## Drawings of {PAGE_SIDE} px ({options.pages} pages each)",
            "Where the paper was not found by itself, flat paper is what `flat=on` makes.",
            table(pages),
        ]
    )
    figures = {"facts": facts, "screens": _plain(screens), "pages": _plain(pages)}
    print(text)
    for path in report.write_results("solved", figures, text, options.out):
        print(f"\nwritten: {path}", end="")
    print()


def _plain(measured: Mapping[str, Mapping[str, Sequence[Figures]]]) -> dict[str, object]:
    return {
        group: {name: [one._asdict() for one in figures] for name, figures in ways.items()}
        for group, ways in measured.items()
    }


def main(arguments: Sequence[str]) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="loadtest.solved", description=__doc__.split("\n\n")[0])
    parser.add_argument("--scenes", type=int, default=6, help="for each screen")
    parser.add_argument("--pages", type=int, default=6, help="of each kind")
    parser.add_argument("--out", type=Path, default=report.RESULTS, help="folder of the report")
    run(parser.parse_args(arguments), arguments)


if __name__ == "__main__":
    # As the server runs, see `server.allocator`: Python restarts once.
    allocator.ensure(os.environ, sys.orig_argv[1:])
    main(sys.argv[1:])
