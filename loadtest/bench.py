"""The whole side-by-side in one run: two networks, two sizes of photos, one to 64 callers, with
plots.

    python -m loadtest.bench --rembg-venv ENV      # `make bench` makes ENV first

Ten to twelve minutes: one round of each, since `compare_rembg` alone with its rounds is there for
closer looks. One page, one JSON and the plots are written.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from loadtest import report
from loadtest.compare_rembg import compare, parse
from loadtest.comparison import BUSY_CORES, OURS, THEIRS, Comparison
from loadtest.networks import BUILT_IN, SHARED
from loadtest.photos import SIZES
from loadtest.plots import draw_curves

SECONDS = 6.0  # of one turn
HEADERS = (
    "network, photos, callers",
    "ours /s",
    "rembg /s",
    "ratio",
    "ours p50/p95/p99 ms",
    "rembg p50/p95/p99 ms",
    "CPU ms",
    "rembg CPU ms",
    "peak MB",
    "rembg peak MB",
    "others' cores, ours/rembg",
    "errors",
)


@dataclass(frozen=True, slots=True)
class Part:
    """One network at one size."""

    network: str
    size: str
    comparison: Comparison

    @property
    def name(self) -> str:
        """For titles and files."""
        return f"{self.network}-{self.size}"

    def rows(self) -> list[list[str]]:
        """A row per number of callers."""
        rows = []
        for callers in self.comparison.callers:
            (ours,) = self.comparison.rounds(OURS, callers)
            (theirs,) = self.comparison.rounds(THEIRS, callers)
            rows.append(
                [
                    f"{self.network}, {self.size}, {callers}",
                    f"{ours.requests_per_s:.1f}",
                    f"{theirs.requests_per_s:.1f}",
                    f"{ours.requests_per_s / theirs.requests_per_s:.1f}",
                    f"{ours.p50_ms:.0f} / {ours.p95_ms:.0f} / {ours.p99_ms:.0f}",
                    f"{theirs.p50_ms:.0f} / {theirs.p95_ms:.0f} / {theirs.p99_ms:.0f}",
                    f"{ours.cpu_ms:.0f}",
                    f"{theirs.cpu_ms:.0f}",
                    f"{ours.peak_rss_mb:.0f}",
                    f"{theirs.peak_rss_mb:.0f}",
                    f"{ours.others_cores:.2f} / {theirs.others_cores:.2f}",
                    str(len(ours.errors) + len(theirs.errors)),
                ]
            )
        return rows

    def plot(self, folder: Path, stem: str) -> Path:
        """Requests per second over callers, as a PNG."""
        found = self.comparison
        curves = {
            server: (
                found.callers,
                [found.rounds(server, callers)[0].requests_per_s for callers in found.callers],
            )
            for server in (OURS, THEIRS)
        }
        return draw_curves(
            folder / f"{stem}-{self.name}.png",
            curves,
            title=f"{self.network}, {self.size} JPEG to PNG",
            x="callers",
            y="requests per second",
            limit=("the network alone", median(found.engine_per_s)),
        )


def networks() -> tuple[str, ...]:
    """Those that can be had: a small and a larger one where their makers lie beside the checkout,
    else the built-in one.
    """
    return ("sinet", "u2netp") if (SHARED / "peers").is_dir() else (BUILT_IN,)


def run(options: argparse.Namespace, arguments: Sequence[str]) -> int:
    """Measures, prints and writes; the number of failed requests."""
    command = report.shown_command("bench", arguments)
    callers = [str(count) for count in options.callers]
    parts = []
    for network in options.networks or networks():
        for size in options.sizes:
            print(f"\n{network}, {size}")
            values = parse(
                [
                    *("--rembg-venv", str(options.rembg_venv), "--network", network),
                    *("--size", size, "--rounds", "1", "--seconds", str(options.seconds)),
                    *("--least-each", "1", "--callers", *callers),
                ]
            )
            parts.append(Part(network, size, compare(values, command)))
    text = page(parts)
    figures = {part.name: part.comparison.figures() for part in parts}
    as_json, as_text = report.write_results("bench", figures, text, options.out)
    plots = [part.plot(as_text.parent, as_text.stem) for part in parts]
    shown = "\n".join(f"![{plot.stem}]({plot.name})" for plot in plots)
    as_text.write_text(f"{text}\n\n{shown}\n", encoding="utf-8")
    print("\n" + text + f"\n\nwritten: {as_json}, {as_text} and {len(plots)} plots")
    return sum(part.comparison.failed for part in parts)


def page(parts: Sequence[Part]) -> str:
    """The report in Markdown, without the plots."""
    first = parts[0].comparison
    limits = "; ".join(
        f"{part.network} {median(part.comparison.engine_per_s):.1f} /s" for part in parts[::2]
    )
    busy = median(cell.others_cores for part in parts for cell in part.comparison.cells)
    how = (
        "Both servers with their own defaults, on the same ONNX and photos, one after the other at "
        "each number of callers; JPEG in, cut-out as PNG back, every answer checked. CPU is the "
        "server's per request, memory its peak so far. The callers run on the same machine. "
        f"Everything else used {busy:.2f} cores (median); a row in whose turns it used more than "
        f"{BUSY_CORES:g} tells of the machine and not of the servers."
    )
    table = report.markdown_table(HEADERS, [row for part in parts for row in part.rows()])
    limit = f"The networks alone on all cores, with nothing to decode or encode: {limits}."
    return "\n\n".join(
        ["# mattestream beside rembg", report.facts_list(first.facts), how, table, limit]
    )


def main(arguments: Sequence[str]) -> int:
    """The command line; 1 when a request failed."""
    parser = argparse.ArgumentParser(prog="loadtest.bench", description=__doc__.split("\n\n")[0])
    add = parser.add_argument
    add("--rembg-venv", type=Path, required=True, help="environment with rembg[cpu,cli] and onnx")
    add("--networks", nargs="+", help="default: sinet and u2netp where their makers are, else own")
    add("--sizes", choices=list(SIZES), nargs="+", default=list(SIZES))
    add("--callers", type=int, nargs="+", default=[1, 4, 16, 64])
    add("--seconds", type=float, default=SECONDS, help="of one turn")
    add("--out", type=Path, default=report.RESULTS, help="folder of the report")
    return 1 if run(parser.parse_args(arguments), arguments) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
