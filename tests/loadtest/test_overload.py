"""What an overload run's figures say: phases, recovery, claims; and the run itself, in small."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from loadtest import overload
from loadtest.open_loop import OK, Outcomes, Step
from loadtest.overload_findings import LATE, REFUSED, Overload, Refusals, page


def found(*ends: tuple[float, float, str], refused_ms: float = 1.0) -> Overload:
    """A run of 10 s calm, 10 s loaded, 10 s calm, with requests (due s, latency ms, status)."""
    calm = [(0.1 * i, 50.0, OK) for i in range(100)]
    outcomes = Outcomes()
    for due, ms, status in [*calm, *ends]:
        outcomes.due_s.append(due)
        outcomes.late_ms.append(0.0)
        outcomes.latency_ms.append(ms)
        outcomes.status.append(status)
    return Overload(
        facts={},
        photos="photos",
        capacity_per_s=10.0,
        steps=(Step(5, 10), Step(100, 10), Step(5, 10)),
        deadline_s=1.0,
        outcomes=outcomes,
        refusals=Refusals([refused_ms] * 10),
        idle_rss_mb=100.0,
        peak_rss_mb=120.0,
        server_cpu_s=10.0,
    )


def broken(run: Overload) -> list[str]:
    return [claim.words for claim in run.claims if not claim.holds]


def test_a_good_run_keeps_every_claim() -> None:
    served = [(10 + 0.09 * i, 800.0, OK) for i in range(100)]
    run = found(*served, (12.0, 2.0, REFUSED), (20.5, 200.0, OK), (22.0, 60.0, OK))
    assert broken(run) == []
    assert run.recovery_s == pytest.approx(0.5)


def test_too_many_late_answers_break_the_first_claim() -> None:
    served = [(10 + 0.09 * i, 800.0, OK) for i in range(98)]
    assert broken(found(*served, (11.0, 1000.0, LATE), (12.0, 1000.0, LATE))) == [
        "what is admitted is done before its deadline (p99)"
    ]


def test_slow_refusals_other_ends_and_slow_recovery_are_named() -> None:
    run = found((11.0, 900.0, OK), (12.0, 5.0, "INTERNAL"), (22.0, 5.0, REFUSED), refused_ms=9.0)
    assert len(broken(run)) == 3
    assert run.recovery_s == pytest.approx(2.0)
    assert page(run).count("BROKEN") == 3


def test_an_overload_in_which_nothing_was_served_keeps_no_promise() -> None:
    assert "nothing was served" in page(found((11.0, 1.0, REFUSED)))


@pytest.mark.slow
def test_a_short_run_against_a_real_server_writes_its_page(tmp_path: Path) -> None:
    seconds = ["--seconds", "2", "--calibrate", "1", "--calm", "2"]
    overload.main([*seconds, "--times", "4", "--out", str(tmp_path)])
    figures = json.loads(next(tmp_path.glob("*.json")).read_text())
    assert figures["phases"]["calm"]["statuses"][OK] > 0
    assert figures["phases"]["overload"]["statuses"][REFUSED] > 0
    assert set(figures["phases"]["overload"]["statuses"]) <= {OK, REFUSED, LATE}
    assert "| overload " in next(tmp_path.glob("*.md")).read_text()
