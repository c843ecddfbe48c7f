"""The networks, their losses and their ONNX files; skipped where torch is not installed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from models.training.composite import targets

torch = pytest.importorskip("torch", reason="torch is needed to train, not to serve")

from models.training.click_network import ClickNet  # noqa: E402 - they need torch
from models.training.config import read_config  # noqa: E402
from models.training.losses import matte_loss  # noqa: E402
from models.training.network import MatteNet, Width, parameters_count  # noqa: E402
from models.training.trainer import build_net  # noqa: E402
from models.training.warm_start import warm_start  # noqa: E402

TRAINING = Path(__file__).parents[3] / "models" / "training"
SMALL = Width(s16=48, s32=64, s8_blocks=1, s16_blocks=2, s32_blocks=2)


def test_losses_vanish_on_a_perfect_prediction_and_not_on_its_opposite(disc) -> None:
    maps = targets(disc(64, 20), is_true=True)
    batch = torch.from_numpy(maps.transpose(2, 0, 1)[None].copy()).float() / 255.0
    alpha = batch[:, :1]
    perfect = (alpha * 2 - 1) * 30.0  # sigmoid(30) is 1 to float precision
    assert float(matte_loss([perfect], batch)) < 1e-3
    assert float(matte_loss([-perfect], batch)) > 10.0


def test_side_heads_that_weigh_nothing_teach_nothing(disc) -> None:
    maps = targets(disc(64, 20), is_true=True)
    batch = torch.from_numpy(maps.transpose(2, 0, 1)[None].copy()).float() / 255.0
    main, wrong = torch.zeros(1, 1, 64, 64), torch.full((1, 1, 8, 8), 5.0)
    alone = float(matte_loss([main], batch))
    assert float(matte_loss([main, wrong], batch)) > alone + 0.1
    assert float(matte_loss([main, wrong], batch, side_weight=0.0)) == alone


@pytest.mark.filterwarnings("ignore")  # torch calls its own exporter deprecated
def test_exported_untrained_net_agrees_with_onnx_runtime(tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    ort = pytest.importorskip("onnxruntime")
    from models.training.export import export

    torch.manual_seed(0)
    out = tmp_path / "net.onnx"
    assert export(MatteNet(SMALL), out, side=64) < 1e-4
    session = ort.InferenceSession(str(out), providers=["CPUExecutionProvider"])
    assert [i.name for i in session.get_inputs()] == ["image"]
    (alpha,) = session.run(["alpha"], {"image": np.zeros((5, 3, 64, 64), np.float32)})
    assert alpha.shape == (5, 1, 64, 64)
    assert alpha.min() >= 0.0
    assert alpha.max() <= 1.0


@pytest.mark.filterwarnings("ignore")
def test_the_half_twin_holds_half_the_bytes_and_answers_alike(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    from models.training.export import export
    from models.training.half import disagreement, halved

    torch.manual_seed(0)
    whole, half = tmp_path / "net.onnx", tmp_path / "half.onnx"
    export(MatteNet(SMALL), whole, side=64)
    onnx.save(halved(onnx.load(str(whole))), str(half))
    assert half.stat().st_size < 0.6 * whole.stat().st_size
    assert 0.0 < disagreement(whole, half) < 0.01


@pytest.mark.filterwarnings("ignore")
def test_both_click_graphs_agree_with_torch_and_can_be_clicked_through(
    tmp_path: Path, disc
) -> None:
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    from models.training.evaluate_click import CLICKS, ClickModel, play
    from models.training.export_click import export_click

    torch.manual_seed(0)
    assert export_click(ClickNet(SMALL), tmp_path, side=64) < 1e-4
    assert len(list(tmp_path.glob("*.onnx"))) == 2
    model = ClickModel(tmp_path)
    rgb = np.zeros((64, 64, 3), np.uint8)
    answers = play(model, model.look(rgb), disc(64, 20))
    assert [alpha.shape for alpha in answers] == [(64, 64)] * CLICKS
    assert not np.array_equal(answers[0], answers[1])  # the second click and answer were seen


def test_a_calibrated_net_answers_gain_times_the_logit_less_the_shift() -> None:
    pytest.importorskip("onnx")
    from models.training.export import calibrate

    torch.manual_seed(0)
    net = MatteNet(SMALL).eval()
    image = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        before = net(image)
        calibrate(net, gain=2.0, shift=0.5)
        assert torch.allclose(net(image), 2.0 * (before - 0.5), atol=1e-5)


def test_several_checkpoints_are_exported_as_their_mean(tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    from models.training.checkpoints import averaged

    paths = [tmp_path / name for name in ("one.pt", "two.pt")]
    for path, value in zip(paths, (1.0, 4.0), strict=True):
        weights = {"w": torch.tensor([value]), "batches": torch.tensor(int(value))}
        torch.save({"config": {}, "average": weights}, path)
    assert averaged(paths)["average"]["w"].item() == 2.5
    assert averaged(paths)["average"]["batches"].item() == 1  # a count, which no net reads
    assert averaged(paths[1:])["average"]["w"].item() == 4.0


def test_clicks_are_counted_to_the_first_that_reaches_the_goal() -> None:
    pytest.importorskip("onnxruntime")
    from models.training.evaluate_click import clicks_to

    assert clicks_to(0.85, [0.2, 0.85, 0.7]) == 2
    assert clicks_to(0.9, [0.2, 0.85, 0.7]) == 4


def test_the_box_of_a_subject_touches_its_outermost_pixels() -> None:
    pytest.importorskip("onnxruntime")
    from models.training.evaluate_click import box_of
    from models.training.prompts import Box

    truth = np.zeros((10, 20), np.float32)
    truth[2:5, 4:10] = 1.0
    assert box_of(truth) == Box(0.2, 0.2, 0.5, 0.5)
    assert box_of(np.zeros((10, 20), np.float32)) == Box(0.0, 0.0, 1.0, 1.0)


def test_export_pins_digest_and_size_in_the_manifest(tmp_path: Path) -> None:
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


@pytest.mark.parametrize(("name", "most_mb"), [("matte_s", 4), ("matte_m", 16), ("matte_click", 8)])
def test_released_configuration_is_read_and_its_net_is_within_the_asked_size(
    name: str, most_mb: int
) -> None:
    config = read_config(TRAINING / f"{name}.toml")
    assert config.tiers == ("A", "B")
    assert config.phases[-1].until == 1.0
    assert most_mb / 2 * 1e6 <= 4 * parameters_count(build_net(config)) <= most_mb * 1e6


def test_the_configuration_for_fine_tuning_fits_the_shipped_file() -> None:
    pytest.importorskip("onnx")
    from models.training.from_onnx import fill, read_filters

    config = read_config(TRAINING / "fine_tune.toml")
    net = build_net(config)
    assert isinstance(net, MatteNet)
    fill(net, read_filters(TRAINING.parent / "builtin" / "matte-s.onnx"))  # raises where it differs
    assert config.width == read_config(TRAINING / "matte_s.toml").width
    assert not {"ecssd", "ccp"} & set(config.mix.photo_sources)  # no source of ours by name


def test_a_wrong_kind_is_refused_by_name() -> None:
    config = read_config(TRAINING / "matte_s.toml")
    object.__setattr__(config, "kind", "clique")
    with pytest.raises(ValueError, match="clique"):
        build_net(config)


def saved(net: MatteNet, path: Path) -> Path:
    torch.save({"average": net.state_dict()}, path)
    return path


def test_warm_start_of_an_equal_net_copies_it_whole(tmp_path: Path) -> None:
    old, new = MatteNet(SMALL), MatteNet(SMALL)
    assert warm_start(new, saved(old, tmp_path / "old.pt")) == []
    image = torch.randn(1, 3, 64, 64)
    assert torch.equal(old.eval()(image), new.eval()(image))


def test_warm_start_drops_the_hidden_channels_that_nothing_reads(tmp_path: Path) -> None:
    torch.manual_seed(0)
    old = MatteNet(SMALL)
    block = old.to_s32[1]  # 256 hidden channels, the first 56 of which we make useless
    with torch.no_grad():
        block.project[0].weight[:, :56] = 0.0
        block.gate.up.weight[:] = 0.0  # the pruned gate has fewer inner channels too
    narrow = MatteNet(Width(**{**vars(SMALL), "s32_inner": 200}))
    assert warm_start(narrow, saved(old, tmp_path / "old.pt")) == []
    image = torch.randn(1, 3, 64, 64)
    assert torch.allclose(old.eval()(image), narrow.eval()(image), atol=1e-5)


def test_warm_start_of_a_deeper_and_wider_net_answers_as_the_old_one_did(tmp_path: Path) -> None:
    torch.manual_seed(0)
    old = MatteNet(SMALL)
    deeper = {"s8_blocks": 3, "s16_blocks": 3, "s32_blocks": 4, "s32_inner": 300}
    large = MatteNet(Width(**{**vars(SMALL), **deeper}))
    assert warm_start(large, saved(old, tmp_path / "old.pt")) == []
    image = torch.randn(1, 3, 64, 64)
    assert torch.allclose(old.eval()(image), large.eval()(image), atol=1e-5)
    large.train()(image).mean().backward()
    wider, new = large.to_s32[1].project, large.to_s32[3].project
    assert wider[0].weight.grad[:, 256:].any()  # silent, and not dead
    assert new[1].weight.grad.any()


def test_a_click_net_takes_the_encoder_of_a_matte_net_and_nothing_else(tmp_path: Path) -> None:
    old, click = MatteNet(SMALL), ClickNet(SMALL)
    missed = warm_start(click, saved(old, tmp_path / "old.pt"))
    assert torch.equal(click.to_s16[0].expand[0].weight, old.to_s16[0].expand[0].weight)
    assert not [name for name in missed if name.startswith(("stem", "to_", "context"))]
    assert [name for name in missed if name.startswith("think_s32")]


def test_a_frozen_encoder_keeps_weights_and_statistics_while_the_decoder_learns() -> None:
    net = ClickNet(SMALL).train()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    net.forward_all(torch.randn(2, 3, 64, 64), torch.rand(2, 4, 32, 32))[0].mean().backward()
    after = net.state_dict()
    assert torch.equal(before["stem.1.running_mean"], after["stem.1.running_mean"])
    assert not torch.equal(before["prompt.1.running_mean"], after["prompt.1.running_mean"])
    assert net.stem[0].weight.grad is None
    assert net.prompt[0].weight.grad is not None


def test_a_prompt_changes_the_answer() -> None:
    torch.manual_seed(0)
    net = ClickNet(SMALL).eval()
    image, none = torch.randn(1, 3, 64, 64), torch.zeros(1, 4, 32, 32)
    asked = none.clone()
    asked[:, 0, 10:14, 10:14] = 1.0
    assert not torch.allclose(net(image, none), net(image, asked))
