"""What a soak has seen, and the page that says it; no server here, so both are tested alone.

Filled by `soak`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

from loadtest import report
from loadtest.figures import percentile, slope, slope_error

CHECKPOINTS = (100, 1_000, 2_500, 5_000, 10_000)  # requests
SETTLED_AFTER = 1_000  # requests; until then caches and arenas fill
MEMORY_HEADERS = ("after requests", "RSS MB", "lowest since", "highest since", "seconds")


@dataclass(frozen=True, slots=True)
class Sample:
    """The server's memory at one moment."""

    requests: int  # done so far
    rss_mb: float
    seconds: float  # since the start


@dataclass(slots=True)
class Findings:
    """What a soak has seen so far."""

    done: int = 0  # requests, each frame of a stream one
    seconds: float = 0.0
    statuses: Counter[str] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)
    surprises: list[str] = field(default_factory=list)  # the first of them, a sentence each
    surprised: int = 0
    latencies_ms: list[float] = field(default_factory=list)  # of single requests that succeeded
    samples: list[Sample] = field(default_factory=list)
    exit_code: int | None = None

    def at(self, requests: int) -> Sample | None:
        """The first sample at `requests` or later; None when the run was shorter."""
        return next((sample for sample in self.samples if sample.requests >= requests), None)

    @property
    def settled(self) -> list[Sample]:
        """Samples after the first thousand requests."""
        return [sample for sample in self.samples if sample.requests >= SETTLED_AFTER]

    @property
    def growth_mb_per_1000(self) -> float | None:
        """Slope of memory over requests after the first thousand; None when the run was shorter."""
        settled = self.settled
        if len(settled) < 3:
            return None
        line = slope([s.requests for s in settled], [s.rss_mb for s in settled])
        return line * 1000

    def figures(self) -> dict[str, object]:
        """Everything but the single latencies, for programs."""
        latencies = self.latencies_ms
        return {
            "requests": self.done,
            "seconds": round(self.seconds, 1),
            "statuses": dict(self.statuses),
            "kinds": dict(self.kinds),
            "surprised": self.surprised,
            "surprises": self.surprises,
            "latency_ms": {f"p{p}": percentile(latencies, p) for p in (50, 95, 99) if latencies},
            "samples": [asdict(sample) for sample in self.samples],
            "growth_mb_per_1000": self.growth_mb_per_1000,
            "exit_code": self.exit_code,
        }


def page(found: Findings, facts: Mapping[str, str]) -> str:
    """The report in Markdown."""
    reached = [(mark, sample) for mark in CHECKPOINTS if (sample := found.at(mark))]
    places = [("at the start", found.samples[0])]
    places += [(f"{mark:,}", sample) for mark, sample in reached]
    places.append(("at the end", found.samples[-1]))
    rows, before = [], 0
    for name, sample in places:
        between = [s.rss_mb for s in found.samples if before <= s.requests <= sample.requests]
        memory = [f"{mb:.0f}" for mb in (sample.rss_mb, min(between), max(between))]
        rows.append([name, *memory, f"{sample.seconds:.0f}"])
        before = sample.requests
    latency = "no request succeeded"
    if found.latencies_ms:
        p50, p95 = (percentile(found.latencies_ms, percent) for percent in (50, 95))
        latency = f"p50 {p50:.0f} ms, p95 {p95:.0f} ms (single requests of all sizes)"
    verdict = "every request ended as expected"
    if found.surprised:
        examples = "; ".join(found.surprises[:5])
        verdict = f"**{found.surprised} ended otherwise**, such as: {examples}"
    whole = (
        f"{found.done:,} requests in {found.seconds:.0f} s "
        f"({found.done / max(found.seconds, 1e-9):.1f}/s); {latency}; {verdict}; "
        f"the server ended with code {found.exit_code} on SIGTERM."
    )
    return "\n\n".join(
        [
            "# Memory over many mixed requests",
            report.facts_list(facts),
            whole,
            "## Resident memory of the server",
            report.markdown_table(MEMORY_HEADERS, rows),
            growth_sentence(found),
            "## How they ended",
            _count_table("status", found.statuses),
            "## What was sent",
            _count_table("kind", found.kinds),
        ]
    )


def growth_sentence(found: Findings) -> str:
    """How memory moved after the first thousand requests."""
    growth = found.growth_mb_per_1000
    if growth is None:
        return f"Too short to say how memory moves after the first {SETTLED_AFTER:,} requests."
    settled = found.settled
    error = 1000 * slope_error([s.requests for s in settled], [s.rss_mb for s in settled])
    return (
        f"After the first {SETTLED_AFTER:,}: {growth:+.2f} MB per 1,000 requests, standard error "
        f"{error:.2f} (least squares over {len(settled)} samples). Memory at one moment holds the "
        "pictures in work at that moment; a leak lifts the lowest values from row to row."
    )


def _count_table(header: str, counts: Counter[str]) -> str:
    rows = [[name, f"{count:,}"] for name, count in counts.most_common()]
    return report.markdown_table([header, "requests"], rows)
