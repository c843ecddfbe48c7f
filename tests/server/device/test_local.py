"""The command line's own pipeline on a device: more threads than slots, none of them fails."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from mattestream.cli import local
from mattestream.v1 import options_pb2
from models.target import Target
from server.config import Config
from tests.fakes.emulated_engine import EmulatedRegistry
from tests.fakes.tiny_onnx import write_tiny_model
from tests.server.fakes import picture


def test_more_threads_than_slots_wait_for_each_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_tiny_model(tmp_path, "tiny")  # one image a run: three slots, two batches in flight
    registry = EmulatedRegistry((tmp_path,), late=True)
    monkeypatch.setattr(local, "open_registry", lambda config: registry)
    monkeypatch.setattr(local, "targets", lambda config: (Target(0),))
    config = Config(model="tiny", device="cpu", gpu_jpeg="off")
    options = options_pb2.RemoveOptions(output=options_pb2.OUTPUT_ALPHA)
    with (
        local.LocalRemover(config, options, workers=8) as remover,
        ThreadPoolExecutor(8) as threads,
    ):
        # Threads that never launched on the device have to be made to use it.
        removals = list(threads.map(lambda _: remover.remove(picture(40, 30)), range(24)))
    assert {removal.report.model.device for removal in removals} == {"emulated:0 g++"}
    assert registry.engines["tiny"].is_closed
