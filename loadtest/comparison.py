"""What a side-by-side run found, and the page that says it: medians per server, ratios per round.

Filled by `compare_rembg`; no process is started here, so arithmetic and words are tested alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median

from loadtest import report
from loadtest.answers import Difference
from loadtest.figures import median_ratio

OURS, THEIRS = "mattestream", "rembg"
BUSY_CORES = 0.15  # others' CPU above this makes a run's absolute figures doubtful
HEADERS = (
    "server, callers",
    "req/s",
    "p50 ms",
    "p95 ms",
    "p99 ms",
    "CPU ms/req",
    "caller CPU ms/req",
    "peak RSS MB",
    "answer KB",
    "errors",
)
DIFFERENCE_HEADERS = (
    "photo",
    "alpha, mean difference of 255",
    "pixels more than 16 apart",
    "IoU",
    "brightest sample",
)


@dataclass(frozen=True, slots=True)
class Cell:
    """One server under one load, once."""

    server: str
    callers: int
    turn: int
    requests: int  # answered with a whole cut-out
    errors: list[str]
    seconds: float
    requests_per_s: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    cpu_ms: float  # of the server, per request
    caller_cpu_ms: float  # of the load process, per request
    peak_rss_mb: float
    answer_kb: float
    others_cores: float  # CPU that neither server nor callers used, in cores

    def line(self) -> str:
        """One line to watch a run by."""
        return (
            f"{self.callers:3d} callers, round {self.turn + 1}: {self.server:11s} "
            f"{self.requests_per_s:6.1f} req/s, p50 {self.p50_ms:6.0f} ms, "
            f"{self.requests} requests, {len(self.errors)} errors"
        )


@dataclass(frozen=True, slots=True)
class Comparison:
    """A whole run."""

    facts: Mapping[str, str]
    network: str
    photos: str
    their_threads: int | None  # OMP_NUM_THREADS of rembg, None: its default
    cells: Sequence[Cell]
    differences: Mapping[str, Difference]  # by photo
    brightest: Mapping[str, int]  # by photo: its brightest sample at the network's size, of 255
    engine_per_s: Sequence[float]  # runs of the network alone, on all cores; before and after
    door: str = "grpc"  # how ours was asked, of `compare_rembg.DOORS`

    @property
    def failed(self) -> int:
        """Requests without a good answer."""
        return sum(len(cell.errors) for cell in self.cells)

    @property
    def callers(self) -> list[int]:
        """Numbers of callers, as measured."""
        return sorted({cell.callers for cell in self.cells})

    def rounds(self, server: str, callers: int) -> list[Cell]:
        """The cells of one server at one number of callers, in the order of their rounds."""
        chosen = [cell for cell in self.cells if (cell.server, cell.callers) == (server, callers)]
        return sorted(chosen, key=lambda cell: cell.turn)

    def ratio(self, value: Callable[[Cell], float], callers: int) -> float:
        """`value` of ours over theirs, median over the rounds."""
        ours, theirs = (self.rounds(server, callers) for server in (OURS, THEIRS))
        return median_ratio([value(cell) for cell in ours], [value(cell) for cell in theirs])

    def figures(self) -> dict[str, object]:
        """Everything, for programs."""
        ratios = {
            str(callers): {name: self.ratio(value, callers) for name, value in RATIOS.items()}
            for callers in self.callers
        }
        return {**asdict(self), "ratios": ratios}


_PLAIN = "asked for neither refined edges nor clean colours, which rembg does not make unless asked"
_DOORS = {
    "grpc": f"gRPC, {_PLAIN}",
    "http": f"HTTP (POST /v1/remove), {_PLAIN}",
    "removebg": "HTTP (POST /v1.0/removebg), which refines edges and cleans colours on top of what "
    "rembg does: that API has no word against it",
}

RATIOS: dict[str, Callable[[Cell], float]] = {
    "req/s": lambda cell: cell.requests_per_s,
    "p50": lambda cell: cell.p50_ms,
    "p95": lambda cell: cell.p95_ms,
    "p99": lambda cell: cell.p99_ms,
    "CPU/req": lambda cell: cell.cpu_ms,
    "peak RSS": lambda cell: cell.peak_rss_mb,
    "answer size": lambda cell: cell.answer_kb,
}


def page(comparison: Comparison) -> str:
    """The report in Markdown: facts, ratios, medians, how far the answers lie apart."""
    threads = comparison.their_threads
    their_setting = "its own defaults" if threads is None else f"OMP_NUM_THREADS={threads}"
    rounds = len(comparison.rounds(OURS, comparison.callers[0]))
    noun = "round" if rounds == 1 else "rounds"
    how = (
        f"Network: {comparison.network}, run by both. Sent: {comparison.photos}; asked for: the "
        "cut-out as PNG at the photo's size. mattestream with its own defaults over "
        f"{_DOORS[comparison.door]}; rembg over HTTP with {their_setting}; the callers run on the "
        f"same machine, in a process of their own. {rounds} {noun} in turn; ratios are medians of "
        "the rounds' own ratios."
    )
    same = (
        "Both prepare a photo as ImageNet networks expect it and stretch the network's answer to "
        "0..1. They differ in two steps: the filters by which photo and alpha are resampled, and "
        "white, which is 255 for mattestream and the brightest sample of the shrunken photo for "
        "rembg, so that a dark photo reaches the network brighter there."
    )
    parts = [
        "# mattestream beside rembg",
        report.facts_list(comparison.facts),
        how,
        "## Ratios, mattestream / rembg",
        _ratio_table(comparison),
        "## Medians over the rounds",
        _median_table(comparison),
        _limit(comparison),
        _others(comparison),
        "## Do they answer the same?",
        _difference_table(comparison),
        same,
    ]
    if comparison.failed:
        parts.insert(2, _failures(comparison))
    return "\n\n".join(parts)


def _failures(comparison: Comparison) -> str:
    errors = Counter(
        f"{cell.server}, {cell.callers} callers: {error}"
        for cell in comparison.cells
        for error in cell.errors
    )
    told = "; ".join(f"{count} x {error}" for error, count in errors.most_common(5))
    return f"**{comparison.failed} requests failed**, most often: {told}"


def _ratio_table(comparison: Comparison) -> str:
    rows = [
        [str(callers), *(f"{comparison.ratio(value, callers):.2f}" for value in RATIOS.values())]
        for callers in comparison.callers
    ]
    return report.markdown_table(["callers", *RATIOS], rows)


def _median_table(comparison: Comparison) -> str:
    rows = []
    for callers in comparison.callers:
        for server in (OURS, THEIRS):
            cells = comparison.rounds(server, callers)
            rows.append(
                [
                    f"{server}, {callers}",
                    f"{median(c.requests_per_s for c in cells):.1f}",
                    f"{median(c.p50_ms for c in cells):.0f}",
                    f"{median(c.p95_ms for c in cells):.0f}",
                    f"{median(c.p99_ms for c in cells):.0f}",
                    f"{median(c.cpu_ms for c in cells):.0f}",
                    f"{median(c.caller_cpu_ms for c in cells):.1f}",
                    f"{max(c.peak_rss_mb for c in cells):.0f}",
                    f"{median(c.answer_kb for c in cells):,.0f}",
                    str(sum(len(c.errors) for c in cells)),
                ]
            )
    return report.markdown_table(HEADERS, rows)


def _limit(comparison: Comparison) -> str:
    before, *_, after = comparison.engine_per_s
    return (
        f"The network alone, on all cores and with nothing to decode or encode, ran {before:.1f} "
        f"times a second before and {after:.1f} after: no server can do more."
    )


def _others(comparison: Comparison) -> str:
    """How much of the machine went to neither the servers nor their callers."""
    cores = [cell.others_cores for cell in comparison.cells]
    words = (
        f"Everything else on the machine used {median(cores):.2f} cores "
        f"(median; most {max(cores):.2f})."
    )
    if median(cores) > BUSY_CORES:
        words += " The machine was not quiet: neither figures nor ratios are worth keeping."
    return words


def _difference_table(comparison: Comparison) -> str:
    rows = []
    for name, found in comparison.differences.items():
        figures = [f"{found.mean_abs:.2f}", f"{found.share_over_16:.2%}", f"{found.iou:.4f}"]
        rows.append([name, *figures, str(comparison.brightest[name])])
    return report.markdown_table(DIFFERENCE_HEADERS, rows)
