"""What an overload run saw, the claims it was made for, and the page that judges them; no process
here, so all of it is tested alone.

Filled by `overload`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from loadtest import report
from loadtest.figures import percentile
from loadtest.open_loop import OK, Outcomes, Step

REFUSED = "RESOURCE_EXHAUSTED"
LATE = "DEADLINE_EXCEEDED"
REFUSED_WITHIN_MS = 5.0
RECOVERED_WITHIN_S = 1.0
LATE_SHARE = 0.01  # of those admitted: the p99 is inside the deadline
HEADERS = ("phase", "sent/s", "served/s", "refused", "late", "other", "p50 ms", "p95 ms", "p99 ms")
PHASES = ("calm", "overload", "calm again")


@dataclass(frozen=True, slots=True)
class Refusals:
    """How long the server held refused calls, from arrival to status."""

    took_ms: list[float]

    def percentile(self, percent: float) -> float:
        """Of all of them; not a number without any."""
        return percentile(self.took_ms, percent) if self.took_ms else float("nan")


@dataclass(frozen=True, slots=True)
class Claim:
    """One thing that the server promises, and what was seen."""

    words: str
    seen: str
    holds: bool


@dataclass(frozen=True, slots=True)
class Overload:
    """A whole run."""

    facts: Mapping[str, str]
    photos: str
    capacity_per_s: float
    steps: Sequence[Step]  # calm, overload, calm again
    deadline_s: float
    outcomes: Outcomes
    refusals: Refusals
    idle_rss_mb: float
    peak_rss_mb: float
    server_cpu_s: float

    def phase(self, index: int) -> tuple[Counter[str], list[float]]:
        """How the requests due in that step ended, and the latencies of those that were served."""
        begins = sum(step.seconds for step in self.steps[:index])
        ends = begins + self.steps[index].seconds
        return self._between(begins, ends)

    @property
    def recovery_s(self) -> float:
        """Seconds from the overload's end to the last request that fared worse than in the calm
        before: refused, failed, or slower than its 99th percentile twice over.
        """
        _, before = self.phase(0)
        slow_ms = 2 * percentile(before, 99)
        ends = self.steps[0].seconds + self.steps[1].seconds
        seen = self.outcomes
        worse = [
            due
            for due, status, ms in zip(seen.due_s, seen.status, seen.latency_ms, strict=True)
            if due >= ends and (status != OK or ms > slow_ms)
        ]
        return max(worse, default=ends) - ends

    @property
    def claims(self) -> list[Claim]:
        """What is promised, judged."""
        statuses, served = self.phase(1)
        admitted = len(served) + statuses[LATE]
        late = statuses[LATE] / admitted if admitted else 1.0
        refused_ms = self.refusals.percentile(99)
        others = sum(statuses.values()) - admitted - statuses[REFUSED]
        return [
            Claim(
                "what is admitted is done before its deadline (p99)",
                f"{late:.2%} of {admitted} too late; p99 {percentile(served, 99):.0f} ms of "
                f"{self.deadline_s * 1e3:.0f}"
                if served
                else "nothing was served",
                late <= LATE_SHARE,
            ),
            Claim(
                f"the rest is refused within {REFUSED_WITHIN_MS:g} ms of its arrival (p99)",
                f"p50 {self.refusals.percentile(50):.2f}, p99 {refused_ms:.2f} ms",
                refused_ms <= REFUSED_WITHIN_MS,
            ),
            Claim("and nothing ends in another way", f"{others} requests", others == 0),
            Claim(
                f"all is as before within {RECOVERED_WITHIN_S:g} s of the overload's end",
                f"{self.recovery_s:.2f} s",
                self.recovery_s <= RECOVERED_WITHIN_S,
            ),
        ]

    def figures(self) -> dict[str, object]:
        """Everything but the single requests, for programs."""
        everything = asdict(self)
        del everything["outcomes"], everything["refusals"]
        phases = {}
        for index, name in enumerate(PHASES):
            statuses, served = self.phase(index)
            phases[name] = {
                "statuses": statuses,
                **{f"p{p}_ms": percentile(served, p) for p in (50, 95, 99) if served},
            }
        return {
            **everything,
            "phases": phases,
            "refused_p50_ms": self.refusals.percentile(50),
            "refused_p99_ms": self.refusals.percentile(99),
            "recovery_s": self.recovery_s,
            "claims": [asdict(claim) for claim in self.claims],
        }

    def _between(self, begins: float, ends: float) -> tuple[Counter[str], list[float]]:
        statuses: Counter[str] = Counter()
        served = []
        seen = self.outcomes
        for due, status, ms in zip(seen.due_s, seen.status, seen.latency_ms, strict=True):
            if begins <= due < ends:
                statuses[status] += 1
                if status == OK:
                    served.append(ms)
        return statuses, served


def page(found: Overload) -> str:
    """The report in Markdown."""
    rows = []
    for index, name in enumerate(PHASES):
        statuses, served = found.phase(index)
        seconds = found.steps[index].seconds
        others = sum(statuses.values()) - statuses[OK] - statuses[REFUSED] - statuses[LATE]
        counts = [statuses[REFUSED], statuses[LATE], others]
        times = [percentile(served, p) if served else float("nan") for p in (50, 95, 99)]
        rows.append(
            [
                name,
                f"{sum(statuses.values()) / seconds:.1f}",
                f"{len(served) / seconds:.1f}",
                *(f"{number:,}" for number in counts),
                *(f"{ms:.0f}" for ms in times),
            ]
        )
    claims = [
        [claim.words, claim.seen, "holds" if claim.holds else "BROKEN"] for claim in found.claims
    ]
    how = (
        f"Sent: {found.photos}. A closed loop got {found.capacity_per_s:.1f} photos/s out of the "
        f"server; then requests came at random moments (Poisson), each with a deadline of "
        f"{found.deadline_s:g} s, from eight connections of one process on the same machine, which "
        "takes its share of the cores. Latencies count from the moment a request was due."
    )
    late_ms = percentile(found.outcomes.late_ms, 99)
    rest = (
        f"Memory of the server: {found.idle_rss_mb:.0f} MB before, {found.peak_rss_mb:.0f} MB at "
        f"most. The generator sent 99 of 100 requests within {late_ms:.1f} ms of their moment and "
        f"used {found.outcomes.caller_cpu_s:.1f} s of CPU, the server {found.server_cpu_s:.1f} s."
    )
    return "\n\n".join(
        [
            "# Overload",
            report.facts_list(found.facts),
            how,
            report.markdown_table(("claim", "seen", ""), claims),
            report.markdown_table(HEADERS, rows),
            rest,
        ]
    )
