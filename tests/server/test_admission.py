"""Permits: the bounds, the refusals and their hints, the waiting of streams."""

from __future__ import annotations

import asyncio
import json

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2

from mattestream.v1 import options_pb2, removal_pb2_grpc
from server.admission import BYTES_PER_PIXEL, Admission, NeverFits, Overloaded, Permit
from server.job import Format
from server.service_cost import RECENT, Cost
from tests.server.counting_proxy import Counting
from tests.server.fakes import ManualClock, eventually, picture, request
from tests.server.serving import Serve


def admission(images: int = 4, size: int = 1000) -> Admission:
    return Admission(images, size, jitter=lambda: 0.0)


def test_permits_count_images_and_bytes_and_give_both_back() -> None:
    room = admission()
    with room.try_admit(300), room.try_admit(200):
        assert (room.images, room.bytes) == (2, 500)
    assert (room.images, room.bytes) == (0, 0)


def test_releasing_twice_gives_back_once() -> None:
    room = admission()
    other = room.try_admit(100)
    permit = room.try_admit(300)
    permit.release()
    permit.release()
    assert (room.images, room.bytes) == (1, 100)
    other.release()


def test_a_finished_image_frees_its_slot_and_keeps_only_its_answers_bytes() -> None:
    room = admission(images=1)
    permit = room.try_admit(800)
    permit.shrink(50)
    assert (room.images, room.bytes) == (0, 50)
    with room.try_admit(900):
        pass
    permit.release()
    assert room.bytes == 0


def test_work_counts_only_for_as_many_images_as_can_be_worked_on() -> None:
    room = Admission(100, 1000, threads=2)
    permits = [room.try_admit(10, work=work) for work in (100, 300, 200, 50)]
    assert room.bytes == 4 * 10 + 300 + 200
    permits[1].release()
    assert room.bytes == 3 * 10 + 200 + 100
    permits[2].shrink(25)
    assert room.bytes == 2 * 10 + 25 + 100 + 50
    for permit in permits:
        permit.release()
    assert room.bytes == 0


def test_many_images_that_wait_cheaply_fit_where_few_could_be_worked_on_at_once() -> None:
    room = Admission(100, 1000, threads=1)
    permits = [room.try_admit(10, work=800) for _ in range(20)]
    with pytest.raises(Overloaded, match="memory for images is full"):
        room.try_admit(10, work=801)
    for permit in permits:
        permit.release()
    with pytest.raises(NeverFits):
        room.try_admit(300, work=701)


def test_an_image_too_many_is_refused_with_both_numbers() -> None:
    room = admission(images=2)
    permits = [room.try_admit(1), room.try_admit(1)]
    with pytest.raises(Overloaded, match="2 images are in work or waiting, it takes up to 2") as no:
        room.try_admit(1)
    assert no.value.reason == "requests"
    for permit in permits:
        permit.release()


def test_bytes_too_many_are_refused() -> None:
    room = admission(size=1000)
    with room.try_admit(800), pytest.raises(Overloaded, match="memory for images is full") as no:
        room.try_admit(300)
    assert no.value.reason == "bytes"


def test_an_image_larger_than_all_the_room_is_told_that_waiting_is_no_use() -> None:
    room = Admission(4, 10 << 20)
    with pytest.raises(NeverFits, match=r"about 20\.0 MiB .* has 10\.0 MiB .*--max-inflight-mb 20"):
        room.try_admit(20 << 20)


async def test_a_stream_is_told_so_too_instead_of_waiting_for_ever() -> None:
    with pytest.raises(NeverFits):
        await admission(size=1000).admit(1001)


async def test_waiting_frames_come_in_by_turn() -> None:
    room = admission(images=1)
    order: list[int] = []

    async def frame(number: int) -> None:
        with await room.admit(10):
            order.append(number)

    with room.try_admit(10):
        frames = [asyncio.create_task(frame(number)) for number in range(3)]
        await asyncio.sleep(0)
        assert room.waiting == 3
    await asyncio.gather(*frames)
    assert order == [0, 1, 2]
    assert (room.images, room.bytes, room.waiting) == (0, 0, 0)


async def test_a_small_frame_does_not_overtake_a_large_one() -> None:
    room = admission(images=8, size=1000)
    first = room.try_admit(700)
    large = asyncio.create_task(room.admit(600))
    await asyncio.sleep(0)
    small = asyncio.create_task(room.admit(10))
    await asyncio.sleep(0)
    assert room.waiting == 2
    first.release()
    for task in (large, small):
        (await task).release()


async def test_streams_leave_a_quarter_of_the_room_to_single_requests() -> None:
    room = admission(images=4)
    frames = [await room.admit(1) for _ in range(3)]
    fourth = asyncio.create_task(room.admit(1))
    await asyncio.sleep(0)
    assert room.waiting == 1
    room.try_admit(1).release()
    frames.pop().release()
    frames.append(await fourth)
    for permit in frames:
        permit.release()
    assert room.images == 0


async def test_a_frame_larger_than_the_streams_share_goes_alone() -> None:
    room = admission(size=1000)
    small = await room.admit(10)
    large = asyncio.create_task(room.admit(900))
    await asyncio.sleep(0)
    assert room.waiting == 1
    small.release()
    (await large).release()


async def test_a_frame_cancelled_while_it_waits_lets_the_next_one_in() -> None:
    room = admission(images=1)
    inside = room.try_admit(1)
    first, second = asyncio.create_task(room.admit(1)), asyncio.create_task(room.admit(1))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.sleep(0)
    inside.release()
    (await second).release()
    assert (room.images, room.bytes, room.waiting) == (0, 0, 0)


async def test_a_frame_cancelled_in_the_moment_of_its_turn_keeps_nothing() -> None:
    room = admission(images=1)
    inside = room.try_admit(1)
    waiting = asyncio.create_task(room.admit(1))
    await asyncio.sleep(0)
    inside.release()  # its turn has come, the task has not run yet
    waiting.cancel()
    await asyncio.wait({waiting})
    assert (room.images, room.bytes) == (0, 0)


def test_the_hint_is_the_time_that_half_of_the_outstanding_work_takes() -> None:
    room = Admission(100, 10_000, threads=2, jitter=lambda: 0.0)
    permits = [room.try_admit(1, Cost(worker_s=1.0)) for _ in range(8)]
    # 8 images of a second each on 2 threads are 4 seconds; half of them are out after 2.
    assert room.retry_after_ms() == pytest.approx(2000, rel=0.01)
    for permit in permits[4:]:
        permit.release()
    assert room.retry_after_ms() == pytest.approx(1000, rel=0.01)
    for permit in permits[:4]:
        permit.release()
    assert room.retry_after_ms() == 20


def test_an_image_that_would_come_after_its_deadline_is_refused_with_both_times() -> None:
    room = Admission(100, 10_000, threads=2, jitter=lambda: 0.0)
    inside = [room.try_admit(1, Cost(worker_s=1.0)) for _ in range(4)]
    with pytest.raises(Overloaded, match="may take 6 s, its deadline is in 2 s") as no:
        room.try_admit(1, Cost(worker_s=1.0), remaining_s=2.0)
    assert no.value.reason == "time"
    # 2 seconds until its turn and 1 of its own, twice for safety, less the 2 that it may wait.
    assert no.value.retry_after_ms == pytest.approx(4000, rel=0.01)
    room.try_admit(1, Cost(worker_s=1.0), remaining_s=6.1).release()
    for permit in inside[:2]:
        permit.release()
    room.try_admit(1, Cost(worker_s=0.0), remaining_s=2.0).release()


def test_images_that_come_later_than_expected_make_the_next_ones_wait_for_more_time() -> None:
    clock = ManualClock()
    room = Admission(100, 10_000, jitter=lambda: 0.0, clock=clock)
    with room.try_admit(1, Cost(worker_s=1.0)):
        behind = [room.try_admit(1, Cost(worker_s=0.1)) for _ in range(5)]
        clock.advance(5.0)
        for permit in behind:
            permit.shrink(0)
        with pytest.raises(Overloaded, match="come back later"):
            room.try_admit(1, Cost(worker_s=0.1), remaining_s=1.1 * 2.5)


def test_an_image_given_up_early_says_nothing_of_the_wait() -> None:
    room = Admission(100, 10_000, clock=ManualClock())
    before = room.margin.value
    with room.try_admit(1, Cost(worker_s=1.0)):
        room.try_admit(1, Cost(worker_s=0.1)).release()
        assert room.margin.value == before
        room.try_admit(1, Cost(worker_s=0.1)).shrink(0)
        assert room.margin.value < before


def test_an_idle_server_takes_an_image_however_dear_it_was_last_time() -> None:
    room = admission()
    room.try_admit(1, Cost(worker_s=100.0), remaining_s=0.01).release()


def test_workers_and_accelerators_overlap_so_the_slower_of_them_counts() -> None:
    room = Admission(100, 10_000, threads=4, devices=1)
    inside = [room.try_admit(1, Cost(worker_s=0.2, device_s=0.3)) for _ in range(4)]
    assert room.backlog_s == pytest.approx(1.2)
    for permit in inside:
        permit.release()
    assert room.backlog_s == 0.0


def test_a_finished_image_is_no_work_any_more_while_its_answer_is_on_its_way() -> None:
    room = admission()
    permit, other = room.try_admit(1, Cost(0.5)), room.try_admit(1, Cost(0.25))
    permit.shrink(1)
    assert room.backlog_s == pytest.approx(0.25)
    permit.release()
    assert room.backlog_s == pytest.approx(0.25)
    other.release()


async def test_frames_that_waited_for_room_count_as_work_from_their_turn_on() -> None:
    room = admission(images=1)
    with room.try_admit(1):
        waiting = asyncio.create_task(room.admit(1, Cost(0.5)))
        await asyncio.sleep(0)
        assert room.backlog_s == 0.0
    permit = await waiting
    assert room.backlog_s == pytest.approx(0.5)
    permit.release()


def test_hints_are_spread_by_up_to_a_quarter() -> None:
    room = Admission(100, 1000, jitter=lambda: 1.0)
    permits: list[Permit] = [room.try_admit(1) for _ in range(40)]
    assert room.retry_after_ms() == 1250
    assert len(permits) == 40


async def test_a_request_over_the_limit_is_refused_at_once_with_the_hint_in_both_forms(
    serve: Serve,
) -> None:
    async with serve(max_requests=2) as served:
        engine = served.registry.engines["tiny"]
        engine.open.clear()
        inside = [served.removal.Remove(request()) for _ in range(2)]
        await eventually(lambda: served.app.admission.images == 2, "two are in")
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await served.removal.Remove(request())
        error = caught.value
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert error.details() == (
            "the server is full: 2 images are in work or waiting, it takes up to 2"
        )
        trailers = dict(error.trailing_metadata())
        pushback_ms = int(trailers["grpc-retry-pushback-ms"])
        rich = status_pb2.Status.FromString(trailers["grpc-status-details-bin"])
        retry = error_details_pb2.RetryInfo()
        assert rich.details[0].Unpack(retry)
        assert retry.retry_delay.ToMilliseconds() == pushback_ms >= 20
        assert rich.code == grpc.StatusCode.RESOURCE_EXHAUSTED.value[0]
        assert 'mattestream_refused_total{reason="requests"} 1.0' in served.app.metrics.text()
        engine.open.set()
        for call in inside:
            await call
        await served.removal.Remove(request())


async def test_a_request_whose_deadline_the_queue_would_outlast_is_refused_and_not_timed_out(
    serve: Serve,
) -> None:
    async with serve(threads=1) as served:
        engine = served.registry.engines["tiny"]
        await served.removal.Remove(request())  # what it costs is known from here on
        cost = served.app.remover.costs.expected(
            "tiny", (Format.PNG, None, False), 0.001, on_device=False
        )
        assert cost.worker_s > 0
        engine.open.clear()
        long_work = served.app.admission.try_admit(1, Cost(worker_s=60.0))
        with long_work, pytest.raises(grpc.aio.AioRpcError) as caught:
            await served.removal.Remove(request(), timeout=30)
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "come back later" in str(caught.value.details())
        assert 'mattestream_refused_total{reason="time"} 1.0' in served.app.metrics.text()


async def test_a_full_server_refuses_a_photo_before_it_has_come(serve: Serve) -> None:
    size = 24 << 20
    async with serve(max_requests=1) as served, Counting(served.app.port) as proxy:
        options = (("grpc.max_send_message_length", -1), ("grpc.enable_retries", 0))
        with served.app.admission.try_admit(1):
            async with grpc.aio.insecure_channel(f"127.0.0.1:{proxy.port}", options) as channel:
                stub = removal_pb2_grpc.BackgroundRemovalServiceStub(channel)
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await stub.Remove(request(picture() + bytes(size)))
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert proxy.sent < size / 4


async def test_a_photo_that_the_queue_leaves_no_time_for_is_refused_before_it_has_come(
    serve: Serve,
) -> None:
    size = 24 << 20
    async with serve(threads=1) as served, Counting(served.app.port) as proxy:
        await served.removal.Remove(request())
        costs = served.app.remover.costs
        costs.note("tiny", "any", 1.0, network_s=40.0, rest_s=0.0)
        for _ in range(RECENT):
            costs.expected("tiny", "any", 1.0, on_device=False)
        least = costs.least().worker_s
        # Without the image itself it would be in time.
        backlog_s = 30 / served.app.admission.margin.value - least / 2
        assert 0 < backlog_s < 30 / served.app.admission.margin.value
        options = (("grpc.max_send_message_length", -1), ("grpc.enable_retries", 0))
        with served.app.admission.try_admit(1, Cost(worker_s=backlog_s)):
            async with grpc.aio.insecure_channel(f"127.0.0.1:{proxy.port}", options) as channel:
                stub = removal_pb2_grpc.BackgroundRemovalServiceStub(channel)
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await stub.Remove(request(picture() + bytes(size)), timeout=30)
        assert "come back later" in str(caught.value.details())
        assert proxy.sent < size / 4


async def test_a_unary_call_without_a_message_is_told_what_is_missing(serve: Serve) -> None:
    async with serve() as served:
        call = served.channel.stream_unary("/mattestream.v1.BackgroundRemovalService/Remove")(
            iter(())
        )
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert "no message came" in str(caught.value.details())


async def test_a_request_larger_than_the_whole_budget_is_an_invalid_argument(serve: Serve) -> None:
    side = 400  # 400 * 400 * 16 bytes are 2.4 MiB
    assert side * side * BYTES_PER_PIXEL > 1 << 20
    async with serve(max_inflight_mb=1) as served:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await served.removal.Remove(request(picture(side, side)))
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert "start with --max-inflight-mb 3" in str(caught.value.details())
        await served.removal.Remove(request(picture(50, 50)))


async def test_grpcs_own_retry_policy_follows_the_hint(serve: Serve) -> None:
    policy = {
        "maxAttempts": 5,
        "initialBackoff": "100s",  # the hint, not this, must decide
        "maxBackoff": "100s",
        "backoffMultiplier": 1,
        "retryableStatusCodes": ["RESOURCE_EXHAUSTED"],
    }
    service_config = json.dumps({"methodConfig": [{"name": [{}], "retryPolicy": policy}]})
    async with serve(max_requests=1) as served:
        engine = served.registry.engines["tiny"]
        engine.open.clear()
        inside = served.removal.Remove(request())
        await eventually(lambda: engine.running == 1, "one is in")
        options = (("grpc.service_config", service_config), ("grpc.enable_retries", 1))
        address = f"127.0.0.1:{served.app.port}"
        async with grpc.aio.insecure_channel(address, options) as channel:
            stub = removal_pb2_grpc.BackgroundRemovalServiceStub(channel)
            patient = stub.Remove(request(), timeout=15)
            await eventually(
                lambda: 'refused_total{reason="requests"}' in served.app.metrics.text(), "refused"
            )
            engine.open.set()
            await inside
            assert (await patient).result.width == 96


async def test_calls_beyond_the_last_line_of_defence_are_refused_by_grpc_itself(
    serve: Serve,
) -> None:
    async with serve(max_calls=2) as served:
        engine = served.registry.engines["tiny"]
        engine.open.clear()
        inside = [served.removal.Remove(request()) for _ in range(2)]
        await eventually(lambda: served.app.gate.calls == 2, "two are in")
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await served.removal.Remove(request())
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        engine.open.set()
        for call in inside:
            await call


async def test_a_format_that_takes_more_memory_is_charged_more(serve: Serve) -> None:
    side = 240  # 240 * 240 pixels are 0.9 MiB at 16 bytes and 1.8 MiB at 32
    webp = options_pb2.RemoveOptions(format=options_pb2.FORMAT_WEBP)
    async with serve(max_inflight_mb=1) as served:
        await served.removal.Remove(request(picture(side, side)))
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await served.removal.Remove(request(picture(side, side), webp))
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
