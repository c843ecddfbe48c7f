from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from click.testing import CliRunner

from mattestream.cli.root import cli
from tests.fakes.tiny_onnx import write_tiny_model


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    models = tmp_path / "models"
    models.mkdir()
    write_tiny_model(models)
    write_tiny_model(models, "private", license="CC-BY-NC-4.0", commercial_use=False)
    write_tiny_model(models, "away")
    (models / "away.onnx").rename(tmp_path / "away.onnx")
    (models / "broken.toml").write_text("name = ")
    return models


@pytest.fixture
def models(folder: Path, tmp_path: Path):
    def run(*arguments: object):
        flags = ["--model-dir", str(folder), "--cache-dir", str(tmp_path / "cache")]
        command = ["models", *map(str, arguments), *flags]
        return CliRunner().invoke(cli, command, catch_exceptions=False)

    return run


def line_of(output: str, name: str) -> str:
    return next(line for line in output.splitlines() if line.startswith(name))


def test_the_list_says_what_can_be_used_and_what_not(models):
    result = models("list")
    assert result.exit_code == 0
    assert " available " in line_of(result.output, "tiny")
    assert " unavailable " in line_of(result.output, "away")
    assert "CC-BY-NC-4.0 (!)" in line_of(result.output, "private")
    assert "(!) not for commercial use" in result.output
    assert line_of(result.output, "matte-s").startswith("matte-s *")
    assert "unavailable: `mattestream models show NAME` says why" in result.output


def test_a_broken_manifest_is_a_problem_and_does_not_hide_the_others(models):
    result = models("list")
    assert "broken.toml" in result.stderr
    assert "tiny" in result.stdout


def test_an_accepted_licence_makes_a_model_available(models):
    assert " unavailable " in line_of(models("list").output, "private")
    accepted = models("list", "--accept-license", "CC-BY-NC-4.0")
    assert " available " in line_of(accepted.output, "private")


def test_show_says_why_a_model_cannot_be_used(models):
    result = models("show", "private")
    assert result.exit_code == 0
    assert "commercial use  not allowed" in result.output
    assert "reason" in result.output


def test_an_unknown_name_is_exit_code_1_with_the_nearest(models):
    result = models("show", "tinny")
    assert result.exit_code == 1
    assert "'tiny'" in result.stderr


def test_pull_takes_a_file_checks_it_and_makes_the_model_available(models, tmp_path):
    result = models("pull", "away", "--from", tmp_path / "away.onnx")
    assert result.exit_code == 0, result.output
    digest = hashlib.sha256((tmp_path / "away.onnx").read_bytes()).hexdigest()
    assert digest in result.output
    assert " available " in line_of(models("list").output, "away")
    assert "was there already" in models("pull", "away", "--from", tmp_path / "x").output


def test_pull_keeps_nothing_of_the_wrong_bytes(models, tmp_path):
    (tmp_path / "wrong.onnx").write_bytes(b"something else")
    result = models("pull", "away", "--from", tmp_path / "wrong.onnx")
    assert result.exit_code == 1
    assert "sha256" in result.stderr
    assert " unavailable " in line_of(models("list").output, "away")


def test_pull_of_non_commercial_weights_needs_the_licence_accepted(models, tmp_path, folder):
    weights = tmp_path / "private.onnx"
    (folder / "private.onnx").rename(weights)
    refused = models("pull", "private", "--from", weights)
    assert refused.exit_code == 1
    assert "CC-BY-NC-4.0" in refused.stderr
    accepted = models("pull", "private", "--from", weights, "--accept-license", "CC-BY-NC-4.0")
    assert accepted.exit_code == 0
