"""The streams' load and its table, against a real server."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from loadtest import streams
from loadtest.pipeline_alone import PipelineAlone, source_of
from loadtest.stream_load import KINDS
from loadtest.streams import Row
from models.registry import Registry


def test_a_row_shows_the_median_share_of_each_rounds_own_limit() -> None:
    frames, engine, pipeline = [50.0, 20.0, 60.0], [100.0, 25.0, 100.0], [80.0, 25.0, 75.0]
    row = Row("raw 480p, 1 stream", frames, engine, pipeline, [9.0], [1.0])
    assert row.cells() == ["raw 480p, 1 stream", "50.0", "60%", "80%", "9.0", "1.0"]


@pytest.mark.parametrize("kind", KINDS)
def test_the_pipeline_alone_takes_each_kind_of_frame(kind: str) -> None:
    alone = PipelineAlone(Registry(), streams.BUILT_IN)
    assert alone.per_s(source_of(kind, np.zeros((48, 64, 3), np.uint8)), 0.0) > 0


@pytest.mark.slow
def test_every_kind_of_frame_is_streamed_and_no_shared_memory_is_left(tmp_path: Path) -> None:
    before = _regions()
    short = ["--rounds", "1", "--seconds", "1", "--size", "480p", "--streams", "2"]
    streams.main([*short, "--out", str(tmp_path)])
    rows = json.loads(next(tmp_path.glob("*.json")).read_text())["rows"]
    assert [row["name"] for row in rows] == [f"{kind} 480p, 2 streams" for kind in KINDS]
    assert all(row["frames_per_s"][0] > 0 for row in rows)
    assert _regions() == before


def _regions() -> set[str]:
    return {path.name for path in Path("/dev/shm").glob("mattestream-loadtest-*")}
