"""docs/models.md says what the manifests say, and its example is a manifest."""

from __future__ import annotations

import re
from pathlib import Path

from models.manifest import read_manifest
from models.registry import Registry

PAGE = (Path(__file__).parents[2] / "docs" / "models.md").read_text(encoding="utf-8")


def rows():
    """Of the table of models: name, good at, input, licence, weights."""
    cells = (line.strip("|").split("|") for line in PAGE.splitlines() if line.startswith("| `"))
    return {row[0].strip(" `"): [cell.strip() for cell in row] for row in cells}


def test_the_table_lists_every_shipped_model_and_no_other():
    assert sorted(rows()) == Registry().names()


def test_the_table_has_each_models_input_and_licence():
    for name, row in rows().items():
        manifest = Registry().manifest(name)
        plane = f"{manifest.input.width} x {manifest.input.height}"
        assert row[2] == (plane if manifest.has_network else "the picture's own size")
        assert row[3].split(",")[0] == manifest.license


def test_the_example_is_a_manifest_without_mistakes(tmp_path):
    example, _ = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    (tmp_path / "leaf.toml").write_text(example, encoding="utf-8")
    manifest = read_manifest(tmp_path / "leaf.toml")
    assert manifest.name == "leaf"
    assert manifest.fit == "letterbox"


def test_the_example_of_a_promptable_model_is_a_manifest_without_mistakes(tmp_path):
    _, example = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    (tmp_path / "pointed.toml").write_text(example, encoding="utf-8")
    decoder = read_manifest(tmp_path / "pointed.toml").decoder
    assert decoder is not None
    assert decoder.prompts == "points"
    assert decoder.features == {"image_embed": "image_embeddings"}
