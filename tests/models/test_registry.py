"""Which models there are, why one cannot be loaded, and loading one."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from models.errors import (
    LicenceNotAccepted,
    ModelNotFound,
    WeightsDamaged,
    WeightsMissing,
)
from models.model import Model
from models.registry import KNOWN_DIR, Registry
from tests.fakes.tiny_onnx import write_tiny_model


@pytest.fixture
def registry(tmp_path):
    return lambda **settings: Registry([tmp_path], tmp_path / "cache", shipped_dirs=(), **settings)


def test_names_are_sorted(tmp_path, registry):
    for name in ("walnut", "acorn", "maple"):
        write_tiny_model(tmp_path, name)
    assert registry().names() == ["acorn", "maple", "walnut"]


def test_an_unknown_name_lists_the_nearest(tmp_path, registry):
    write_tiny_model(tmp_path, "u2net")
    write_tiny_model(tmp_path, "modnet")
    with pytest.raises(ModelNotFound, match="no model 'u2nett': the nearest names are 'u2net'"):
        registry().manifest("u2nett")


def test_a_name_like_no_other_lists_them_all(tmp_path, registry):
    write_tiny_model(tmp_path, "acorn")
    with pytest.raises(ModelNotFound, match="no model 'zzz': known are 'acorn'"):
        registry().load("zzz")


def test_a_broken_manifest_is_a_problem_and_stops_no_other(tmp_path, registry):
    write_tiny_model(tmp_path, "acorn")
    (tmp_path / "broken.toml").write_text("name = 3")
    there = registry()
    assert there.names() == ["acorn"]
    assert f"{tmp_path / 'broken.toml'}: 'name' is 3; allowed is" in there.problems()[0] + "".join(
        there.problems()
    )


def test_a_name_used_twice_is_a_problem_that_names_both_files(tmp_path):
    first, second = tmp_path / "a", tmp_path / "b"
    for folder in (first, second):
        folder.mkdir()
        write_tiny_model(folder, "acorn")
    there = Registry([first, second], tmp_path / "cache", shipped_dirs=())
    assert there.manifest("acorn").path == first / "acorn.toml"
    (problem,) = there.problems()
    assert str(first / "acorn.toml") in problem
    assert problem.startswith(f"{second / 'acorn.toml'}: 'name' is 'acorn', which ")


def test_a_folder_that_is_not_there_is_a_problem(tmp_path):
    there = Registry([tmp_path / "none"], tmp_path / "cache", shipped_dirs=())
    assert there.problems() == [f"{tmp_path / 'none'}: there is no such folder of models"]


def test_a_loaded_model_runs_and_carries_its_digest(tmp_path, registry):
    write_tiny_model(tmp_path, "acorn")
    there = registry()
    assert there.availability("acorn") == ""
    model = there.load("acorn", threads=2)
    model.warm()
    white = np.full((50, 70, 3), 255, np.uint8)
    assert model.run(model.prepare(white)).min() == pytest.approx(1)
    assert model.weights_sha256 == there.manifest("acorn").weights.sha256
    assert model.engine.max_concurrent_runs == 2
    model.close()


def test_missing_weights_say_where_they_were_looked_for(tmp_path, registry):
    write_tiny_model(tmp_path, "acorn")
    (tmp_path / "acorn.onnx").unlink()
    there = registry()
    assert "acorn.onnx do not exist" in there.availability("acorn")
    with pytest.raises(WeightsMissing, match=r"acorn\.onnx do not exist"):
        there.load("acorn")


def test_missing_weights_of_a_pullable_model_say_how_to_pull_them(tmp_path):
    there = Registry([], tmp_path / "cache", shipped_dirs=(KNOWN_DIR,))
    assert "run 'mattestream models pull u2netp'" in there.availability("u2netp")


def test_damaged_weights_are_refused_with_both_digests(tmp_path, registry):
    write_tiny_model(tmp_path, "acorn")
    pinned = registry().manifest("acorn").weights.sha256
    with (tmp_path / "acorn.onnx").open("ab") as file:
        file.write(b"\0")
    with pytest.raises(WeightsDamaged, match=f"has sha256 [0-9a-f]{{64}}, expected {pinned}"):
        registry().load("acorn")


def test_weights_without_a_pin_load_and_report_the_digest_they_have(tmp_path, registry):
    write_tiny_model(tmp_path, "acorn", pinned=False)
    model = registry().load("acorn")
    assert len(model.weights_sha256) == 64


def test_non_commercial_weights_are_refused_and_the_flag_is_named(tmp_path, registry):
    write_tiny_model(tmp_path, "acorn", license="CC-BY-NC-4.0", commercial_use=False)
    sentence = r"'CC-BY-NC-4\.0', which does not allow commercial use.*--accept-license acorn"
    with pytest.raises(LicenceNotAccepted, match=sentence):
        registry().load("acorn")
    assert "--accept-license acorn" in registry().availability("acorn")


@pytest.mark.parametrize("accepted", ["acorn", "CC-BY-NC-4.0"])
def test_non_commercial_weights_load_once_licence_or_model_is_accepted(
    tmp_path, registry, accepted
):
    write_tiny_model(tmp_path, "acorn", license="CC-BY-NC-4.0", commercial_use=False)
    there = registry(accepted_licences=frozenset({accepted}))
    assert there.availability("acorn") == ""
    there.load("acorn").close()


def test_the_shipped_manifests_are_all_right():
    there = Registry([], None)
    assert there.problems() == []
    assert {"u2net", "u2netp", "isnet-general-use", "birefnet-general"} <= set(there.names())


def test_every_well_known_model_has_an_address_a_digest_and_a_size():
    for path in KNOWN_DIR.glob("*.toml"):
        weights = Registry([], None).manifest(path.stem).weights
        assert weights.url is not None
        assert weights.url.startswith("https://")
        assert weights.sha256 is not None
        assert weights.size_bytes is not None


def test_both_matting_models_of_ours_are_shipped_and_agree_on_a_plain_picture() -> None:
    picture = np.full((300, 400, 3), (40, 60, 80), np.uint8)
    rows, columns = np.mgrid[0:300, 0:400]
    head = (rows - 80) ** 2 + (columns - 200) ** 2 < 45**2
    body = (rows > 120) & (abs(columns - 200) < 90)
    picture[head | body] = (200, 120, 100)
    found = {}
    for name in ("matte-s", "matte-m"):
        model = Registry().load(name)
        assert isinstance(model, Model)
        try:
            alpha = model.run(np.concatenate([model.prepare(picture)] * 2))
        finally:
            model.close()
        assert alpha.shape[0] == 2
        assert np.array_equal(alpha[0], alpha[1])
        found[name] = cv2.resize(alpha[0], (400, 300)) > 0.5
    both, either = (found["matte-s"] & found["matte-m"]), (found["matte-s"] | found["matte-m"])
    assert both.sum() / either.sum() > 0.85
    assert found["matte-m"][200, 200]
    assert not found["matte-m"][10, 10]
