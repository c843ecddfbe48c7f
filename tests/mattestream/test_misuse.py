"""Calls that cannot work, on both clients: each ends with an error of ours that says why."""

from __future__ import annotations

import asyncio
import io
import threading
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mattestream import AsyncClient, Cancelled, Client, Frame, FrameFailed, InvalidRequest, Removal
from mattestream.request import build_options
from server.calls import open_call

CALLS: dict[str, Callable[[Any], Any]] = {
    "remove": lambda client: client.remove(b"x"),
    "remove_stream": lambda client: client.remove_stream([b"x"]),
    "list_models": lambda client: client.list_models(),
    "wait_ready": lambda client: client.wait_ready(1),
}


async def awaited(result: Any) -> object:
    """What an async client's method comes to."""
    if hasattr(result, "__aiter__"):
        return [item async for item in result]
    return await result


def finished(result: Any) -> object:
    """What a sync client's method comes to."""
    return list(result) if hasattr(result, "__next__") else result


@pytest.mark.parametrize("call", CALLS)
def test_a_call_on_a_closed_client_is_cancelled(call, script):
    client = Client(script.address)
    client.close()
    with pytest.raises(Cancelled, match="client was closed"):
        finished(CALLS[call](client))


@pytest.mark.parametrize("call", CALLS)
async def test_a_call_on_a_closed_async_client_is_cancelled(call, script):
    client = AsyncClient(script.address)
    await client.close()
    with pytest.raises(Cancelled, match="client was closed"):
        await awaited(CALLS[call](client))


@pytest.fixture
def stuck(script):
    """The server's event that says that a call has come, which it will not answer."""
    come, leave = threading.Event(), threading.Event()

    def hold(*_: object) -> Any:
        come.set()
        leave.wait(20)
        return iter(())

    script.on_remove = script.on_stream = hold
    yield come
    leave.set()


def in_task(client: AsyncClient, call: str) -> Coroutine[Any, Any, object]:
    return awaited(CALLS[call](client))


@pytest.mark.parametrize("call", ["remove", "remove_stream"])
async def test_closing_an_async_client_cancels_the_call_and_not_the_task(call, script, stuck):
    client = AsyncClient(script.address)
    task = asyncio.create_task(in_task(client, call))
    await asyncio.to_thread(stuck.wait, 20)
    await client.close()
    with pytest.raises(Cancelled):
        await task
    assert not task.cancelled()


@pytest.mark.parametrize("call", ["remove", "remove_stream"])
async def test_cancelling_the_task_stays_that_when_the_client_is_closed_too(call, script, stuck):
    async with AsyncClient(script.address) as client:
        task = asyncio.create_task(in_task(client, call))
        await asyncio.to_thread(stuck.wait, 20)
        task.cancel()
        await client.close()
        await asyncio.wait([task])
        assert task.cancelled()


@pytest.mark.parametrize("kind", [Client, AsyncClient])
async def test_an_unknown_way_with_errors_is_refused_at_once(kind, script):
    client = kind(script.address)
    with pytest.raises(InvalidRequest, match="on_error is 'zzz', known are yield, raise"):
        client.remove_stream([b"x"], on_error="zzz")
    await client.close() if kind is AsyncClient else client.close()


BAD_FRAMES = [
    Frame(b"x", frame_id=-1),
    Frame(b"x", frame_id=2**64),
    Frame(b"x", frame_id=1.5),  # type: ignore[arg-type]
    Frame(b"x", pts=2**63),
    Frame(b"x", pts="now"),  # type: ignore[arg-type]
]


@pytest.mark.parametrize("bad", BAD_FRAMES, ids=repr)
async def test_a_frame_whose_number_fits_no_field_fails_alone(bad, script):
    def check(items: list[Removal | FrameFailed]) -> None:
        first, failed, last = items
        assert isinstance(first, Removal)
        assert isinstance(failed, FrameFailed)
        assert isinstance(failed.error, InvalidRequest)
        assert "give a whole number" in str(failed.error)
        assert isinstance(last, Removal)

    with Client(script.address) as client:
        check(await asyncio.to_thread(lambda: list(client.remove_stream([b"a", bad, b"b"]))))
    async with AsyncClient(script.address) as other:
        check([item async for item in other.remove_stream([b"a", bad, b"b"])])


def test_numpys_integers_number_frames_too(script):
    with Client(script.address) as client:
        (item,) = client.remove_stream([Frame(b"x", frame_id=np.int64(7), pts=np.int32(3))])
    assert (item.frame_id, item.pts) == (7, 3)


IDS = ["mine-1", "x" * 128, "a/b:c=d@e+f._", "x" * 129, "x" * 20_000, "a\nb", "mine\n", "é", "a b"]


@pytest.mark.parametrize("request_id", IDS, ids=lambda text: ascii(text[:12]) + str(len(text)))
async def test_an_id_is_sent_when_a_server_would_keep_it_and_refused_otherwise(request_id, script):
    kept = open_call("Remove", [("x-request-id", request_id)]).request_id == request_id
    async with AsyncClient(script.address) as client:
        if kept:
            await client.remove(b"x", request_id=request_id)
            assert script.metadata["x-request-id"] == request_id
        else:
            with pytest.raises(InvalidRequest, match=r"request_id is .* give 1 to 128"):
                await client.remove(b"x", request_id=request_id)
            assert script.calls == 0


@pytest.mark.parametrize("key", ["secret\n", " secret", "sécret", "s" * 20_000])
@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_a_key_that_no_header_can_carry_is_refused_without_being_shown(kind, key):
    with pytest.raises(InvalidRequest, match=r"API key .* cannot be sent") as caught:
        kind("127.0.0.1:1", api_key=key)
    assert key.strip() not in str(caught.value)


def test_a_model_name_that_no_model_can_have_is_refused_by_wait_ready(script):
    with Client(script.address) as client, pytest.raises(InvalidRequest, match="up to 120"):
        client.wait_ready(1, model="m" * 121)


ONE_PICTURE = [
    "in.jpg",
    b"picture",
    bytearray(b"picture"),
    Path("in.jpg"),
    io.BytesIO(b"picture"),
    Image.new("RGB", (4, 4)),
    np.zeros((4, 6), np.uint8),
    np.zeros((4, 6, 3), np.uint8),
]


@pytest.mark.parametrize("picture", ONE_PICTURE, ids=lambda picture: type(picture).__name__)
@pytest.mark.parametrize("kind", [Client, AsyncClient])
async def test_one_picture_in_the_place_of_a_streams_frames_is_refused_at_once(
    kind, picture, script
):
    client = kind(script.address)
    with pytest.raises(
        InvalidRequest, match=r"this is one \(.*\): give \[picture\], or call remove"
    ):
        client.remove_stream(picture)
    await client.close() if kind is AsyncClient else client.close()


@pytest.mark.parametrize("shape", [(2, 4, 6), (2, 4, 6, 3)])
def test_an_array_of_pictures_is_a_streams_frames(shape, script):
    with Client(script.address) as client:
        assert len(list(client.remove_stream(np.zeros(shape, np.uint8)))) == 2


KEYWORDS = [
    ("remove", {"fromat": "png"}, "unknown keyword fromat: did you mean format?"),
    ("remove", {"smooth": 0.5}, "unknown keyword smooth: it belongs to remove_stream"),
    ("remove_stream", {"feather": 1}, "unknown keyword feather: did you mean feather_px?"),
    ("segment", {"refine": "best"}, "unknown keyword refine: it belongs to remove"),
    ("segment", {"zzz": 1}, "unknown keyword zzz$"),
]


@pytest.mark.parametrize(("call", "keywords", "words"), KEYWORDS)
async def test_an_unknown_keyword_is_a_type_error_with_the_likeliest(call, keywords, words, script):
    with Client(script.address) as client, pytest.raises(TypeError, match=words):
        getattr(client, call)([b"x"] if call == "remove_stream" else b"x", **keywords)
    async with AsyncClient(script.address) as other:
        with pytest.raises(TypeError, match=words):
            await awaited(getattr(other, call)([b"x"] if "stream" in call else b"x", **keywords))


def test_places_may_be_rows_of_arrays():
    points = np.array([[10, 20], [30, 40]])
    subject = build_options(points=points, box=np.array([1, 2, 3, 4])).subject
    assert [(point.x, point.y) for point in subject.points] == [(10, 20), (30, 40)]
    assert (subject.box.left, subject.box.bottom) == (1, 4)
