"""What `make gpu-check` times, and what it says where it cannot."""

from __future__ import annotations

from pathlib import Path

import pytest

from loadtest.gpu_check import engines, latency
from loadtest.gpu_check.bench import HostClock
from loadtest.gpu_check.rows import Verdict
from models.device_model import DeviceModel
from tests.loadtest.gpu_check.emulated import FRAME, needs_gcc


@needs_gcc
def test_latency_is_measured_for_each_size_and_layout(model: DeviceModel):
    clock = HostClock(model.device)
    found = list(latency.measure(model, clock, sizes={"tiny": FRAME}, frames=3))
    assert [row.name.partition(", ")[2] for row in found] == [
        "engine alone",
        "tiny RGB8",
        "tiny NV12",
        "tiny NV12, batch 1",
    ]
    assert all(row.figure for row in found)


@pytest.mark.parametrize(("p50", "verdict"), [(2.9, Verdict.PASSED), (3.0, Verdict.BELOW)])
def test_1080p_nv12_has_an_aim(p50, verdict):
    row = latency.judge("e", "1080p", latency.PixelFormat.NV12, [p50] * 10)
    assert row.verdict is verdict
    other = latency.judge("e", "4K", latency.PixelFormat.NV12, [p50] * 10)
    assert other.verdict is Verdict.MEASURED


def test_what_cannot_run_here_says_what_it_needs(tmp_path: Path):
    reasons = {each.name: each.missing for each in engines.candidates(tmp_path)}
    assert list(reasons) == ["torch", "onnxruntime", "tensorrt"]
    pytest.importorskip("onnxruntime")
    if "built without CUDA" in reasons["onnxruntime"]:
        assert "needs onnxruntime-gpu" in reasons["onnxruntime"]


def test_the_built_in_manifest_is_one_that_the_torch_engine_can_stand_in_for():
    manifest = engines.builtin_manifest()
    assert (manifest.input.layout, manifest.output.layout) == ("NCHW", "NCHW")
    assert (manifest.output.channel, manifest.output.activation) == (0, "none")
