"""The training package: its metrics and samples everywhere, its network where torch is installed.

Torch is no dependency of the project, so the last tests skip without it; the tests that read the
training pictures skip where those are not beside the checkout.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from models.training.composite import Layer, Mix, Sampler, edge_band, lift, place, targets
from models.training.data import (
    Picture,
    Pool,
    Row,
    crop_to_subject,
    data_digest,
    load_picture,
    read_manifest,
    select,
)
from models.training.metrics import boundary_f, iou, mae, soft_band_mae

DATA = Path(__file__).parents[3] / "shared" / "data"
TRAINING = Path(__file__).parents[2] / "models" / "training"

HEADER = "file,kind,split,source_repo,path,licence,has_gt,note,tier\n"
LINES = (
    "images/ecssd_00001.jpg,mixed,train,a/b,p,MIT,1,,B\n"
    "images/inet_00001.jpg,mixed,train,a/b,p,MIT,0,,B\n"
    'cutouts/noto_00001.webp,cutout-object,val,a/b,p,"Apache, 2.0",1,,A\n'
    "images/cat_00001.jpg,animal,train,a/b,p,none,1,,C\n"
)


def disc(side: int, radius: float, shift: float = 0.0) -> NDArray[np.float32]:
    """A filled disc in the middle (plus `shift` px to the right), (side, side) of 0.0 and 1.0."""
    y, x = np.mgrid[:side, :side] - (side - 1) / 2
    return ((x - shift) ** 2 + y**2 <= radius**2).astype(np.float32)


def picture(folder: str, prefix: str, masked: bool, seed: int) -> Picture:
    """A made-up picture of noise with a disc for a subject."""
    rng = np.random.default_rng(seed)
    row = Row(f"{folder}/{prefix}_0.png", "object", "train", "a/b", "MIT", "1", "A")
    rgb = rng.integers(0, 256, (60, 80, 3), dtype=np.uint8)
    alpha = np.zeros((60, 80), np.uint8)
    alpha[:, 10:70] = (disc(60, 25) * 255).astype(np.uint8)
    return Picture(row, rgb, alpha if masked else None)


def small_pool() -> Pool:
    """One picture of each use."""
    return Pool(
        photos={"ecssd": [picture("images", "ecssd", True, 1)]},
        cutouts={"noto": [picture("cutouts", "noto", True, 2)]},
        plain=[picture("images", "inet", False, 3)],
        backgrounds=[picture("backgrounds", "bgl", False, 4)],
    )


def mix(photo: float, composite: float, plain: float, empty: float) -> Mix:
    """Shares of the kinds, the sources left equal."""
    return Mix(photo, composite, plain, empty, {"rest": 1.0}, {"rest": 1.0})


def test_metrics_are_perfect_when_prediction_is_truth() -> None:
    truth = disc(64, 20)
    assert iou(truth, truth) == 1.0
    assert mae(truth, truth) == 0.0
    assert boundary_f(truth, truth) == 1.0
    assert soft_band_mae(truth, truth) == 0.0


def test_iou_counts_pixels_above_one_half() -> None:
    truth = np.zeros((4, 4), np.float32)
    truth[:2] = 1.0
    predicted = np.zeros((4, 4), np.float32)
    predicted[1:3] = 0.6
    assert iou(predicted, truth) == pytest.approx(4 / 12)


def test_two_empty_alphas_agree_and_one_empty_alpha_does_not() -> None:
    empty, full = np.zeros((32, 32), np.float32), disc(32, 10)
    assert iou(empty, empty) == 1.0
    assert boundary_f(empty, empty) == 1.0
    assert iou(empty, full) == 0.0
    assert boundary_f(empty, full) == 0.0


def test_boundary_f_forgives_one_pixel_and_punishes_ten() -> None:
    truth = disc(200, 60)
    assert boundary_f(disc(200, 60, shift=1), truth) == 1.0
    assert boundary_f(disc(200, 60, shift=10), truth) < 0.5


def test_soft_band_mae_looks_only_near_the_edge() -> None:
    truth = disc(100, 30)
    far_wrong = truth.copy()
    far_wrong[:5, :5] = 1.0
    assert soft_band_mae(far_wrong, truth) == 0.0
    assert mae(far_wrong, truth) > 0.0


def test_manifest_rows_are_counted_and_selected_by_split_and_tier(tmp_path: Path) -> None:
    (tmp_path / "manifest.csv").write_text(HEADER + LINES, encoding="utf-8")
    rows = read_manifest(tmp_path)
    assert [r.prefix for r in rows] == ["ecssd", "inet", "noto", "cat"]
    assert [r.has_mask for r in rows] == [True, False, False, True]
    assert [r.prefix for r in select(rows, "train", ["A", "B"])] == ["ecssd", "inet"]
    assert len(data_digest(tmp_path)) == 64


def test_missing_picture_is_named(tmp_path: Path) -> None:
    row = Row("images/ecssd_1.jpg", "mixed", "train", "a/b", "MIT", "1", "B")
    with pytest.raises(FileNotFoundError, match=r"ecssd_1\.jpg"):
        load_picture(tmp_path, row, 64)


def test_cutout_is_cropped_to_its_subject() -> None:
    alpha = np.zeros((20, 30), np.uint8)
    alpha[5:9, 10:17] = 255
    rgb, cropped = crop_to_subject(np.zeros((20, 30, 3), np.uint8), alpha)
    assert rgb.shape == (4, 7, 3)
    assert cropped.min() == 255


def test_placed_cutout_is_premultiplied_and_its_alpha_is_what_was_mixed() -> None:
    rng = np.random.default_rng(0)
    layer = place(rng, picture("cutouts", "noto", True, 2), 96, 0.8)
    assert layer.alpha.shape == (96, 96)
    assert 0.1 < layer.alpha.mean() < 0.9
    # premultiplied colour never exceeds white times alpha, so transparent pixels add nothing
    assert np.all(layer.premultiplied <= 255.0 * layer.alpha[..., None] + 1e-2)


def test_composite_alpha_is_exact_for_a_white_subject_on_black() -> None:
    white = picture("cutouts", "noto", True, 2)
    white.rgb[:] = 255
    pool = Pool(cutouts={"noto": [white]})
    sampler = Sampler(pool, mix(0, 1, 0, 0), seed=1)
    black = np.zeros((64, 64, 3), np.float32)
    for seed in range(20):
        layer: Layer = place(np.random.default_rng(seed), white, 64, 0.7)
        mixed = layer.premultiplied + (1.0 - layer.alpha[..., None]) * black
        np.testing.assert_allclose(mixed[..., 0] / 255.0, layer.alpha, atol=1e-3)
    assert sampler.cutout_sources == {"noto": 1.0}


def test_lifted_subject_does_not_carry_the_old_ground_in_its_edge() -> None:
    mask = disc(64, 20)
    rgb = np.zeros((64, 64, 3), np.float32)
    rgb[..., 0] = 255.0 * mask  # a red subject
    rgb[..., 1] = 255.0 * (1.0 - mask)  # on green
    layer = lift(np.random.default_rng(0), rgb, mask)
    edge = (layer.alpha > 0.1) & (layer.alpha < 0.9)
    assert edge.any()
    assert float(layer.premultiplied[edge][:, 1].max()) < 1.0


def test_sample_is_a_function_of_seed_and_number() -> None:
    first = Sampler(small_pool(), mix(1, 1, 1, 1), seed=5)
    again = Sampler(small_pool(), mix(1, 1, 1, 1), seed=5)
    for index in range(12):
        a, b = first.sample(index, 64), again.sample(index, 64)
        assert (a[0].shape, a[1].shape) == ((64, 64, 3), (64, 64, 4))
        assert np.array_equal(a[0], b[0])
        assert np.array_equal(a[1], b[1])


def test_only_photos_are_marked_as_hard_masks_and_empty_grounds_have_no_alpha() -> None:
    photo = Sampler(small_pool(), mix(1, 0, 0, 0), seed=1).sample(0, 64)[1]
    empty = Sampler(small_pool(), mix(0, 0, 0, 1), seed=1).sample(0, 64)[1]
    assert photo[..., 3].max() == 0
    assert empty[..., 3].min() == 255
    assert empty[..., :3].max() == 0


def test_edge_bands_lie_within_each_other_around_the_edge() -> None:
    maps = targets(disc(64, 20), is_true=True)
    near, wide = maps[..., 1] > 0, maps[..., 2] > 0
    assert np.all(wide[near])
    assert not wide[32, 32]
    assert not wide[0, 0]
    assert edge_band(np.full((8, 8), 255, np.uint8), 2).max() == 0


def test_the_real_manifest_has_the_rows_the_card_names() -> None:
    if not DATA.exists():
        pytest.skip("the training pictures are not beside this checkout (../shared/data)")
    rows = read_manifest(DATA)
    assert len(rows) == 6193
    photos = [r for r in select(rows, "train", ["A", "B", "C"]) if r.has_mask]
    assert len(photos) == 2965
    shipped = select(rows, "train", ["A", "B"])
    assert {r.tier for r in shipped} == {"A", "B"}
    assert load_picture(DATA, shipped[0], 128).rgb.shape[2] == 3


def test_losses_vanish_on_a_perfect_prediction_and_not_on_its_opposite() -> None:
    torch = pytest.importorskip("torch")
    from models.training.losses import matte_loss

    maps = targets(disc(64, 20), is_true=True)
    batch = torch.from_numpy(maps.transpose(2, 0, 1)[None].copy()).float() / 255.0
    alpha = batch[:, :1]
    perfect = (alpha * 2 - 1) * 30.0  # sigmoid(30) is 1 to float precision
    assert float(matte_loss([perfect], batch)) < 1e-3
    assert float(matte_loss([-perfect], batch)) > 10.0


@pytest.mark.filterwarnings("ignore")  # torch calls its own exporter deprecated
def test_exported_untrained_net_agrees_with_onnx_runtime(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    pytest.importorskip("onnx")
    ort = pytest.importorskip("onnxruntime")
    from models.training.export import export
    from models.training.network import MatteNet, Width

    torch.manual_seed(0)
    net = MatteNet(Width(s16=48, s32=64, s16_blocks=2, s32_blocks=1))
    out = tmp_path / "net.onnx"
    assert export(net, out, side=64) < 1e-4
    session = ort.InferenceSession(str(out), providers=["CPUExecutionProvider"])
    assert [i.name for i in session.get_inputs()] == ["image"]
    (alpha,) = session.run(["alpha"], {"image": np.zeros((5, 3, 64, 64), np.float32)})
    assert alpha.shape == (5, 1, 64, 64)
    assert alpha.min() >= 0.0
    assert alpha.max() <= 1.0


def test_export_pins_digest_and_size_in_the_manifest(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    pytest.importorskip("onnx")
    from models.training.export import pin, sha256_of

    weights, manifest = tmp_path / "m.onnx", tmp_path / "m.toml"
    weights.write_bytes(b"weights")
    manifest.write_text('file = "m.onnx"\nsha256 = ""\nsize_bytes = 0\n', encoding="utf-8")
    pin(manifest, weights)
    assert manifest.read_text(encoding="utf-8") == (
        f'file = "m.onnx"\nsha256 = "{sha256_of(weights)}"\nsize_bytes = 7\n'
    )
    manifest.write_text("[weights]\n", encoding="utf-8")
    with pytest.raises(ValueError, match="sha256"):
        pin(manifest, weights)


def test_shipped_configuration_is_read_and_its_net_is_within_the_asked_size() -> None:
    pytest.importorskip("torch")
    from models.training.config import read_config
    from models.training.network import MatteNet, parameters_count

    config = read_config(TRAINING / "matte_s_v0.toml")
    assert config.tiers == ("A", "B")
    assert config.phases[-1].until == 1.0
    assert 2e6 <= 4 * parameters_count(MatteNet(config.width)) <= 8e6
