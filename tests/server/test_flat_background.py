"""Drawings through the real server and pipelines: which way they go, and what the report says."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from numpy.typing import NDArray
from PIL import Image

from loadtest.drawn_pages import page
from mattestream import AsyncClient, InvalidRequest, Removal
from mattestream.cli.root import cli
from mattestream.v1 import report_pb2
from server.app import App
from server.config import Config
from tests.fakes.tiny_onnx import write_tiny_model

FLAT, MODEL = report_pb2.METHOD_FLAT_BACKGROUND, report_pb2.METHOD_MODEL
DRAWN = page("cartoon", 1, 200)


def photo() -> NDArray[np.uint8]:
    rng = np.random.default_rng(1)
    ramp = np.linspace(40, 220, 120)[None, :, None] + rng.normal(0, 4, (90, 120, 3))
    return np.clip(ramp, 0, 255).astype(np.uint8)


def png(pixels: NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def cutout(removal: Removal) -> NDArray[np.uint8]:
    return np.asarray(Image.open(io.BytesIO(removal.data)))


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[AsyncClient]:
    write_tiny_model(tmp_path)
    config = Config(
        port=0, metrics_port=-1, model="tiny", model_dirs=(tmp_path,), threads=2, device="cpu"
    )
    async with App(config) as app, AsyncClient(f"127.0.0.1:{app.port}") as client:
        yield client


async def test_a_drawing_is_cut_out_by_its_paper_and_the_report_says_so(client):
    removal = await client.remove(png(DRAWN.picture))
    assert np.abs(cutout(removal)[..., 3] / 255 - DRAWN.alpha).mean() < 0.002
    assert removal.report.method == FLAT
    assert removal.report.removed_color == "#ffffff"
    assert removal.report.model.name == "tiny"  # which would have been asked
    assert removal.report.decontaminate == 1


async def test_a_photo_goes_to_the_model(client):
    report = (await client.remove(png(photo()))).report
    assert (report.method, report.removed_color) == (MODEL, "")


async def test_the_caller_may_send_a_drawing_to_the_model(client):
    assert (await client.remove(png(DRAWN.picture), flat="off")).report.method == MODEL


async def test_who_insists_on_paper_where_there_is_none_gets_the_model_and_a_note(client):
    report = (await client.remove(png(photo()), flat="on")).report
    assert report.method == MODEL
    assert "there is no paper: the model was used" in report.notes[0]


async def test_a_drawing_with_transparency_of_its_own_has_no_paper(client):
    rgba = np.dstack([DRAWN.picture, (DRAWN.alpha * 255).astype(np.uint8)])
    assert (await client.remove(png(rgba))).report.method == MODEL
    noted = (await client.remove(png(rgba), flat="on")).report
    assert "an alpha of its own" in noted.notes[0]


async def test_frames_of_a_stream_go_to_the_model_unless_told_otherwise(client):
    for keywords, method in (({}, MODEL), ({"flat": "on"}, FLAT), ({"flat": "auto"}, FLAT)):
        answers = client.remove_stream([DRAWN.picture] * 2, **keywords)
        assert [removal.report.method async for removal in answers] == [method] * 2


async def test_a_smoothed_stream_may_be_drawn(client):
    answers = client.remove_stream([DRAWN.picture, photo()], flat="auto", smooth=0.5)
    assert [removal.report.method async for removal in answers] == [FLAT, MODEL]


async def test_enclosed_paper_is_the_callers_choice(client):
    kept = cutout(await client.remove(png(DRAWN.picture), enclosed="keep"))[..., 3]
    gone = cutout(await client.remove(png(DRAWN.picture), enclosed="remove"))[..., 3]
    assert kept.mean() > gone.mean() + 0.5


async def test_looks_and_edges_work_on_a_drawing(client):
    plain = await client.remove(png(DRAWN.picture), output="alpha")
    soft = await client.remove(png(DRAWN.picture), output="alpha", feather_px=3)
    assert soft.report.method == FLAT
    assert soft.data != plain.data


async def test_a_word_that_is_none_is_refused(client):
    with pytest.raises(InvalidRequest, match="flat is 'yes', known are auto, off, on"):
        await client.remove(png(DRAWN.picture), flat="yes")


def test_the_command_cuts_drawings_out_in_process(tmp_path):
    source, result = tmp_path / "logo.png", tmp_path / "out.png"
    source.write_bytes(png(DRAWN.picture))
    ran = CliRunner().invoke(cli, ["remove", str(source), "-o", str(result), "--flat", "on"])
    assert ran.exit_code == 0, ran.output
    alpha = np.asarray(Image.open(result))[..., 3] / 255
    assert np.abs(alpha - DRAWN.alpha).mean() < 0.002
