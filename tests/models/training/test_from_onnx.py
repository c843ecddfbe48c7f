"""A released file made trainable again: the same answers, and norms that fit what they see."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="torch is needed to train, not to serve")
pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from models.training.export import calibrate, export  # noqa: E402 - they need torch and onnx
from models.training.from_onnx import (  # noqa: E402
    fill,
    measure_norms,
    read_filters,
    uncalibrate,
)
from models.training.looks import Looks  # noqa: E402
from models.training.network import MatteNet, Width  # noqa: E402

SMALL = Width(s16=48, s32=64, s8_blocks=1, s16_blocks=2, s32_blocks=2)


@pytest.fixture
def net() -> MatteNet:
    """A small network whose norms have seen something, so that they cannot be left out."""
    torch.manual_seed(0)
    net = MatteNet(SMALL)
    for _ in range(20):
        net.train()(3.0 * torch.randn(4, 3, 64, 64) + 1.0)
    return net.eval()


@pytest.fixture
def images():
    return torch.randn(6, 3, 64, 64)


@pytest.fixture
def restored(tmp_path: Path) -> Callable[..., MatteNet]:
    """Exports a network and reads the file back into one of the same size."""

    def through_a_file(exported: MatteNet | Looks, side: int) -> MatteNet:
        export(exported, tmp_path / "net.onnx", side)
        torch.manual_seed(1)
        twin = MatteNet(SMALL)
        fill(twin, read_filters(tmp_path / "net.onnx"))
        return twin.eval()

    return through_a_file


@pytest.mark.filterwarnings("ignore")  # torch calls its own exporter deprecated
def test_what_is_read_back_answers_as_the_network_did_before_it_was_calibrated(
    net, images, restored
) -> None:
    with torch.no_grad():
        before = net(images)
        calibrate(net, gain=2.0, shift=0.2)
        twin = restored(net, 64)
        assert torch.allclose(twin(images), 2.0 * (before - 0.2), atol=1e-4)
        uncalibrate(twin, gain=2.0, shift=0.2)
        assert torch.allclose(twin(images), before, atol=1e-4)
        measure_norms(twin, [images[:3], images[3:]])
        assert torch.allclose(twin(images), before, atol=1e-4)


@pytest.mark.filterwarnings("ignore")
def test_several_looks_are_read_back_as_the_one_network_that_looks(net, images, restored) -> None:
    twin = restored(Looks(net, 96, (64, 96), mirrored=True), 96)
    with torch.no_grad():
        assert torch.allclose(twin(images), net(images), atol=1e-4)


@pytest.mark.filterwarnings("ignore")
def test_measured_norms_answer_the_same_while_the_network_learns(net, images, restored) -> None:
    twin = restored(net, 64)
    with torch.no_grad():
        asked = twin(images)
        # a batch's own statistics replace the stored ones while a network learns
        assert not torch.allclose(twin.train()(images), asked, atol=0.1)
        twin = restored(net, 64)
        measure_norms(twin, [images])
        assert torch.allclose(twin.train()(images), asked, atol=1e-3)
    twin(images).mean().backward()
    assert twin.stem[0].weight.grad.any()


@pytest.mark.filterwarnings("ignore")
def test_a_file_of_another_size_is_refused_with_both_shapes(net, tmp_path: Path) -> None:
    export(net, tmp_path / "net.onnx", 64)
    filters = read_filters(tmp_path / "net.onnx")
    with pytest.raises(ValueError, match="name the configuration of this file"):
        fill(MatteNet(Width(s16=40, s32=64)), filters)
    with pytest.raises(ValueError, match=r"\(48, 160, 1, 1\) and \(56, 160, 1, 1\)"):
        fill(MatteNet(Width(s16=56, s32=64, s8_blocks=1, s16_blocks=2, s32_blocks=2)), filters)
