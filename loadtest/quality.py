"""What refinement and clean colours bring and cost: the table behind the server's defaults.

    python -m loadtest.quality ../shared/data [--model NAME] [--sides 512 1920 4000] [--share 0.5]

Refine off, fast and best, each with the foreground's colours as they are and un-mixed, over three
kinds of pictures: photos with masks drawn by people, composites with true alpha and colours, and
drawn hair under the alpha of a network that never errs, which shows what is lost by its size alone.
All runs take turns on each picture, on one core.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median
from time import perf_counter

import numpy as np

from loadtest import report
from loadtest.drawn_hair import draw
from models.metrics import METRICS, fringe
from server import allocator
from server.codecs.header import Limits
from server.config import Config
from server.evaluation.cases import Lead, alpha_of
from server.evaluation.composites import composites
from server.evaluation.dataset import Dataset, limited, open_dataset
from server.evaluation.report import TITLES, shown
from server.evaluation.runs import Bench, Measured, Run, measure
from server.evaluation.summary import SCORES, group_rows
from server.finishing import DEFAULTS, finish, plan
from server.replies import model_used

SETTINGS = tuple(
    f"refine={refine},decontaminate={strength}"
    for refine in ("off", "fast", "best")
    for strength in (0, 1)
)
PHOTOS, COMPOSITES, HAIR = "photos, masks drawn by people", "composites", "drawn hair"
LIMITS = Limits(100, 16384)
NETWORK_SIDE = 320  # of the network that never errs
SEED = 7


@dataclass(frozen=True, slots=True)
class Amount:
    """How many pictures of each kind."""

    photos_of_a_group: int
    composites: int
    drawn: int


# Metrics at 12 MP take ten seconds a picture for all six runs, so there are few of those.
AMOUNTS = {512: Amount(30, 120, 8), 1920: Amount(10, 40, 6), 4000: Amount(0, 8, 4)}


def leads(found: Dataset, side_px: int, amount: Amount) -> Iterator[tuple[str, Lead]]:
    """The photos and the composites of one size, with their kinds."""
    if amount.photos_of_a_group:
        for lead in limited(found.photos, amount.photos_of_a_group):
            yield PHOTOS, lead
    for lead in composites(found, amount.composites, SEED, LIMITS, side_px=side_px):
        yield COMPOSITES, lead


def measure_size(bench: Bench, folder: Path, side_px: int, amount: Amount) -> list[Measured]:
    """Every run on every picture of one size; pictures without a subject are left out."""
    found = open_dataset(folder, LIMITS, split="val", side_px=side_px)
    measured: list[Measured] = []
    for kind, lead in leads(found, side_px, amount):
        case = lead.load()
        if case.is_empty:
            continue
        measured += [replace(measure(run, case)[0], group=kind) for run in bench.runs]
    grounds = found.backgrounds
    for seed in range(amount.drawn):
        ground = grounds[seed * len(grounds) // amount.drawn]
        measured += measure_hair(bench.runs, side_px, seed, ground)
    return measured


def measure_hair(
    runs: Sequence[Run], side_px: int, seed: int, background: Path
) -> Iterator[Measured]:
    """Every run's finishing on one drawn picture; there is no network, so no time of one."""
    drawn = draw(side_px, seed, background)
    coarse = drawn.coarse_alpha_u8(NETWORK_SIDE)
    height, width = coarse.shape
    truth = np.dstack([drawn.colours, drawn.alpha])
    for run in runs:
        started = perf_counter()
        wanted = plan(run.options, DEFAULTS)
        finished = finish(drawn.rgb_u8, coarse, None, wanted, cell_px=width / NETWORK_SIDE)
        finish_ms = (perf_counter() - started) * 1e3
        alpha = alpha_of(finished.alpha_u8)
        scores = {name: metric(alpha, drawn.alpha) for name, metric in METRICS.items()}
        made = finished.pixels.astype(np.float32)
        made[..., 3] = alpha
        scores["fringe"] = fringe(made, truth)
        yield Measured(
            run=run.label,
            name=f"drawn {seed}",
            group=HAIR,
            is_empty=False,
            width=width,
            height=height,
            scores=scores,
            uncertainty=finished.statistics.uncertainty,
            coverage=finished.statistics.coverage,
            no_subject=False,
            treatment=f"refine {finished.refine}, decontaminate {finished.decontaminate:g}",
            stages_ms={"decode": 0.0, "prepare": 0.0, "infer": 0.0, "finish": finish_ms},
        )


def table(measured: Sequence[Measured], kind: str) -> str:
    """Markdown: a row for each run over the pictures of one kind; medians of milliseconds, and of
    what each picture takes more than with the first run.
    """
    members = [one for one in measured if one.group == kind]
    rows = group_rows(members)
    names = [name for name in SCORES if name != "mse" and any(name in row.scores for row in rows)]
    first = {one.name: one for one in members if one.run == rows[0].run}
    body = []
    for row in rows:
        own = [one for one in members if one.run == row.run]
        finish_ms = median(one.stages_ms["finish"] for one in own)
        more_ms = median(_more_ms(one, first[one.name]) for one in own)
        whole = median(_total_ms(one) / _total_ms(first[one.name]) for one in own)
        words = row.run.split(", ", 1)[1]
        scores = [shown(name, row.scores.get(name)) for name in names]
        times = [f"{finish_ms:.1f}", f"{more_ms:+.1f}", "-" if kind == HAIR else f"{whole:.2f}"]
        body.append([words, *scores, *times])
    titles = [TITLES[name] for name in names]
    headers = ["run", *titles, "finish, ms", "more, ms", "in all, times"]
    return report.markdown_table(headers, body)


def _more_ms(one: Measured, first: Measured) -> float:
    return one.stages_ms["finish"] - first.stages_ms["finish"]


def _total_ms(one: Measured) -> float:
    return sum(one.stages_ms.values())


def page(sizes: dict[int, list[Measured]], facts: dict[str, str]) -> str:
    """The whole report in Markdown."""
    parts = ["# Edges and colours: quality and cost of each setting", report.facts_list(facts)]
    parts.append(
        "Means over the pictures; more is better for IoU and boundary F, less for all others; k is "
        "thousands. `finish` is the alpha's way up, its statistics, refinement, colours and "
        "cut-out; `more` what that takes more than the first run on the same picture; `in all` "
        "the time with preparation and inference, in times of the first run's. Nothing is decoded "
        "or encoded in it. One core, medians; all runs take turns on each picture. "
        f"The drawn hair's alpha is the true one averaged to {NETWORK_SIDE} x {NETWORK_SIDE}."
    )
    for side_px, measured in sizes.items():
        for kind in dict.fromkeys(one.group for one in measured):
            pictures = len({one.name for one in measured if one.group == kind})
            parts.append(f"## {side_px} px: {kind} ({pictures})")
            parts.append(table(measured, kind))
    return "\n\n".join(parts)


def run(options: argparse.Namespace, arguments: Sequence[str]) -> None:
    """Measures, prints and writes."""
    facts = {
        **report.machine_facts(),
        "versions": ", ".join(f"{k} {v}" for k, v in report.versions(report.OUR_LIBRARIES).items()),
        "commit": report.commit(),
        "command": f"`{report.shown_command('quality', arguments)}`",
    }
    config = Config()
    sizes: dict[int, list[Measured]] = {}
    with Bench(config, (options.model or config.model,), SETTINGS) as bench:
        used = model_used(bench.runs[0].model)
        facts["model"] = f"{used.name} {used.version}, weights {used.weights_sha256[:12]}"
        for side_px in options.sides:
            amount = Amount(
                *(round(options.share * count) for count in asdict(AMOUNTS[side_px]).values())
            )
            sizes[side_px] = measure_size(bench, options.folder, side_px, amount)
            print(f"{side_px} px measured", file=sys.stderr)
    text = page(sizes, facts)
    rows = {
        str(side_px): [asdict(row) for row in group_rows(measured)]
        for side_px, measured in sizes.items()
    }
    figures = {"facts": facts, "settings": SETTINGS, "sizes": rows}
    print(text)
    for path in report.write_results("quality", figures, text, options.out):
        print(f"\nwritten: {path}", end="")
    print()


def main(arguments: Sequence[str]) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="loadtest.quality", description=__doc__.split("\n\n")[0])
    parser.add_argument(
        "folder", type=Path, help="as `mattestream eval` takes it, with a split val"
    )
    parser.add_argument("--model", help="its name; by default the server's")
    parser.add_argument("--sides", nargs="+", type=int, choices=AMOUNTS, default=list(AMOUNTS))
    parser.add_argument("--share", type=float, default=1.0, help="of the pictures, 0 to 1")
    parser.add_argument("--out", type=Path, default=report.RESULTS, help="folder of the report")
    run(parser.parse_args(arguments), arguments)


if __name__ == "__main__":
    # As the server runs, see `server.allocator`: Python restarts once.
    allocator.ensure(os.environ, sys.orig_argv[1:])
    main(sys.argv[1:])
