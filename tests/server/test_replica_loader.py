"""Loading onto every device: what is told meanwhile, and how it is ended."""

from __future__ import annotations

from pathlib import Path

import pytest
from structlog.testing import capture_logs

from models.errors import EngineFailed
from models.model import Model
from models.registry import Registry
from models.target import Target
from server.config import Config
from server.replica_loader import PROGRESS_EVERY_S, Observers, ReplicaLoader
from server.workers import Workers
from tests.server.fakes import ManualClock


class SlowRegistry(Registry):
    """A registry whose loads report progress and end when they are told to, as TensorRT's do."""

    def __init__(self, model_dir: Path, clock: ManualClock) -> None:
        super().__init__((model_dir,), shipped_dirs=())
        self.clock = clock
        self.steps = 0

    def load(self, name, target=Target(), *, on_progress, cancelled, **settings):  # type: ignore[no-untyped-def]  # noqa: B008
        for step in range(100):
            if cancelled():
                raise EngineFailed("the build was cancelled")
            self.steps += 1
            on_progress("building", step / 100)
            self.clock.advance(1)
        return super().load(name, target, **settings)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def registry(model_dir: Path, clock: ManualClock) -> SlowRegistry:
    return SlowRegistry(model_dir, clock)


def loader(registry: SlowRegistry) -> ReplicaLoader:
    config = Config(model="tiny", device="cpu")
    return ReplicaLoader(
        registry, Workers(1), config, lambda: (Target(),), Observers(), clock=registry.clock
    )


def test_a_long_load_writes_a_line_every_ten_seconds(
    registry: SlowRegistry,
) -> None:
    with capture_logs() as lines:
        (replica,) = loader(registry).load("tiny")
    assert isinstance(replica.model, Model)
    building = [line for line in lines if line["event"] == "model loading"]
    assert len(building) == 100 / PROGRESS_EVERY_S
    assert building[1]["done"] == "10%"
    replica.free()


def test_a_load_ends_at_its_next_step_when_the_server_stops(registry: SlowRegistry) -> None:
    loading = loader(registry)
    loading.stop()
    with pytest.raises(EngineFailed, match="cancelled"):
        loading.load("tiny")
    assert registry.steps == 0


def test_devices_are_looked_for_once(registry: SlowRegistry) -> None:
    looked: list[int] = []

    def find() -> tuple[Target, ...]:
        looked.append(1)
        return (Target(),)

    config = Config(model="tiny", device="cpu")
    loading = ReplicaLoader(registry, Workers(1), config, find, Observers(), clock=registry.clock)
    for name in ("tiny", "other"):
        for replica in loading.load(name):
            replica.free()
    assert len(looked) == 1
