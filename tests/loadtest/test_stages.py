"""The sum of the best stages: which call counts, and what the ratio divides."""

from __future__ import annotations

from pathlib import Path

import pytest

from loadtest.answers import open_cutout
from loadtest.best_stages import STAGES, BestStages, Timed
from loadtest.photos import jpeg, scene
from loadtest.stages import REPORTED, Measured, stage_table, summary
from tests.fakes.tiny_onnx import write_tiny_model


def timed(rounds: int = 3) -> Timed:
    """Every stage takes 2 ms by its fast call and 5 ms by its slow one."""
    times = Timed()
    for _ in range(rounds):
        for stage in STAGES:
            times.add(stage, "fast", 2.0)
            times.add(stage, "slow", 5.0)
    return times


def measured(latency_ms: float, total_ms: float) -> Measured:
    found = Measured("1080p", "4 photos", timed())
    found.latency_ms = [latency_ms] * 3
    found.reported_ms = {name: [1.0] * 3 for name in REPORTED}
    found.reported_ms["total"] = [total_ms] * 3
    return found


def test_the_fastest_call_of_each_stage_counts() -> None:
    assert timed().best("encode") == ("fast", 2.0)
    assert timed().sum_of_best_ms() == pytest.approx(12)


def test_one_lucky_round_does_not_make_a_call_the_fastest() -> None:
    times = timed()
    times.ms["decode"]["slow"][0] = 0.1
    assert times.best("decode")[0] == "fast"


def test_the_ratio_is_latency_over_the_sum_of_the_same_round() -> None:
    found = measured(latency_ms=13.2, total_ms=12.6)
    assert found.ratio == pytest.approx(1.10)
    assert found.ratio_inside == pytest.approx(1.05)
    assert "1.10 times the sum" in summary(found)


def test_the_table_sets_each_stage_beside_the_servers_own_time() -> None:
    lines = stage_table(measured(13.2, 12.6)).splitlines()
    assert len(lines) == 2 + len(STAGES) + 3
    assert lines[2].split() == ["|", "decode", "|", "fast", "|", "2.00", "|", "1.00", "|"]
    assert "13.20" in lines[-1]


def test_the_stages_by_themselves_make_a_cutout(tmp_path: Path) -> None:
    write_tiny_model(tmp_path, "tiny", side=320)
    times = Timed()
    made = BestStages(tmp_path / "tiny.onnx").once(jpeg(scene(1301, 977, 1)), times)
    open_cutout(made, 1301, 977)
    assert all(times.ms[stage] for stage in STAGES)
    assert times.sum_of_best_ms() > 0
