"""The cache folder, and files that appear whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from models import weights
from models.errors import WeightsDamaged
from models.manifest import read_manifest
from tests.fakes.tiny_onnx import write_tiny_model


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"MATTESTREAM_CACHE_DIR": "/a/b"}, Path("/a/b")),
        ({"MATTESTREAM_CACHE_DIR": "/a/b", "XDG_CACHE_HOME": "/x"}, Path("/a/b")),
        ({"XDG_CACHE_HOME": "/x"}, Path("/x/mattestream")),
        ({"XDG_CACHE_HOME": "relative"}, Path.home() / ".cache/mattestream"),
        ({}, Path.home() / ".cache/mattestream"),
    ],
)
def test_the_cache_folder_follows_the_environment(environ, expected):
    assert weights.default_cache_dir(environ) == expected


def test_a_file_being_written_appears_only_when_it_is_whole(tmp_path):
    path = tmp_path / "deep" / "w.onnx"
    with weights.atomic_file(path) as file:
        file.write(b"half")
        assert not path.exists()
    assert path.read_bytes() == b"half"
    assert [each.name for each in path.parent.iterdir()] == ["w.onnx"]


def test_a_written_file_can_be_read_by_the_user_the_server_runs_as(tmp_path):
    with weights.atomic_file(tmp_path / "w.onnx") as file:
        file.write(b"x")
    assert (tmp_path / "w.onnx").stat().st_mode & 0o777 == 0o644


def test_a_write_that_fails_leaves_the_old_file_and_no_rest(tmp_path):
    path = tmp_path / "w.onnx"
    path.write_bytes(b"old")
    with pytest.raises(RuntimeError, match="disk full"):
        fail_while_writing(path)
    assert path.read_bytes() == b"old"
    assert [each.name for each in tmp_path.iterdir()] == ["w.onnx"]


def fail_while_writing(path):
    with weights.atomic_file(path) as file:
        file.write(b"new")
        raise RuntimeError("disk full")


def test_weights_beside_the_manifest_come_before_the_cache(tmp_path):
    manifest = read_manifest(write_tiny_model(tmp_path, "acorn"))
    cached = weights.cached_path(manifest, tmp_path / "cache")
    cached.parent.mkdir(parents=True)
    cached.write_bytes(b"other")
    assert weights.locate(manifest, tmp_path / "cache") == tmp_path / "acorn.onnx"
    (tmp_path / "acorn.onnx").unlink()
    assert weights.locate(manifest, tmp_path / "cache") == cached


def test_two_versions_of_a_model_lie_side_by_side_in_the_cache(tmp_path):
    first = read_manifest(write_tiny_model(tmp_path, "acorn"))
    second = read_manifest(write_tiny_model(tmp_path, "acorn", gain=0.5))
    assert weights.cached_path(first, tmp_path) != weights.cached_path(second, tmp_path)


def test_a_pin_that_is_no_digest_is_refused(tmp_path):
    (tmp_path / "w.onnx.sha256").write_text("hello")
    with pytest.raises(WeightsDamaged, match="holds no sha256: delete it"):
        weights.read_pin(tmp_path / "w.onnx")
