"""Several looks in one graph: what they average, and what they may not change."""

from __future__ import annotations

from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="torch is needed to train, not to serve")

from models.training.looks import Looks, looks_or_net  # noqa: E402 - they need torch
from models.training.network import MatteNet, Width  # noqa: E402

SMALL = Width(s16=48, s32=64, s8_blocks=1, s16_blocks=2, s32_blocks=2)


@pytest.fixture
def net() -> MatteNet:
    """A small network whose norms have seen something, so that folding them must be right."""
    torch.manual_seed(0)
    net = MatteNet(SMALL)
    net.train()(torch.randn(4, 3, 64, 64))
    return net.eval()


@pytest.fixture
def image():
    return torch.randn(2, 3, 96, 96)


def test_one_look_at_full_size_is_the_network_itself(net: MatteNet, image) -> None:
    assert looks_or_net(net, 96, (), mirrored=False) is net
    assert looks_or_net(net, 96, (96,), mirrored=False) is net
    once = Looks(net, 96, (96,), mirrored=False)
    with torch.no_grad():
        assert torch.allclose(once(image), net(image), atol=1e-5)


def test_a_mirrored_look_answers_the_mirror_image_with_the_mirrored_alpha(net, image) -> None:
    both = Looks(net, 96, (64, 96), mirrored=True)
    with torch.no_grad():
        assert torch.allclose(both(image.flip(3)), both(image).flip(3), atol=1e-5)


def test_two_looks_are_the_mean_of_each(net: MatteNet, image) -> None:
    coarse, fine = (Looks(net, 96, (side,), mirrored=False) for side in (64, 96))
    both = Looks(net, 96, (64, 96), mirrored=False)
    with torch.no_grad():
        assert torch.allclose(both(image), (coarse(image) + fine(image)) / 2, atol=1e-5)


@pytest.mark.parametrize("sides", [(), (100,), (128,)])
def test_a_side_that_the_network_cannot_look_at_is_refused(net: MatteNet, sides) -> None:
    with pytest.raises(ValueError, match="multiples of 32"):
        Looks(net, 96, sides, mirrored=False)


@pytest.mark.filterwarnings("ignore")  # torch calls its own exporter deprecated
def test_looks_share_their_weights_in_the_file(net: MatteNet, tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    from models.training.export import export

    one, four = tmp_path / "one.onnx", tmp_path / "four.onnx"
    export(net, one, side=96)
    assert export(Looks(net, 96, (64, 96), mirrored=True), four, side=96) < 1e-4
    assert four.stat().st_size < 1.4 * one.stat().st_size  # more nodes, no more weights
