"""Real models by other people load from a TOML and no code, and find the person in a photo.

Needs the models and photos beside the checkout, which are no part of the project.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import pytest

from kernels import cpu
from models.registry import KNOWN_DIR, Registry

HERE = Path(__file__).parent
SHARED = HERE.parents[2] / "shared"
MANIFESTS = sorted(path.stem for path in (HERE / "manifests").glob("*.toml"))

pytestmark = pytest.mark.skipif(
    not (SHARED / "models").is_dir() or not (SHARED / "photos").is_dir(),
    reason="the real models and photos of ../shared are not beside this checkout",
)


@pytest.fixture
def registry(tmp_path):
    for manifest in (HERE / "manifests").glob("*.toml"):
        shutil.copy(manifest, tmp_path)
    for weights in (SHARED / "models").glob("*.onnx"):
        (tmp_path / weights.name).symlink_to(weights)
    return Registry([tmp_path], tmp_path / "cache", shipped_dirs=())


def test_the_three_manifests_have_no_problems(registry):
    assert registry.problems() == []
    assert registry.names() == MANIFESTS
    assert [registry.availability(name) for name in MANIFESTS] == ["", "", ""]


@pytest.mark.parametrize("name", MANIFESTS)
def test_a_real_model_cuts_the_person_out_of_a_photo(registry, name):
    model = registry.load(name)
    model.warm()
    rgb = cv2.cvtColor(cv2.imread(str(SHARED / "photos/hd_julia.jpg")), cv2.COLOR_BGR2RGB)
    height, width = rgb.shape[:2]
    alphas = model.run(model.prepare(rgb))
    alpha = cpu.alpha_to_source(alphas[0], width, height, fit=model.manifest.fit)
    found = cpu.alpha_statistics(alpha)
    # She stands right of the centre, from the top edge to the bottom edge, in 29 % of the picture.
    assert found.box is not None
    left, top, right, bottom = found.box
    assert 600 < left < 700
    assert 1300 < right < 1400
    assert (top, bottom) == (0, height)
    assert 0.25 < found.coverage < 0.32
    assert found.uncertainty < 0.15
    assert alpha[200, 300] < 20  # the wall behind her
    assert alpha[700, 980] > 235  # her blouse
    model.close()


@pytest.mark.parametrize("name", ["mediapipe-selfie", "mediapipe-landscape"])
def test_the_well_known_manifest_describes_the_real_file(registry, name):
    known = Registry([], registry.cache_dir, shipped_dirs=(KNOWN_DIR,)).manifest(name)
    local = registry.manifest(name)
    assert known.weights.sha256 == local.weights.sha256
    assert known.weights.size_bytes == local.weights.file.stat().st_size
    for table in ("width", "height", "layout", "channels", "mean", "std", "fit"):
        assert getattr(known.input, table) == getattr(local.input, table)
    assert (known.output.channel, known.output.activation) == (
        local.output.channel,
        local.output.activation,
    )
