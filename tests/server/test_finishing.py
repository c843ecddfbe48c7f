"""Edges and colours in the pipelines: each option does its work, and the report says what was done.

The model's alpha is the picture's brightness, so a picture's own shades are its alpha.
"""

from __future__ import annotations

import io
import shutil
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mattestream.errors import InvalidRequest
from mattestream.request import build_options
from mattestream.v1 import options_pb2, report_pb2
from models.device_model import DeviceModel
from models.model import Model
from models.registry import Registry
from server import replies
from server.codecs.header import Limits
from server.device_pipeline import DevicePipeline
from server.finishing import DEFAULTS, DEVICE_DEFAULTS, Defaults, finish, plan
from server.host_pipeline import HostPipeline
from server.image_job import GivenUp
from server.job import (
    Color,
    Despill,
    Edges,
    EncodedSource,
    Format,
    Options,
    Output,
    PixelFormat,
    RawSource,
    Refine,
)
from server.options import read_options
from server.pipeline import Outcome, Pipeline, remove_one
from tests.fakes.emulated_engine import EmulatedRegistry
from tests.fakes.tiny_onnx import write_tiny_model
from tests.kernels.cpu.pictures import soft_subject
from tests.kernels.cuda.tools import missing

LIMITS = Limits(max_megapixels=10, max_side_px=5000)
RAW = Options(format=Format.RAW)
ALPHA = replace(RAW, output=Output.ALPHA)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("models")
    write_tiny_model(made, "brightness")
    return made


@pytest.fixture(scope="module")
def brightness(folder: Path) -> Iterator[Model]:
    model = Registry([folder]).load("brightness")
    assert isinstance(model, Model)
    yield model
    model.close()


@pytest.fixture(scope="module")
def emulated(folder: Path) -> Iterator[DeviceModel]:
    if shutil.which("g++") is None:
        missing("kernels run on the CPU through g++, which is not installed")
    model = EmulatedRegistry((folder,), late=True).load("brightness")
    model.warm()
    yield model
    model.close()


@pytest.fixture
def host(brightness: Model) -> HostPipeline:
    return HostPipeline(brightness, LIMITS)


@pytest.fixture(params=["host", "device"])
def pipeline(request: pytest.FixtureRequest) -> Pipeline:
    if request.param == "host":
        return HostPipeline(request.getfixturevalue("brightness"), LIMITS)
    return DevicePipeline(request.getfixturevalue("emulated"), LIMITS)


def scene() -> RawSource:
    """A bright square with a speck beside it and a hole in it, on dark: 96 x 64 pixels."""
    rgb = np.full((64, 96, 3), 20, np.uint8)
    rgb[8:56, 8:56] = (250, 250, 230)
    rgb[24:32, 24:32] = 20
    rgb[8:14, 80:86] = 250
    return RawSource(rgb.tobytes(), PixelFormat.RGB8, 96, 64)


def outcome_of(pipeline: Pipeline, options: Options) -> Outcome:
    return remove_one(pipeline, scene(), options).outcome


def pixels_of(pipeline: Pipeline, options: Options) -> np.ndarray:
    """(H, W, C)."""
    encoded = outcome_of(pipeline, options).encoded
    return np.frombuffer(encoded.data, np.uint8).reshape(encoded.height, encoded.width, -1)


def covered(pipeline: Pipeline, edges: Edges) -> int:
    """Pixels with alpha of 0.5 or more."""
    return int((pixels_of(pipeline, replace(ALPHA, edges=edges)) >= 128).sum())


def test_a_threshold_leaves_nothing_soft(pipeline: Pipeline) -> None:
    alpha = pixels_of(pipeline, replace(ALPHA, edges=Edges(threshold=0.5)))
    assert set(np.unique(alpha)) == {0, 255}


def test_levels_clear_what_is_faint_and_fill_what_is_nearly_there(pipeline: Pipeline) -> None:
    alpha = pixels_of(pipeline, replace(ALPHA, edges=Edges(black_level=0.2, white_level=0.8)))
    assert (alpha[0, 0], alpha[44, 44]) == (0, 255)


def test_specks_go_and_holes_close(pipeline: Pipeline) -> None:
    before = covered(pipeline, Edges())
    without = before - covered(pipeline, Edges(remove_specks_px=400))
    filled = covered(pipeline, Edges(fill_holes_px=400)) - before
    assert 20 <= without <= 60
    assert 40 <= filled <= 110


def test_a_shift_moves_the_edge_out_or_in(pipeline: Pipeline) -> None:
    assert covered(pipeline, Edges(shift_px=2)) > covered(pipeline, Edges())
    assert covered(pipeline, Edges(shift_px=-2)) < covered(pipeline, Edges())


def test_a_feather_comes_last_and_softens_what_a_threshold_made_hard(pipeline: Pipeline) -> None:
    alpha = pixels_of(pipeline, replace(ALPHA, edges=Edges(threshold=0.5, feather_px=2)))
    assert len(np.unique(alpha)) > 10


def test_despill_takes_the_screens_cast_out(pipeline: Pipeline) -> None:
    green = np.full((32, 32, 3), (90, 240, 120), np.uint8)
    source = RawSource(green.tobytes(), PixelFormat.RGB8, 32, 32)
    options = replace(RAW, despill=Despill.GREEN)
    encoded = remove_one(pipeline, source, options).outcome.encoded
    rgba = np.frombuffer(encoded.data, np.uint8).reshape(32, 32, 4)
    assert tuple(rgba[16, 16, :3]) == (90, 120, 120)


@pytest.mark.parametrize(
    "options",
    [
        replace(ALPHA, refine=Refine.FAST),
        replace(RAW, refine=Refine.FAST, decontaminate=1.0),
        replace(RAW, edges=Edges(shift_px=1.5, feather_px=1)),
        replace(RAW, output=Output.COMPOSITE, background=Color(200, 0, 0), decontaminate=0.5),
    ],
    ids=["refined alpha", "cut-out", "shifted", "composite"],
)
def test_a_gpu_and_a_cpu_finish_alike(
    host: HostPipeline, emulated: DeviceModel, options: Options
) -> None:
    device = DevicePipeline(emulated, LIMITS)
    expected, seen = (pixels_of(each, options).astype(int) for each in (host, device))
    # The two alphas differ by 2 levels before; a fitted slope and an un-mixing enlarge that.
    assert np.abs(expected - seen).max() <= 12
    assert np.abs(expected - seen).mean() < 0.5


def test_a_gpu_refines_and_cleans_itself_and_leaves_the_rest_to_the_host(
    emulated: DeviceModel,
) -> None:
    pipeline = DevicePipeline(emulated, LIMITS)
    rgba = np.dstack([np.full((32, 32, 3), 90, np.uint8), np.arange(1024).reshape(32, 32) % 256])
    cut_out = RawSource(rgba.astype(np.uint8).tobytes(), PixelFormat.RGBA8, 32, 32)
    fast = replace(RAW, refine=Refine.FAST, decontaminate=1.0)
    there = [(scene(), fast), (scene(), replace(ALPHA, refine=Refine.FAST))]
    here = [(scene(), replace(fast, refine=Refine.BEST)), (cut_out, fast)]
    here.append((scene(), replace(fast, edges=Edges(feather_px=1))))
    for source, options in there + here:
        with pipeline.seat() as seat:
            opened = pipeline.open(source, options, seat)
            assert (opened.wanted.on_host is None) == ((source, options) in there)
            (answer,) = pipeline.run([opened])
            outcome = pipeline.close(opened, answer, options)
        assert outcome.refine is options.refine


def test_a_gpu_counts_the_refined_alpha_and_keeps_the_models_doubt(
    host: HostPipeline, emulated: DeviceModel
) -> None:
    options = replace(ALPHA, refine=Refine.FAST)
    expected, seen = (
        outcome_of(each, options).statistics for each in (host, DevicePipeline(emulated, LIMITS))
    )
    assert expected.box is not None
    assert seen.box is not None
    assert np.abs(np.subtract(expected.box, seen.box)).max() <= 1
    assert seen.coverage == pytest.approx(expected.coverage, abs=0.01)
    assert seen.uncertainty == pytest.approx(expected.uncertainty, abs=0.01)


def test_the_report_says_what_was_really_done(pipeline: Pipeline) -> None:
    report = report_pb2.Report()
    options = replace(RAW, refine=Refine.FAST, decontaminate=0.75)
    replies.report_outcome(report, outcome_of(pipeline, options))
    assert (report.refine, report.decontaminate) == (options_pb2.REFINE_FAST, 0.75)
    replies.report_outcome(report, outcome_of(pipeline, RAW))
    assert (report.refine, report.decontaminate) == (options_pb2.REFINE_OFF, 0)


def test_what_the_caller_leaves_open_is_the_pipelines_choice() -> None:
    options = read_options(options_pb2.RemoveOptions(), stream=False)
    assert plan(options, DEVICE_DEFAULTS).is_plain
    on_host = plan(options, DEFAULTS, cell_px=6)
    assert (on_host.refine, on_host.decontaminate) == (Refine.FAST, 1)
    asking = Defaults(refine=Refine.FAST, decontaminate=0.8)
    chosen = plan(options, asking)
    assert (chosen.refine, chosen.decontaminate) == (Refine.FAST, 0.8)
    stream = read_options(options_pb2.RemoveOptions(), stream=True)
    assert plan(stream, asking).decontaminate == 0  # an alpha has no colours


def test_an_alpha_as_fine_as_the_picture_is_refined_only_when_asked() -> None:
    options = read_options(options_pb2.RemoveOptions(), stream=False)
    asking = Defaults(refine=Refine.FAST, decontaminate=1)
    assert plan(options, asking, cell_px=1).refine is Refine.OFF
    assert plan(options, asking, cell_px=1.5).refine is Refine.FAST
    asked = replace(options, refine=Refine.BEST)
    assert plan(asked, asking, cell_px=1).refine is Refine.BEST


@pytest.mark.parametrize("refine", [Refine.FAST, Refine.BEST])
def test_the_refinement_asked_for_is_done_and_named(pipeline: Pipeline, refine: Refine) -> None:
    plain = outcome_of(pipeline, ALPHA)
    refined = outcome_of(pipeline, replace(ALPHA, refine=refine))
    assert refined.encoded.data != plain.encoded.data
    assert refined.refine is refine


def test_matting_ends_when_nobody_waits_for_it_any_more(pipeline: Pipeline) -> None:
    looks: list[int] = []

    def check() -> None:
        looks.append(1)
        if len(looks) == 3:
            raise GivenUp

    options = replace(ALPHA, refine=Refine.BEST)
    with pipeline.seat() as seat:
        opened = pipeline.open(scene(), options, seat)
        (answer,) = pipeline.run([opened])
        opened.check = check
        with pytest.raises(GivenUp):
            pipeline.close(opened, answer, options)
    assert len(looks) == 3


def test_the_subjects_box_is_that_of_the_result_and_the_uncertainty_the_models(
    host: HostPipeline,
) -> None:
    plain = outcome_of(host, ALPHA).statistics
    treated = outcome_of(host, replace(ALPHA, edges=Edges(remove_specks_px=400))).statistics
    assert plain.box is not None
    assert treated.box is not None
    assert treated.box[2] < 60 < plain.box[2]
    assert treated.uncertainty == plain.uncertainty


def test_a_picture_with_an_alpha_of_its_own_keeps_its_colours_and_its_transparency() -> None:
    rgb, alpha = soft_subject(80, 120)
    wanted = plan(replace(RAW, refine=Refine.FAST, decontaminate=1.0), DEFAULTS)
    finished = finish(rgb, alpha, alpha, wanted)
    assert (finished.alpha_u8 <= alpha).all()
    visible = finished.alpha_u8 > 0
    assert np.array_equal(finished.pixels[visible][:, :3], rgb[visible])
    assert finished.decontaminate == 0
    assert "alpha of its own" in finished.notes[0]


def test_a_cut_out_put_in_again_keeps_its_edges_unless_refinement_is_asked_for() -> None:
    rgb, alpha = soft_subject(80, 120)
    left_open = replace(ALPHA, refine=None)
    wanted = plan(left_open, Defaults(refine=Refine.FAST, decontaminate=0), cell_px=4)
    again = finish(rgb, alpha, alpha, wanted, cell_px=4)
    assert np.array_equal(again.alpha_u8, alpha)
    assert again.refine is Refine.OFF
    opaque = finish(rgb, alpha, None, wanted, cell_px=4)
    assert opaque.refine is Refine.FAST
    assert not np.array_equal(opaque.alpha_u8, alpha)


def test_a_zip_holds_the_treated_colours_and_alpha(host: HostPipeline) -> None:
    options = Options(format=Format.ZIP, edges=Edges(threshold=0.5))
    buffer = io.BytesIO()
    pixels = np.frombuffer(scene().data, np.uint8).reshape(64, 96, 3)
    Image.fromarray(pixels).save(buffer, "PNG")
    data = remove_one(host, EncodedSource(buffer.getvalue()), options).outcome.encoded.data

    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        alpha = np.asarray(Image.open(archive.open("alpha.png")))
    assert set(np.unique(alpha)) == {0, 255}


def test_every_keyword_reaches_its_option() -> None:
    message = build_options(
        refine="fast",
        feather_px=1.5,
        shift_px=-2,
        threshold=0.0,
        black_level=0.25,
        white_level=0.75,
        remove_specks_px=10,
        fill_holes_px=20,
        decontaminate=0.5,
        despill="blue",
    )
    options = read_options(message, stream=False)
    assert options.refine is Refine.FAST
    assert options.edges == Edges(0.25, 0.75, 0.0, 10, 20, -2.0, 1.5)
    assert (options.decontaminate, options.despill) == (0.5, Despill.BLUE)


@pytest.mark.parametrize(
    ("keywords", "sentence"),
    [
        ({"refine": "good"}, "refine is 'good', known are off, fast, best"),
        ({"feather_px": "3"}, "feather_px is '3': give a number"),
        ({"fill_holes_px": -1}, "fill_holes_px is -1: give a whole number of 0 or more"),
        ({"despill": "red"}, "despill is 'red', known are green, blue"),
        ({"shift_px": 1, "options": options_pb2.RemoveOptions()}, "came together with other"),
    ],
)
def test_a_keyword_that_fits_no_field_is_refused(keywords: dict, sentence: str) -> None:  # type: ignore[type-arg]
    with pytest.raises(InvalidRequest, match=sentence):
        build_options(**keywords)
