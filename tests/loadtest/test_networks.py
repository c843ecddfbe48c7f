"""One ONNX, placed where each of the two servers looks for it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from loadtest.networks import (
    IMAGENET_MEAN,
    MODEL_NAME,
    SHARED,
    NetworkMissing,
    make_network,
    place_network,
)
from models.manifest import read_manifest


def test_both_servers_get_the_same_bytes(tmp_path: Path) -> None:
    onnx = tmp_path / "net.onnx"
    onnx.write_bytes(b"a network")
    network = place_network(onnx, tmp_path / "work")
    assert network.path.read_bytes() == network.rembg_path.read_bytes() == b"a network"
    assert network.rembg_path.is_relative_to(network.rembg_home)


def test_our_manifest_reads_the_network_as_rembg_does(tmp_path: Path) -> None:
    onnx = tmp_path / "net.onnx"
    onnx.write_bytes(b"a network")
    network = place_network(onnx, tmp_path / "work")
    manifest = read_manifest(network.model_dir / f"{MODEL_NAME}.toml")
    assert manifest.weights.sha256 == network.sha256
    assert manifest.input.mean == IMAGENET_MEAN
    assert (manifest.input.width, manifest.input.height) == (320, 320)
    assert manifest.input.fit == "stretch"
    assert manifest.output.activation == "minmax"


def test_a_missing_onnx_is_told_with_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(NetworkMissing, match=r"--onnx FILE"):
        place_network(tmp_path / "none.onnx", tmp_path)


def test_without_the_makers_script_the_way_out_is_told(tmp_path: Path) -> None:
    with pytest.raises(NetworkMissing, match="give --onnx FILE"):
        make_network("sinet", tmp_path, Path(sys.executable), shared=tmp_path)


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared folder with SINet is not beside us")
def test_the_sinet_is_made_with_one_channel(tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    path = make_network("sinet", tmp_path, Path(sys.executable))
    assert path.name == "sinet_1ch.onnx"
    assert path.stat().st_size > 300_000
