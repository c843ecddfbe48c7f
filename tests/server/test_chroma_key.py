"""The model `chroma-key` through a real server: images, streams, what is refused or noted."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc.aio as triton
from click.testing import CliRunner
from numpy.typing import NDArray
from PIL import Image
from tritonclient.utils import InferenceServerException

from mattestream import AsyncClient, InvalidRequest, Removal
from mattestream.cli.root import cli
from mattestream.v1 import models_pb2, options_pb2, report_pb2
from server.app import App
from server.config import Config
from tests.fakes.tiny_onnx import write_tiny_model

GREEN, BLUE, COAT = (20, 180, 70), (25, 60, 190), (120, 80, 60)


def before_a_screen(screen: tuple[int, int, int], width: int = 160, height: int = 120):
    """A coat before a screen, with a rim of half each."""
    picture = np.full((height, width, 3), screen, np.uint8)
    picture[30:100, 50:110] = (np.array(screen) + COAT) // 2
    picture[31:99, 51:109] = COAT
    return picture


def cutout(removal: Removal) -> NDArray[np.uint8]:
    return np.asarray(Image.open(io.BytesIO(removal.data)))


def png(pixels: NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
async def address(tmp_path: Path) -> AsyncIterator[str]:
    """Of a server whose default model has a network."""
    write_tiny_model(tmp_path)
    config = Config(
        port=0,
        metrics_port=-1,
        http_port=0,
        model="tiny",
        model_dirs=(tmp_path,),
        threads=2,
        device="cpu",
    )
    async with App(config) as app:
        yield f"127.0.0.1:{app.port}"


@pytest.fixture
async def client(address: str) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(address) as client:
        yield client


@pytest.mark.parametrize(
    "keywords",
    [{"model": "chroma-key"}, {"key": "auto"}, {"key": "#14b446"}, {"key_tolerance": 0.1}],
)
async def test_a_screen_is_taken_away_and_the_rim_has_the_coats_colour(client, keywords):
    removal = await client.remove(before_a_screen(GREEN), **keywords)
    rgba = cutout(removal)
    assert rgba[10, 10, 3] == 0
    assert rgba[60, 80].tolist() == [*COAT, 255]
    assert 60 < rgba[60, 50, 3] < 200
    assert np.abs(rgba[60, 50, :3].astype(int) - COAT).max() < 40
    report = removal.report
    assert (report.model.name, report.model.device) == ("chroma-key", "cpu")
    assert report.method == report_pb2.METHOD_CHROMA_KEY
    assert report.removed_color == "#14b446"
    assert report.decontaminate == 1


async def test_a_keyed_subject_is_cut_and_dressed_like_any_other(client):
    options = options_pb2.RemoveOptions(
        model="chroma-key",
        output=options_pb2.OUTPUT_COMPOSITE,
        background=options_pb2.Background(color="white"),
        crop=options_pb2.Crop(margin_left=options_pb2.Length(px=5)),
    )
    removal = await client.remove(before_a_screen(GREEN), options=options)
    shown = removal.report.shown
    assert (shown.left, shown.right) == (45, 110)
    pixels = cutout(removal)
    assert pixels.shape[1] == 65
    assert pixels[30, 2].tolist() == [255, 255, 255]


async def test_a_network_says_that_it_was_one(client):
    report = (await client.remove(before_a_screen(GREEN), flat="off")).report
    assert report.method == report_pb2.METHOD_MODEL
    assert report.removed_color == ""


async def test_the_model_is_listed_and_ready_without_being_loaded(client):
    model = await client.get_model("chroma-key")
    assert model.state == models_pb2.MODEL_STATE_READY
    assert (model.input_width, model.weights_sha256, model.device) == (0, "", "cpu")
    assert model.engine.startswith("opencv ")


async def test_a_picture_without_a_screen_is_kept_whole_and_a_note_says_so(client):
    grey = np.full((40, 60, 3), 128, np.uint8)
    removal = await client.remove(grey, key="auto")
    assert (cutout(removal)[..., 3] == 255).all()
    assert "no screen of one colour was found" in removal.report.notes[0]
    assert removal.report.removed_color == ""
    named = await client.remove(grey, key="#00b140")
    assert "nothing of the screen's colour is in the picture" in named.report.notes[0]


@pytest.mark.parametrize(
    ("keywords", "words"),
    [
        ({"key": "grey"}, "too grey to tell a subject by"),
        ({"key": "#00b14080"}, "has an alpha of 128 of 255"),
        ({"key": "grren"}, "chroma_key.color: 'grren' is no colour"),
        ({"key": "green", "model": "tiny"}, "the model is 'tiny', which does not key"),
        ({"key_tolerance": 0.95}, "chroma_key.tolerance is 0.95: it must be from 0 to 0.9"),
    ],
)
async def test_a_key_that_makes_no_sense_is_refused_with_a_sentence(client, keywords, words):
    with pytest.raises(InvalidRequest, match=words):
        await client.remove(before_a_screen(GREEN), **keywords)


async def test_without_decontamination_the_rim_keeps_the_screens_colour(client):
    clean, half, raw = [
        cutout(await client.remove(before_a_screen(GREEN), key="auto", decontaminate=strength))
        for strength in (1, 0.5, 0)
    ]
    assert raw[60, 50, :3].tolist() == ((np.array(GREEN) + COAT) // 2).tolist()
    assert clean[60, 50, 1] < half[60, 50, 1] < raw[60, 50, 1]


async def test_refinement_is_not_applied_and_a_note_says_so(client):
    report = (await client.remove(before_a_screen(GREEN), key="auto", refine="fast")).report
    assert report.refine == options_pb2.REFINE_OFF
    assert "refine was not applied" in report.notes[0]


async def test_a_stream_keeps_its_key_until_a_frame_shows_another_screen(client):
    hidden = before_a_screen(GREEN)
    hidden[:, 20:] = (190, 170, 40)  # somebody stands right before the camera
    frames = [before_a_screen(GREEN), hidden, before_a_screen(BLUE)]
    answers = client.remove_stream(frames, key="auto")
    seen = [removal.report.removed_color async for removal in answers]
    assert seen == ["#14b446", "#14b446", "#193cbe"]


async def test_a_stream_may_name_its_key_and_answers_alphas(client):
    frames = [before_a_screen(GREEN)] * 3
    async for removal in client.remove_stream(frames, key="#14b446"):
        assert removal.data[60 * 160 + 80] == 255
        assert removal.data[0] == 0


async def test_smoothing_a_keyed_stream_is_refused(client):
    with pytest.raises(InvalidRequest, match="which needs no smoothing"):
        async for _ in client.remove_stream([before_a_screen(GREEN)], key="auto", smooth=0.5):
            pass


async def test_what_was_transparent_before_stays_so(client):
    rgba = np.dstack([before_a_screen(GREEN), np.full((120, 160), 255, np.uint8)])
    rgba[60:, :, 3] = 0
    alpha = cutout(await client.remove(rgba, key="auto"))[..., 3]
    assert alpha[50, 80] == 255
    assert alpha[80, 80] == 0


async def test_triton_clients_find_its_pipeline_and_no_network(client, address):
    async with triton.InferenceServerClient(address) as server:
        index = await server.get_model_repository_index(as_json=True)
        names = {model["name"] for model in index["models"] if "chroma" in model["name"]}
        assert names == {"chroma-key_pipeline"}
        pixels = triton.InferInput("pixels", [1, 120, 160, 3], "UINT8")
        pixels.set_data_from_numpy(before_a_screen(GREEN)[None])
        answer = await server.infer("chroma-key_pipeline", [pixels])
        assert answer.as_numpy("alpha")[0, 0, 0] == 0
        with pytest.raises(InferenceServerException, match="ask for 'chroma-key_pipeline'"):
            await server.get_model_metadata("chroma-key")


def test_the_command_keys_files_in_process(tmp_path):
    source, result = tmp_path / "take.png", tmp_path / "out.png"
    source.write_bytes(png(before_a_screen(GREEN)))
    command = [
        "remove",
        str(source),
        "-o",
        str(result),
        "--key",
        "#14b446",
        "--key-softness",
        "0.5",
    ]
    ran = CliRunner().invoke(cli, command)
    assert ran.exit_code == 0, ran.output
    assert np.asarray(Image.open(result))[10, 10, 3] == 0


def test_the_commands_show_it_and_have_nothing_to_pull_or_to_build():
    shown = CliRunner().invoke(cli, ["models", "show", "chroma-key"]).output
    assert "any size" in shown
    assert "no weights" in shown
    pulled = CliRunner().invoke(cli, ["models", "pull", "chroma-key"])
    assert pulled.exit_code == 1
    assert "has no weights" in pulled.output
