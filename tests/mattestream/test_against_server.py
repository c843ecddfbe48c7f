"""Both clients and the remote commands against the real server, with a tiny real model."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from mattestream import (
    AsyncClient,
    BadImage,
    Client,
    DeadlineExceeded,
    FrameFailed,
    InvalidRequest,
    ModelNotFound,
    ModelNotReady,
    NotAllowed,
    NotBuilt,
    Removal,
    Unavailable,
)
from mattestream.cli.root import cli
from mattestream.v1 import models_pb2, options_pb2
from server.config import Config
from tests.fakes.tiny_onnx import write_tiny_model
from tests.mattestream.running import RunningServer

SIDE = 24


def pixels() -> np.ndarray:
    """Left half white (subject), right half black."""
    rgb = np.zeros((SIDE, SIDE, 3), np.uint8)
    rgb[:, : SIDE // 2] = 255
    return rgb


def png() -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels()).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    write_tiny_model(folder)
    write_tiny_model(folder, "other")
    return folder


def running(models: Path, **settings: object) -> Iterator[RunningServer]:
    config = Config(
        port=0,
        metrics_port=-1,
        http_port=0,
        model="tiny",
        model_dirs=(models,),
        threads=2,
        **settings,
    )
    server = RunningServer(config)
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def address(models: Path) -> Iterator[str]:
    for server in running(models):
        yield server.address


@pytest.fixture
def client(address: str) -> Iterator[Client]:
    with Client(address) as client:
        yield client


def test_a_file_becomes_a_cutout_whose_array_needs_no_image_library(client):
    result = client.remove(png())
    cutout = result.array()
    assert cutout.shape == (SIDE, SIDE, 4)
    assert cutout[12, 2].tolist() == [255, 255, 255, 255]
    assert cutout[12, 22].tolist() == [0, 0, 0, 0]
    assert result.report.model.name == "tiny"
    assert result.report.timings.total_ms > 0


def test_a_path_and_an_array_give_what_the_bytes_give(client, tmp_path):
    (tmp_path / "in.png").write_bytes(png())
    by_path = client.remove(tmp_path / "in.png").array()
    np.testing.assert_array_equal(by_path, client.remove(pixels()).array())


@pytest.mark.parametrize("format_", ["png", "raw", "zlib"])
@pytest.mark.parametrize(("output", "axes"), [("cutout", 3), ("alpha", 2), ("composite", 3)])
def test_every_lossless_result_reads_back_as_the_same_array(client, format_, output, axes):
    array = client.remove(png(), output=output, format=format_).array()
    reference = client.remove(png(), output=output, format="raw").array()
    assert array.ndim == axes
    np.testing.assert_array_equal(array, reference)


def test_a_request_id_of_the_callers_own_is_in_the_report(client):
    assert client.remove(png(), request_id="mine-42").report.request_id == "mine-42"


def test_a_grey_array_and_one_with_alpha_are_taken(client):
    assert client.remove(np.full((8, 8), 255, np.uint8)).array().shape == (8, 8, 4)
    assert client.remove(np.full((8, 8, 4), 255, np.uint8)).array().shape == (8, 8, 4)


def test_bytes_that_are_no_image_are_refused_with_an_id_and_the_next_one_is_served(client):
    with pytest.raises(InvalidRequest) as caught:
        client.remove(b"not an image")
    assert caught.value.request_id
    assert client.remove(png()).width == SIDE


def test_an_unknown_model_is_model_not_found(client):
    with pytest.raises(ModelNotFound, match="'tinny'"):
        client.remove(png(), model="tinny")


def test_an_option_of_a_later_version_is_not_built(client):
    later = options_pb2.RemoveOptions.FromString(b"\xa2\x1f\x01x")  # field 500
    with pytest.raises(NotBuilt, match="field 500"):
        client.remove(png(), options=later)


def test_waiting_for_a_model_of_no_such_name_says_what_the_server_knows(client):
    with pytest.raises(DeadlineExceeded, match=r"has not loaded a model of that name; list_models"):
        client.wait_ready(0.5, model="nosuch")


def test_models_can_be_listed_loaded_and_unloaded(client):
    assert {"tiny", "other", "matte-s"} <= {model.name for model in client.list_models()}
    assert client.load_model("other").state == models_pb2.MODEL_STATE_READY
    client.wait_ready(10, model="other")
    assert client.remove(png(), model="other").report.model.name == "other"
    assert client.unload_model("other").state != models_pb2.MODEL_STATE_READY
    with pytest.raises(ModelNotReady):
        client.unload_model("tiny")
    assert client.get_model("tiny").is_default


def test_a_stream_answers_in_order_with_alphas_as_raw_pixels(client):
    results = list(client.remove_stream(pixels() for _ in range(20)))
    assert [result.frame_id for result in results] == list(range(20))
    assert all(isinstance(result, Removal) for result in results)
    assert results[0].array().shape == (SIDE, SIDE)


def test_a_bad_frame_fails_alone(client):
    results = list(client.remove_stream([png(), b"junk", png()], output="cutout", format="png"))
    assert [type(result) for result in results] == [Removal, FrameFailed, Removal]
    assert type(results[1].error) is BadImage


def test_big_frames_stream_through_a_slow_reader(client):
    """Frames of 6 MB both ways: the two ends must not wait for each other."""
    big = np.full((1080, 1920, 3), 255, np.uint8)
    results = client.remove_stream((big for _ in range(6)), output="cutout", format="raw")
    assert sum(result.array().shape == (1080, 1920, 4) for result in results) == 6


async def test_the_async_client_does_the_same(address):
    async with AsyncClient(address) as client:
        await client.wait_ready(10)
        single = (await client.remove(png())).array()
        streamed = [
            result.array()
            async for result in client.remove_stream([png()] * 5, output="cutout", format="png")
        ]
        assert {model.name for model in await client.list_models()} >= {"tiny"}
    assert len(streamed) == 5
    np.testing.assert_array_equal(streamed[4], single)


def test_a_key_that_the_server_asks_for_opens_it(models, tmp_path):
    keys = tmp_path / "keys"
    keys.write_text("the-right-key-0123456789\n")
    for server in running(models, api_keys_file=keys):
        with Client(server.address) as client, pytest.raises(NotAllowed):
            client.remove(png())
        with Client(server.address, api_key="the-right-key-0123456789") as client:
            assert client.remove(png()).width == SIDE


def test_a_server_that_has_gone_is_unavailable(models):
    for server in running(models):
        with Client(server.address, timeout_s=20) as client:
            client.wait_ready(10)
            server.stop()
            with pytest.raises(Unavailable):
                client.remove(png())


class TestCommands:
    def run(self, *arguments: object):
        return CliRunner().invoke(cli, [str(a) for a in arguments], catch_exceptions=False)

    def test_remove_on_a_server_gives_what_the_server_gives(self, address, client, tmp_path):
        for name in ("a.png", "b.png"):
            (tmp_path / name).write_bytes(png())
        (tmp_path / "bad.png").write_bytes(b"junk")
        result = self.run("remove", tmp_path, "-o", tmp_path / "out", "--address", address)
        assert result.exit_code == 1
        assert "2 done" in result.stderr
        assert "bad.png" in result.stderr
        assert (tmp_path / "out" / "a.png").read_bytes() == client.remove(png()).data

    def test_remove_without_a_server_fails_each_file_in_a_sentence(self, tmp_path):
        (tmp_path / "a.png").write_bytes(png())
        flags = ("--address", "127.0.0.1:1", "--timeout", "3")
        result = self.run("remove", tmp_path / "a.png", "-o", tmp_path / "out", *flags)
        assert result.exit_code == 1
        assert "failed" in result.stderr

    def test_models_can_be_managed_from_the_command_line(self, address):
        at = ("--address", address)
        assert "tiny *" in self.run("models", "list", *at).output
        assert "other 1 is ready: onnxruntime" in self.run("models", "load", "other", *at).output
        assert "ready" in self.run("models", "show", "other", *at).output
        assert "is unloaded" in self.run("models", "unload", "other", *at).output
        gone = self.run("models", "show", "gone", *at)
        assert gone.exit_code == 1
        assert "there is no model 'gone'" in gone.stderr
