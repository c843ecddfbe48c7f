"""Models that answer prompts: manifests, graphs of both forms, places and masks."""

from __future__ import annotations

import numpy as np
import pytest

from models.errors import ManifestError, PullFailed, WrongKindOfModel
from models.prompt_maps import prompt_maps
from models.prompt_model import expected_iou
from models.prompts import BoxPrompt, Click, Prompts
from models.pull import pull_files
from models.registry import KNOWN_DIR, Registry
from models.training import prompts as training
from tests.fakes.sam_onnx import RADIUS, SIDE, write_sam_model
from tests.fakes.tiny_onnx import write_tiny_model


@pytest.fixture(params=["sam", "efficient"])
def disc(request, tmp_path):
    write_sam_model(tmp_path, kind=request.param)
    model = Registry([tmp_path], tmp_path / "cache", shipped_dirs=()).load_prompt("disc")
    yield model
    model.close()


def centre_of(alpha):
    rows, columns = np.nonzero(alpha >= 0.5)
    height, width = alpha.shape
    return (columns.mean() + 0.5) / width, (rows.mean() + 0.5) / height


WHITE = np.full((96, 192, 3), 255, np.uint8)


def test_a_click_is_answered_where_it_was_in_a_wide_picture(disc):
    answer = disc.answer(disc.look(WHITE), Prompts((Click(0.75, 0.4),)))
    assert centre_of(answer.alpha) == pytest.approx((0.75, 0.4), abs=0.03)


def test_a_box_means_its_middle(disc):
    box = BoxPrompt(0.1, 0.2, 0.5, 0.8)
    answer = disc.answer(disc.look(WHITE), Prompts((), box))
    assert centre_of(answer.alpha) == pytest.approx((0.3, 0.5), abs=0.03)


def test_the_answer_covers_the_picture_and_not_the_bars_of_the_plane(tmp_path):
    write_sam_model(tmp_path)
    model = Registry([tmp_path], tmp_path / "cache", shipped_dirs=()).load_prompt("disc")
    answer = model.answer(model.look(WHITE), Prompts((Click(0.5, 0.5),)))
    assert answer.alpha.shape == (SIDE // 2, SIDE)
    assert (answer.alpha >= 0.5).sum() == pytest.approx(np.pi * RADIUS**2, rel=0.05)


def test_a_lone_click_takes_the_best_reading_and_several_prompts_the_joint_one(tmp_path):
    write_sam_model(tmp_path)
    model = Registry([tmp_path], tmp_path / "cache", shipped_dirs=()).load_prompt("disc")
    features = model.look(WHITE)
    alone = model.answer(features, Prompts((Click(0.5, 0.5),)))
    together = model.answer(features, Prompts((Click(0.4, 0.5), Click(0.6, 0.5))))
    assert (alone.score, together.score) == pytest.approx((0.9, 0.5))


def test_an_earlier_mask_reaches_the_decoder(tmp_path):
    write_sam_model(tmp_path)
    model = Registry([tmp_path], tmp_path / "cache", shipped_dirs=()).load_prompt("disc")
    features = model.look(WHITE)
    click = (Click(0.5, 0.5),)
    covering, nothing = np.ones((9, 9), np.float32), np.zeros((9, 9), np.float32)
    grown = model.answer(features, Prompts(click, None, covering)).alpha.mean()
    shrunk = model.answer(features, Prompts(click, None, nothing)).alpha.mean()
    assert grown > 2 * shrunk


def test_features_answer_any_number_of_prompts_without_looking_again(disc, monkeypatch):
    features = disc.look(WHITE)
    monkeypatch.setattr(disc.engine, "encode", lambda picture: pytest.fail("looked again"))
    first = disc.answer(features, Prompts((Click(0.25, 0.5),)))
    again = disc.answer(features, Prompts((Click(0.25, 0.5),)))
    np.testing.assert_array_equal(first.alpha, again.alpha)
    assert features.nbytes == SIDE * SIDE * 4


def test_warming_asks_both_graphs(disc, monkeypatch):
    asked = []

    def noting(name):
        method = getattr(disc.engine, name)
        return lambda *given, **named: (asked.append(name), method(*given, **named))[1]

    for name in ("encode", "decode"):
        monkeypatch.setattr(disc.engine, name, noting(name))
    disc.warm()
    assert asked == ["encode", "decode", "decode"]


def test_prompt_maps_are_those_of_the_training():
    ours = prompt_maps(
        Prompts(
            (Click(0.3, 0.7), Click(0.8, 0.2, wanted=False)),
            BoxPrompt(0.1, 0.25, 0.62, 0.9),
            np.linspace(0, 1, 48 * 32, dtype=np.float32).reshape(48, 32),
        ),
        160,
        160,
    )
    theirs = training.draw_maps(
        [training.Click(0.3, 0.7), training.Click(0.8, 0.2, wanted=False)],
        training.Box(0.1, 0.25, 0.62, 0.9),
        np.linspace(0, 1, 48 * 32, dtype=np.float32).reshape(48, 32),
        160,
    )
    np.testing.assert_allclose(ours[0].transpose(1, 2, 0) * 255, theirs, atol=1e-4)


def test_the_built_in_model_takes_the_one_that_is_clicked(tmp_path):
    model = Registry([], tmp_path).load_prompt("matte-click")
    rgb = np.full((240, 320, 3), (40, 90, 40), np.uint8)
    rgb[60:180, 30:130] = (230, 60, 50)
    rgb[60:180, 190:290] = (60, 60, 230)
    features = model.look(rgb)
    for x, is_left in ((80 / 320, True), (240 / 320, False)):
        alpha = model.answer(features, Prompts((Click(x, 0.5),))).alpha
        middle = alpha.shape[1] // 2
        left, right = alpha[:, :middle].sum(), alpha[:, middle:].sum()
        clicked, other = (left, right) if is_left else (right, left)
        assert clicked > 1.3 * other
    model.close()


def test_a_soft_mask_takes_itself_for_worse_than_a_hard_one():
    hard = np.zeros((8, 8), np.float32)
    hard[2:6, 2:6] = 1
    assert expected_iou(hard) == 1
    assert expected_iou(hard * np.float32(0.6)) == pytest.approx(0.6)
    assert expected_iou(np.zeros((8, 8), np.float32)) == 0


def test_a_promptable_model_is_refused_where_subjects_are_found_without_prompts(tmp_path):
    write_sam_model(tmp_path)
    there = Registry([tmp_path], tmp_path / "cache", shipped_dirs=())
    assert there.availability("disc") == ""
    with pytest.raises(WrongKindOfModel, match="'disc' answers prompts"):
        there.load("disc")


def test_a_model_without_prompts_is_refused_where_they_are_needed(tmp_path):
    write_tiny_model(tmp_path, "acorn")
    write_sam_model(tmp_path)
    there = Registry([tmp_path], tmp_path / "cache", shipped_dirs=())
    with pytest.raises(WrongKindOfModel, match="'acorn' takes no prompts: those that do are disc"):
        there.load_prompt("acorn")


def test_a_missing_decoder_is_told_before_anything_is_loaded(tmp_path):
    write_sam_model(tmp_path)
    (tmp_path / "disc-decoder.onnx").unlink()
    there = Registry([tmp_path], tmp_path / "cache", shipped_dirs=())
    assert "disc-decoder.onnx do not exist" in there.availability("disc")


@pytest.mark.parametrize(
    ("seen", "instead", "sentence"),
    [
        ('prompts = "points"', 'prompts = "words"', "allowed are 'maps', 'points'"),
        ('prompts = "points"\n', "", "'decoder.prompts' is missing"),
        ("[decoder.weights]", "[decoder.wheights]", "'decoder.weights' is missing"),
        ('activation = "sigmoid"', 'activation = "minmax"', "allowed are 'none' and 'sigmoid'"),
    ],
)
def test_a_wrong_decoder_table_gets_a_sentence(tmp_path, seen, instead, sentence):
    path = write_sam_model(tmp_path)
    path.write_text(path.read_text().replace(seen, instead))
    problems = Registry([tmp_path], tmp_path / "cache", shipped_dirs=()).problems()
    assert any(sentence in problem for problem in problems), problems


@pytest.mark.parametrize(
    ("table", "sentence"),
    [
        ('[decoder.tensors]\npoints = "places"', "'decoder.tensors.points' is 'places', but the"),
        ('[decoder.features]\nextra = "image_embeddings"', "'decoder.features' names 'extra'"),
        (
            '[decoder.tensors]\nsize = "image"',
            "the decoder needs 'orig_im_size', but the encoder's",
        ),
    ],
)
def test_graphs_that_are_not_what_the_manifest_says_get_a_sentence(tmp_path, table, sentence):
    path = write_sam_model(tmp_path)
    path.write_text(f"{path.read_text()}{table}\n")
    with pytest.raises(ManifestError, match=sentence):
        Registry([tmp_path], tmp_path / "cache", shipped_dirs=()).load_prompt("disc")


def test_pulling_fetches_both_files_from_a_folder(tmp_path):
    published, cache = tmp_path / "usb", tmp_path / "cache"
    published.mkdir()
    path = write_sam_model(published)
    text = path.read_text()
    for part in ("encoder", "decoder"):
        text = text.replace(
            f'file = "disc-{part}.onnx"', f'url = "https://a.example/disc-{part}.onnx"'
        )
    folder = tmp_path / "manifests"
    folder.mkdir()
    (folder / "disc.toml").write_text(text)
    there = Registry([folder], cache, shipped_dirs=())
    assert "run 'mattestream models pull disc'" in there.availability("disc")
    pulled = pull_files(there.manifest("disc"), cache_dir=cache, source=published)
    assert [file.was_there for file in pulled] == [False, False]
    there.load_prompt("disc").close()


def test_one_file_or_one_digest_is_not_enough_for_a_model_of_two(tmp_path):
    manifest = Registry([], tmp_path, shipped_dirs=(KNOWN_DIR,)).manifest("mobile-sam")
    with pytest.raises(PullFailed, match="has 2 files and --from is one"):
        pull_files(manifest, cache_dir=tmp_path, source="encoder.onnx")
    with pytest.raises(PullFailed, match="has 2 files and --sha256 is one digest"):
        pull_files(manifest, cache_dir=tmp_path, sha256="0" * 64)


def test_known_promptable_models_pin_both_files():
    there = Registry([], None)
    for name in ("mobile-sam", "efficient-sam-ti"):
        decoder = there.manifest(name).decoder
        assert decoder is not None
        assert decoder.weights.url is not None
        assert decoder.weights.sha256 is not None
        assert decoder.weights.size_bytes is not None
