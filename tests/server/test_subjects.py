"""Subjects through a real server: the largest, a region, prompts, each by itself, and the second
click. The matte is the tiny model's (brightness), the promptable model a disc where one points.
"""

from __future__ import annotations

import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from mattestream.v1 import image_pb2, removal_pb2, removal_pb2_grpc
from mattestream.v1 import options_pb2 as O  # noqa: N812
from models.prompts import BoxPrompt
from server.app import App
from server.config import Config
from server.job import EncodedSource
from server.subjects.mask import Mask
from server.subjects.wish import Frame, Place, Wish
from tests.fakes.sam_onnx import write_sam_model
from tests.fakes.tiny_onnx import write_tiny_model
from tests.server.fakes import config_message, eventually

U8 = NDArray[np.uint8]
Stub = removal_pb2_grpc.BackgroundRemovalServiceStub
SIZE = (240, 160)  # width, height
LARGE, SMALL = (10, 20, 130, 140), (150, 40, 230, 130)  # left, top, right, bottom
IN_LARGE, IN_SMALL = (70, 80), (190, 85)
# Just outside of the disc of 45 pixels that the promptable model answers, and inside the block.
BESIDE_THE_DISC = (155, 50)


def png(pixels: U8) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def scene(*boxes: tuple[int, int, int, int]) -> bytes:
    """White blocks on dark grey; on black the promptable model would be undecided."""
    pixels = np.full((SIZE[1], SIZE[0], 3), 40, np.uint8)
    for left, top, right, bottom in boxes or (LARGE, SMALL):
        pixels[top:bottom, left:right] = 255
    return png(pixels)


@asynccontextmanager
async def serving(folder: Path, **settings: object) -> AsyncIterator[tuple[App, Stub]]:
    defaults = {"port": 0, "metrics_port": -1, "http_port": 0, "model": "tiny", "device": "cpu"}
    values = {**defaults, "threads": 2, "model_dirs": (folder,), "prompt_model": "disc", **settings}
    app = App(Config(**values))  # type: ignore[arg-type]
    async with app, grpc.aio.insecure_channel(f"127.0.0.1:{app.port}") as channel:
        yield app, removal_pb2_grpc.BackgroundRemovalServiceStub(channel)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("models")
    write_tiny_model(made, side=64)
    write_sam_model(made, "disc")
    write_sam_model(made, "plain", kind="efficient")
    return made


async def alpha_of(stub: Stub, subject: O.Subject, data: bytes | None = None) -> U8:
    """The alpha of a Remove with that subject; edges stay as they are."""
    options = O.RemoveOptions(
        output=O.OUTPUT_ALPHA, subject=subject, edges=O.Edges(refine=O.REFINE_OFF)
    )
    image = image_pb2.Image(encoded=scene() if data is None else data)
    response = await stub.Remove(removal_pb2.RemoveRequest(image=image, options=options))
    return np.asarray(Image.open(io.BytesIO(response.result.encoded.data)))


def asked(data: bytes | None = None, **values: object) -> removal_pb2.SegmentRequest:
    image = image_pb2.Image(encoded=scene() if data is None else data)
    return removal_pb2.SegmentRequest(image=image, **values)  # type: ignore[arg-type]


def at(place: tuple[int, int], *, exclude: bool = False) -> O.Point:
    return O.Point(x=place[0], y=place[1], exclude=exclude)


def value(alpha: U8, place: tuple[int, int]) -> int:
    return int(alpha[place[1], place[0]])


async def test_the_largest_subject_is_kept_with_its_soft_edge_and_the_others_go(
    folder: Path,
) -> None:
    async with serving(folder) as (_, stub):
        whole = await alpha_of(stub, O.Subject())
        largest = await alpha_of(stub, O.Subject(choice=O.SUBJECT_CHOICE_LARGEST))
    assert value(whole, IN_SMALL) > 200
    assert value(largest, IN_SMALL) == 0
    assert np.array_equal(largest[:, :135], whole[:, :135])


async def test_a_region_leaves_nothing_outside(folder: Path) -> None:
    region = O.Box(left=140, top=0, right=240, bottom=160)
    async with serving(folder) as (_, stub):
        alpha = await alpha_of(stub, O.Subject(region=region))
    assert not alpha[:, :140].any()
    assert value(alpha, IN_SMALL) > 200


@pytest.mark.parametrize(
    "subject",
    [
        O.Subject(points=[at(IN_SMALL)]),
        O.Subject(box=O.Box(left=150, top=40, right=230, bottom=130)),
        O.Subject(points=[at(IN_SMALL), at(IN_LARGE, exclude=True)]),
    ],
)
async def test_prompts_choose_a_subject_and_the_matte_draws_its_edge(
    folder: Path, subject: O.Subject
) -> None:
    async with serving(folder) as (_, stub):
        alpha = await alpha_of(stub, subject)
    assert value(alpha, IN_LARGE) == 0
    assert value(alpha, IN_SMALL) > 250
    assert value(alpha, BESIDE_THE_DISC) > 200


async def test_what_the_matte_passed_over_is_taken_as_the_promptable_model_sees_it(
    folder: Path,
) -> None:
    grey = np.zeros((SIZE[1], SIZE[0], 3), np.uint8)
    grey[:] = 70  # a matte of 70 of 255: no subject
    async with serving(folder) as (_, stub):
        alpha = await alpha_of(stub, O.Subject(points=[at(IN_SMALL)]), png(grey))
    assert value(alpha, IN_SMALL) > 127
    assert value(alpha, (20, 20)) < 30


async def test_a_rough_mask_stands_for_a_point(folder: Path) -> None:
    rough = np.zeros((SIZE[1], SIZE[0]), np.uint8)
    rough[60:110, 165:215] = 255
    subject = O.Subject(mask=image_pb2.Image(encoded=png(rough)))
    async with serving(folder) as (_, stub):
        alpha = await alpha_of(stub, subject)
    assert value(alpha, IN_SMALL) > 127
    assert value(alpha, IN_LARGE) == 0


def test_a_mask_is_asked_for_as_its_box_and_a_place_within() -> None:
    rough = np.zeros((100, 200), np.uint8)
    rough[20:60, 40:140] = 255
    rough[60:90, 40:44] = 200  # a thin tail, and what is below half grey
    rough[:10] = 100
    place, box = Mask(EncodedSource(png(rough))).place_and_box(200, 100)
    assert (box.left, box.top, box.right, box.bottom) == (0.2, 0.2, 0.7, 0.9)
    assert 20 <= place.y * 100 <= 60
    assert 50 <= place.x * 200 <= 130
    click = Place(100, 50)
    wish = Wish(points=(click,), box=Frame(0, 0, 60, 60), mask=Mask(EncodedSource(png(rough))))
    prompts = wish.prompts(200, 100)
    assert len(prompts.clicks) == 1  # the caller's own, and the caller's own box
    assert prompts.box == BoxPrompt(0, 0, 0.3, 0.6)


async def test_every_subject_comes_by_itself_largest_first(folder: Path) -> None:
    async with serving(folder) as (_, stub):
        response = await stub.Segment(asked())
    boxes = [(s.box.left, s.box.top, s.box.right, s.box.bottom) for s in response.subjects]
    assert boxes == [pytest.approx(LARGE, abs=6), pytest.approx(SMALL, abs=6)]
    first, second = (np.asarray(Image.open(io.BytesIO(s.alpha.encoded.data)))
                     for s in response.subjects)  # fmt: skip
    assert value(first, IN_LARGE) == value(second, IN_SMALL) == 255
    assert value(first, IN_SMALL) == value(second, IN_LARGE) == 0
    assert response.subjects[0].coverage > response.subjects[1].coverage
    assert all(0.5 < subject.score <= 1 for subject in response.subjects)
    assert response.report.model.name == "tiny"
    assert not response.report.HasField("prompt_model")


async def test_no_more_subjects_come_than_were_asked_for(folder: Path) -> None:
    async with serving(folder) as (_, stub):
        response = await stub.Segment(asked(max_subjects=1, format=O.FORMAT_RAW))
    (subject,) = response.subjects
    assert len(subject.alpha.raw.data) == SIZE[0] * SIZE[1]


async def test_a_picture_without_a_subject_has_none_and_says_so(folder: Path) -> None:
    black = png(np.zeros((50, 50, 3), np.uint8))
    async with serving(folder) as (_, stub):
        response = await stub.Segment(asked(black))
    assert not response.subjects
    assert response.report.no_subject


async def test_a_second_click_is_answered_from_what_was_seen(folder: Path) -> None:
    async with serving(folder) as (app, stub):
        first = await stub.Segment(asked(subject=O.Subject(points=[at(IN_LARGE)])))
        batches = app.metrics.text().count("mattestream_batch_images_count")
        runs = _runs(app)
        second = await stub.Segment(asked(subject=O.Subject(points=[at(IN_SMALL)])))
        assert _runs(app) == runs  # the matte's model did not run again
        assert batches
        assert len(app.prompter.seen) == 1
        assert "mattestream_seen_pictures 1.0" in app.metrics.text()
    assert not first.report.cached_features
    assert second.report.cached_features
    assert second.report.prompt_model.name == "disc"
    assert second.report.model.name == "tiny"
    assert first.report.request_id != second.report.request_id
    (subject,) = second.subjects
    assert subject.box.left == pytest.approx(SMALL[0], abs=8)
    assert (second.report.source_width, second.report.source_height) == SIZE


def _runs(app: App) -> float:
    for line in app.metrics.text().splitlines():
        if line.startswith("mattestream_batch_images_sum"):
            return float(line.split()[-1])
    return 0.0


async def test_a_first_click_and_the_same_click_again_have_one_answer(folder: Path) -> None:
    request = asked(subject=O.Subject(points=[at(IN_SMALL)]))
    async with serving(folder) as (_, stub):
        first, second = await stub.Segment(request), await stub.Segment(request)
    assert first.subjects == second.subjects


async def test_remove_remembers_what_segment_saw_and_the_other_way_round(folder: Path) -> None:
    async with serving(folder) as (app, stub):
        await alpha_of(stub, O.Subject(points=[at(IN_SMALL)]))
        assert len(app.prompter.seen) == 1
        response = await stub.Segment(asked(subject=O.Subject(points=[at(IN_LARGE)])))
    assert response.report.cached_features


async def test_what_is_remembered_keeps_to_its_memory(folder: Path) -> None:
    async with serving(folder, feature_cache_mb=0) as (app, stub):
        request = asked(subject=O.Subject(points=[at(IN_SMALL)]))
        await stub.Segment(request)
        response = await stub.Segment(request)
        assert len(app.prompter.seen) == 0
    assert not response.report.cached_features


async def test_another_promptable_model_can_be_named(folder: Path) -> None:
    request = asked(model="plain", subject=O.Subject(points=[at(IN_SMALL)]))
    async with serving(folder) as (_, stub):
        response = await stub.Segment(request)
        again = await stub.Segment(request)
    assert response.report.prompt_model.name == "plain"
    assert again.report.cached_features


async def test_the_shipped_model_answers_where_none_is_named(folder: Path) -> None:
    async with serving(folder, prompt_model="matte-click") as (_, stub):
        response = await stub.Segment(asked(subject=O.Subject(points=[at(IN_LARGE)])))
    assert response.report.prompt_model.name == "matte-click"


async def test_nothing_is_left_behind_when_the_answers_are_out(folder: Path) -> None:
    async with serving(folder) as (app, stub):
        for place in (IN_SMALL, IN_LARGE):
            await stub.Segment(asked(subject=O.Subject(points=[at(place)])))
        await stub.Segment(asked())
        await eventually(
            lambda: (app.admission.images, app.admission.bytes) == (0, 0), "all is given back"
        )


async def test_a_stream_can_keep_the_largest(folder: Path) -> None:
    options = O.RemoveOptions(subject=O.Subject(choice=O.SUBJECT_CHOICE_LARGEST))
    async with serving(folder) as (_, stub):
        call = stub.RemoveStream()
        await call.write(config_message(options=options))
        await call.read()
        frame = removal_pb2.Frame(image=image_pb2.Image(encoded=scene()))
        await call.write(removal_pb2.RemoveStreamRequest(frame=frame))
        raw = (await call.read()).frame.result.raw
        await call.done_writing()
    alpha = np.frombuffer(raw.data, np.uint8).reshape(SIZE[1], SIZE[0])
    assert value(alpha, IN_SMALL) == 0
    assert value(alpha, IN_LARGE) > 200


@pytest.mark.parametrize(
    ("subject", "sentence"),
    [
        (O.Subject(points=[at((240, 5))]), "(240, 5), the image is 240x160 pixels"),
        (O.Subject(points=[at((-1, 5))]), "a point must lie in it"),
        (O.Subject(points=[at((5, 5), exclude=True)]), "add a point on the subject"),
        (O.Subject(points=[at((5, 5))] * 65), "has 65 points: give up to 64"),
        (O.Subject(points=[O.Point(x=float("nan"))]), "is no number"),
        (O.Subject(box=O.Box(left=9, right=9, top=0, bottom=5)), "left must be less than right"),
        (O.Subject(box=O.Box(left=0, right=241, top=0, bottom=5)), "(241, 5), the image is"),
        (O.Subject(region=O.Box(left=0, right=5, top=-1, bottom=5)), "subject.region is"),
        (O.Subject(mask=image_pb2.Image(encoded=b"no")), "option subject.mask: "),
        (
            O.Subject(mask=image_pb2.Image(encoded=png(np.zeros((9, 9), np.uint8)))),
            "subject.mask is 9x9 pixels, the image is 240x160",
        ),
        (
            O.Subject(mask=image_pb2.Image(encoded=png(np.full((160, 240), 90, np.uint8)))),
            "option subject.mask has no pixel that is half white or more",
        ),
    ],
)
@pytest.mark.parametrize("method", ["Remove", "Segment"])
async def test_a_wish_that_makes_no_sense_is_told_what_would(
    folder: Path, method: str, subject: O.Subject, sentence: str
) -> None:
    async with serving(folder) as (app, stub):
        call = (
            alpha_of(stub, subject) if method == "Remove" else stub.Segment(asked(subject=subject))
        )
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert sentence in str(caught.value.details())
        assert (app.admission.images, app.admission.bytes) == (0, 0)


@pytest.mark.parametrize(
    ("values", "code", "sentence"),
    [
        ({"max_subjects": 65}, grpc.StatusCode.INVALID_ARGUMENT, "from 1 to 64"),
        ({"format": O.FORMAT_JPEG}, grpc.StatusCode.INVALID_ARGUMENT, "FORMAT_JPEG"),
        (
            {"model": "nosuch", "subject": O.Subject(points=[at(IN_SMALL)])},
            grpc.StatusCode.NOT_FOUND,
            "no model 'nosuch'",
        ),
        (
            {"model": "tiny", "subject": O.Subject(points=[at(IN_SMALL)])},
            grpc.StatusCode.FAILED_PRECONDITION,
            "takes no prompts",
        ),
        (
            {
                "model": "plain",
                "subject": O.Subject(points=[at(IN_SMALL), at(IN_LARGE, exclude=True)]),
            },
            grpc.StatusCode.INVALID_ARGUMENT,
            "which model 'plain' does not understand",
        ),
    ],
)
async def test_a_request_that_cannot_be_answered_says_why(
    folder: Path, values: dict[str, object], code: grpc.StatusCode, sentence: str
) -> None:
    async with serving(folder) as (_, stub):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.Segment(asked(**values))
    assert caught.value.code() is code
    assert sentence in str(caught.value.details())


async def test_prompts_are_refused_for_streams(folder: Path) -> None:
    options = O.RemoveOptions(subject=O.Subject(points=[at(IN_SMALL)]))
    async with serving(folder) as (_, stub):
        call = stub.RemoveStream()
        await call.write(config_message(options=options))
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call.read()
    assert "the frames of a stream move" in str(caught.value.details())
