"""The async client: what the sync one promises, and what only asyncio can get wrong."""

from __future__ import annotations

import asyncio
import inspect
import threading

import grpc
import pytest

from mattestream import (
    AsyncClient,
    BadImage,
    Client,
    DeadlineExceeded,
    FrameFailed,
    InvalidRequest,
    MessageTooLarge,
    NotBuilt,
    Overloaded,
    Removal,
    ServerError,
)
from mattestream.v1 import removal_pb2
from tests.mattestream.conftest import Script, answer, echo, echo_stream, started

MIB = 1024 * 1024


@pytest.fixture
async def client(script: Script):
    async with AsyncClient(script.address, timeout_s=20) as client:
        yield client


async def collect(stream):
    return [item async for item in stream]


def public_methods(kind: type) -> set[str]:
    return {name for name, _ in inspect.getmembers(kind, callable) if not name.startswith("_")}


def test_both_clients_have_the_same_methods_and_parameters():
    assert public_methods(Client) == public_methods(AsyncClient)
    for name in public_methods(Client) | {"__init__"}:
        sync = inspect.signature(getattr(Client, name)).parameters
        other = inspect.signature(getattr(AsyncClient, name)).parameters
        assert list(sync) == list(other), name
        assert [p.default for p in sync.values()] == [p.default for p in other.values()], name


def test_a_client_made_where_no_loop_runs_says_where_to_make_it():
    with pytest.raises(RuntimeError, match="inside the coroutine that uses it"):
        AsyncClient()


async def test_an_image_of_megabytes_comes_back_as_a_removal(client):
    data = bytes(9 * MIB)
    result = await client.remove(data)
    assert (result.data, result.media_type) == (data, "image/png")


async def test_many_calls_share_one_client(client):
    results = await asyncio.gather(*(client.remove(b"%d" % i) for i in range(20)))
    assert [r.data for r in results] == [b"%d" % i for i in range(20)]


async def test_a_full_server_is_tried_again_after_the_pause_it_asks_for(script, client):
    def on_remove(request, context):
        if script.calls < 3:
            context.set_trailing_metadata((("grpc-retry-pushback-ms", "5"),))
            context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "full")
        return echo(request)

    script.on_remove = on_remove
    assert (await client.remove(bytes(2 * MIB))).data == bytes(2 * MIB)
    assert script.calls == 3


async def test_a_server_that_stays_full_is_overloaded(script, client):
    def on_remove(request, context):
        context.set_trailing_metadata((("grpc-retry-pushback-ms", "5"), ("x-request-id", "7f3a")))
        context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "full")

    script.on_remove = on_remove
    with pytest.raises(Overloaded, match="full") as caught:
        await client.remove(b"x")
    assert (caught.value.retry_after_s, caught.value.request_id) == (0.005, "7f3a")


async def test_a_call_that_takes_too_long_ends_at_its_deadline(script, client):
    hold = threading.Event()
    script.on_remove = lambda request, context: hold.wait(20) and echo(request)
    with pytest.raises(DeadlineExceeded):
        await client.remove(b"picture", timeout_s=0.1)
    hold.set()


async def test_a_request_over_the_limit_is_refused_before_it_is_sent(script):
    async with AsyncClient(script.address, max_message_mib=1) as client:
        with pytest.raises(MessageTooLarge):
            await client.remove(bytes(MIB))
    assert script.calls == 0


async def test_waiting_for_a_server_without_health_says_so(client):
    with pytest.raises(NotBuilt, match="no health service"):
        await client.wait_ready(5)


async def test_waiting_for_nobody_ends_in_time():
    async with AsyncClient("127.0.0.1:1") as client:
        with pytest.raises(DeadlineExceeded, match="not ready within"):
            await client.wait_ready(0.2)


class TestStream:
    async def test_a_list_a_generator_and_an_async_generator_all_do(self, client):
        async def slowly():
            for data in (b"a", b"b"):
                await asyncio.sleep(0)
                yield data

        for images in ([b"a", b"b"], iter([b"a", b"b"]), slowly()):
            results = await collect(client.remove_stream(images))
            assert [(r.data, r.frame_id) for r in results] == [(b"a", 0), (b"b", 1)]

    async def test_images_are_read_no_further_ahead_than_the_window(self, script, client):
        gate = threading.Semaphore(0)

        def on_stream(requests, context):
            next(requests)
            yield started(3)
            for request in requests:
                gate.acquire()
                yield answer(request.frame)

        script.on_stream = on_stream
        taken: list[int] = []

        async def images():
            for index in range(30):
                taken.append(index)
                yield b"picture"

        stream = client.remove_stream(images())
        most_ahead = 0
        for done in range(30):
            gate.release()
            await anext(stream)
            most_ahead = max(most_ahead, len(taken) - (done + 1))
        assert [item async for item in stream] == []
        assert most_ahead <= 4

    async def test_big_frames_do_not_lock_up_both_ends(self, script, client):
        def on_stream(requests, context):
            next(requests)
            yield started(4)
            frames = [next(requests).frame for _ in range(4)]
            for frame in frames:
                yield answer(frame)

        script.on_stream = on_stream
        assert len(await collect(client.remove_stream([bytes(3 * MIB)] * 4))) == 4

    async def test_a_generator_that_blocks_does_not_hold_up_the_loop(self, client):
        go = threading.Event()

        def blocks():
            yield b"a"
            go.wait(20)
            yield b"b"

        stream = client.remove_stream(blocks())
        assert (await anext(stream)).data == b"a"  # while the generator sits in its wait
        go.set()
        assert (await anext(stream)).data == b"b"

    async def test_frames_that_fail_there_and_here_are_items_in_their_place(
        self, script, client, tmp_path
    ):
        def on_stream(requests, context):
            next(requests)
            yield started(2)
            for request in requests:
                failed = request.frame.image.encoded == b"bad"
                error = removal_pb2.Error(code=3, message="not an image")
                yield answer(request.frame, **({"error": error} if failed else {}))

        script.on_stream = on_stream
        images = [b"a", b"bad", tmp_path / "gone.jpg", b"d", tmp_path / "gone.png"]
        results = await collect(client.remove_stream(images))
        assert [type(r) for r in results] == [
            Removal,
            FrameFailed,
            FrameFailed,
            Removal,
            FrameFailed,
        ]
        assert [type(r.error) for r in results if isinstance(r, FrameFailed)] == [
            InvalidRequest,
            BadImage,
            BadImage,
        ]
        with pytest.raises(InvalidRequest, match="not an image"):
            await collect(client.remove_stream(images, on_error="raise"))

    async def test_what_the_callers_generator_raises_reaches_the_caller(self, client):
        async def images():
            yield b"a"
            raise LookupError("camera unplugged")

        with pytest.raises(LookupError, match="camera unplugged"):
            await collect(client.remove_stream(images()))

    async def test_leaving_the_loop_ends_the_call_on_the_server(self, script, client):
        ended = threading.Event()

        def on_stream(requests, context):
            context.add_callback(ended.set)
            yield from echo_stream(requests)

        script.on_stream = on_stream

        async def endless():
            while True:
                yield b"picture"

        stream = client.remove_stream(endless())
        await anext(stream)
        await stream.aclose()
        assert await asyncio.to_thread(ended.wait, 10)

    async def test_cancelling_the_reader_cancels_the_call(self, script, client):
        reading, ended = threading.Event(), threading.Event()

        def on_stream(requests, context):
            context.add_callback(ended.set)
            next(requests)
            yield started(1)
            reading.set()
            ended.wait(20)

        script.on_stream = on_stream
        task = asyncio.create_task(collect(client.remove_stream([b"a"])))
        assert await asyncio.to_thread(reading.wait, 10)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await asyncio.to_thread(ended.wait, 10)

    async def test_a_config_that_the_server_refuses_raises(self, script, client):
        def on_stream(requests, context):
            next(requests)
            context.abort(grpc.StatusCode.UNIMPLEMENTED, "option temporal is not built yet")

        script.on_stream = on_stream
        with pytest.raises(NotBuilt, match="temporal"):
            await collect(client.remove_stream([b"a"]))

    async def test_a_server_that_ends_a_stream_early_is_not_taken_for_success(self, script, client):
        def on_stream(requests, context):
            next(requests)
            yield started(3)
            frames = [next(requests).frame for _ in range(3)]
            yield answer(frames[0])

        script.on_stream = on_stream
        with pytest.raises(ServerError, match="ended the stream"):
            await collect(client.remove_stream([b"a", b"b", b"c"]))
