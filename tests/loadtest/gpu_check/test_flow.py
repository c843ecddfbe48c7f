"""The flow of `make gpu-check` on the emulated device: what it passes, and what it finds."""

from __future__ import annotations

import pytest

from kernels.device import Device
from loadtest.gpu_check import engines, flow, streams
from loadtest.gpu_check.rows import Verdict
from models.device_model import DeviceModel
from models.stream_state import StreamState
from tests.fakes.emulated_device import EmulatedDevice
from tests.loadtest.gpu_check.emulated import FRAME, failed, needs_gcc


@needs_gcc
def test_the_flow_passes_on_the_emulated_device(model: DeviceModel):
    found = list(flow.check(model, size=FRAME, frames=8))
    assert failed(found) == []
    names = [row.name for row in found]
    assert "graph replay = plain, batch 3" in names
    assert "copies of a frame, NV12" in names
    assert found[-1].figure == "100%"  # all runs were replays


@needs_gcc
def test_an_engine_that_answers_otherwise_in_a_graph_is_found(model: DeviceModel):
    class WrongReplays(flow.Flow):
        def together(self, sources):
            return [bytes([alpha[0] ^ 1]) + alpha[1:] for alpha in super().together(sources)]

    plain = flow.Flow(engines.uncaptured(model))
    found = list(flow.check_graphs(WrongReplays(model), plain, FRAME))
    assert len(failed(found)) == 2  # batches of 1 and 3; replays are still alike
    assert "bytes are different" in found[0].note


@needs_gcc
def test_a_replay_that_differs_from_the_one_before_is_found(model: DeviceModel):
    class Drifting(flow.Flow):
        def together(self, sources):
            return [bytes([len(self.graphs) % 256]) + alpha for alpha in super().together(sources)]

    found = list(flow.check_graphs(Drifting(model), flow.Flow(engines.uncaptured(model)), FRAME))
    assert "20 of them gave other bytes" in found[-1].note


@needs_gcc
def test_a_graph_that_was_not_replayed_is_found(model: DeviceModel):
    plain = flow.Flow(engines.uncaptured(model))
    found = list(flow.check_graphs(plain, plain, FRAME))
    assert found[0].verdict is Verdict.SKIPPED
    assert "cannot be recorded" in found[0].note


@needs_gcc
def test_a_block_taken_in_the_steady_state_is_found(model: DeviceModel):
    class TakesABlock(flow.Flow):
        def one(self, source):
            self.model.device.allocate(16)
            return super().one(source)

    (found, _) = flow.check_memory(TakesABlock(model), FRAME, 5, lambda: 0)
    assert (found.verdict, found.figure) == (Verdict.FAILED, "5 blocks, 0 bytes")


@needs_gcc
def test_memory_that_the_driver_misses_is_found(model: DeviceModel):
    free = iter((100 << 20, 50 << 20))
    (found, _) = flow.check_memory(flow.Flow(model), FRAME, 2, lambda: next(free))
    assert found.verdict is Verdict.FAILED


@needs_gcc
def test_a_second_copy_is_found(model: DeviceModel):
    class CopiesAgain(flow.Flow):
        def one(self, source):
            alpha, copies = super().one(source)
            copies.host_to_device += 1
            return alpha, copies

    found = list(flow.check_copies(CopiesAgain(model), FRAME))
    assert len(failed(found)) == len(found) == 2


@needs_gcc
@pytest.mark.slow
@pytest.mark.parametrize("late", [False, True])
def test_streams_that_remember_pass_on_the_emulated_device(late: bool):
    found = list(streams.check(EmulatedDevice(late=late), frames=8))
    assert failed(found) == []
    assert [row.name for row in found] == [
        "a steady stream = the CPU's",
        "a recurrent stream's states",
    ]


@needs_gcc
@pytest.mark.parametrize("mistake", ["forgets", "mixes"])
def test_a_stream_that_forgets_or_mixes_what_it_remembers_is_found(
    device: Device, monkeypatch: pytest.MonkeyPatch, mistake: str
):
    if mistake == "forgets":
        monkeypatch.setattr(StreamState, "before", lambda self, size: None)
    else:
        kept = []

        def one_for_all(self, smooth):
            kept.append(kept[0] if kept else StreamState(self.device, self.planes, smooth))
            return kept[0]

        monkeypatch.setattr(DeviceModel, "new_state", one_for_all)
    assert streams.check_steady(device, 6).verdict is Verdict.FAILED
    if mistake == "mixes":
        kept.clear()
    assert streams.check_recurrent(device, 6).verdict is Verdict.FAILED
