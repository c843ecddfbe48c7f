"""The flat engine, and what a batching run says of it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from loadtest import batching
from loadtest.batching import Row
from loadtest.flat_engine import FlatEngine, FlatRegistry
from models.model import Model


class Counted:
    """An engine that answers with its run's number."""

    def __init__(self) -> None:
        self.runs: list[int] = []
        self.is_closed = False

    def run(self, batch: np.ndarray) -> np.ndarray:
        self.runs.append(len(batch))
        return np.full((len(batch), 1, 2, 2), len(self.runs), np.float32)

    def close(self) -> None:
        self.is_closed = True


def test_a_flat_engine_gives_each_image_the_answer_of_the_first_and_asks_once() -> None:
    inner = Counted()
    engine = FlatEngine(inner, run_ms=0.0, max_batch=8)  # type: ignore[arg-type]
    assert engine.run(np.zeros((3, 3, 2, 2), np.float32)).shape == (3, 1, 2, 2)
    assert (engine.run(np.zeros((2, 3, 2, 2), np.float32)) == 1).all()
    assert inner.runs == [1]
    engine.close()
    assert inner.is_closed


def test_the_flat_registry_has_the_shipped_models_on_flat_engines() -> None:
    model = FlatRegistry(run_ms=1.0, max_batch=8).load("matte-s")
    assert isinstance(model, Model)
    assert (model.engine.name, model.max_batch) == ("flat", 8)
    model.close()


def test_a_row_shows_medians_and_the_median_of_the_rounds_ratios() -> None:
    row = Row("flat", 8, [100.0, 90.0, 400.0], [50.0, 30.0, 100.0], [9.0, 10.0, 8.0], [18.0] * 3)
    assert row.cells() == ["flat, 8", "100.0", "50.0", "3.00", "9.0", "0.50"]


@pytest.mark.slow
def test_batches_form_across_callers_and_more_is_served(tmp_path: Path) -> None:
    batching.main(["--rounds", "1", "--seconds", "1", "--callers", "16", "--out", str(tmp_path)])
    flat, cpu = json.loads(next(tmp_path.glob("*.json")).read_text())["rows"]
    assert (flat["engine"], cpu["engine"]) == ("flat", "CPU")
    # The engine alone allows 50 a second one by one, whatever the machine does.
    assert flat["single_per_s"][0] <= 55
    assert flat["batched_per_s"][0] > flat["single_per_s"][0]
