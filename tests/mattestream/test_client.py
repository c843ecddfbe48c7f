"""The sync client against scripted answers; `test_against_server.py` has the real server."""

from __future__ import annotations

import threading

import grpc
import numpy as np
import pytest

from mattestream import (
    BadImage,
    Client,
    DeadlineExceeded,
    Frame,
    FrameFailed,
    InvalidRequest,
    MessageTooLarge,
    NotBuilt,
    Overloaded,
    Removal,
    ServerError,
    Unavailable,
)
from mattestream.channel import SERVICE_CONFIG
from mattestream.v1 import removal_pb2
from tests.mattestream.conftest import Script, answer, echo, echo_stream, started

MIB = 1024 * 1024


@pytest.fixture
def client(script: Script):
    with Client(script.address, timeout_s=20) as client:
        yield client


def refuse(context, code, text, **trailers):
    context.set_trailing_metadata(tuple((k.replace("_", "-"), v) for k, v in trailers.items()))
    context.abort(code, text)


def test_an_image_comes_back_as_a_removal(client):
    result = client.remove(b"picture")
    assert (result.data, result.media_type, result.width) == (b"picture", "image/png", 3)
    assert result.report.request_id == "id-1"


def test_the_key_and_the_request_id_travel_as_metadata(script):
    with Client(script.address, api_key="secret") as client:
        client.remove(b"x", request_id="mine-1")
    assert script.metadata["x-api-key"] == "secret"
    assert script.metadata["x-request-id"] == "mine-1"


def test_an_image_far_above_grpcs_default_limit_goes_there_and_back(client):
    data = bytes(9 * MIB)
    assert client.remove(data).data == data


def test_a_request_over_the_limit_is_refused_before_it_is_sent(script):
    with (
        Client(script.address, max_message_mib=1) as client,
        pytest.raises(MessageTooLarge, match=r"request is 1\.0 MiB.*raise max_message_mib"),
    ):
        client.remove(bytes(MIB))
    assert script.calls == 0


def test_a_full_server_is_tried_again_after_the_pause_it_asks_for(script, client):
    def on_remove(request, context):
        if script.calls < 3:
            refuse(
                context,
                grpc.StatusCode.RESOURCE_EXHAUSTED,
                "full",
                grpc_retry_pushback_ms="10",
            )
        return echo(request)

    script.on_remove = on_remove
    assert client.remove(b"picture").data == b"picture"
    assert script.calls == 3


def test_a_photo_of_megabytes_is_tried_again_too(script, client):
    def on_remove(request, context):
        if script.calls < 2:
            refuse(context, grpc.StatusCode.UNAVAILABLE, "moving")
        return echo(request)

    script.on_remove = on_remove
    assert len(client.remove(bytes(6 * MIB)).data) == 6 * MIB
    assert script.calls == 2


def test_a_server_that_stays_full_is_overloaded_with_its_own_pause(script, client):
    script.on_remove = lambda request, context: refuse(
        context, grpc.StatusCode.RESOURCE_EXHAUSTED, "full", grpc_retry_pushback_ms="5"
    )
    with pytest.raises(Overloaded, match="full") as caught:
        client.remove(b"picture")
    assert caught.value.retry_after_s == 0.005
    assert script.calls == SERVICE_CONFIG["methodConfig"][0]["retryPolicy"]["maxAttempts"]


def test_a_bad_request_is_not_tried_again(script, client):
    script.on_remove = lambda request, context: refuse(
        context, grpc.StatusCode.INVALID_ARGUMENT, "not an image", x_request_id="7f3a"
    )
    with pytest.raises(InvalidRequest, match="not an image") as caught:
        client.remove(b"picture")
    assert (script.calls, caught.value.request_id) == (1, "7f3a")


def test_retries_can_be_switched_off(script):
    script.on_remove = lambda request, context: refuse(
        context, grpc.StatusCode.UNAVAILABLE, "moving"
    )
    with Client(script.address, retries=False) as client, pytest.raises(Unavailable):
        client.remove(b"picture")
    assert script.calls == 1


def test_a_call_that_takes_too_long_ends_at_its_deadline(script, client):
    hold = threading.Event()
    script.on_remove = lambda request, context: hold.wait(20) and echo(request)
    with pytest.raises(DeadlineExceeded):
        client.remove(b"picture", timeout_s=0.1)
    hold.set()


def test_nobody_at_the_address_is_unavailable():
    told = pytest.raises(Unavailable, match=r"nobody answers there.*mattestream serve.*refused")
    with Client("127.0.0.1:1", retries=False, timeout_s=5) as client, told:
        client.remove(b"picture")


def test_a_bad_file_is_told_before_anything_is_sent(script, client, tmp_path):
    with pytest.raises(BadImage, match="cannot read"):
        client.remove(tmp_path / "gone.jpg")
    assert script.calls == 0


def test_waiting_for_a_server_without_health_says_so(client):
    with pytest.raises(NotBuilt, match="no health service"):
        client.wait_ready(5)


def test_waiting_for_nobody_ends_in_time():
    with Client("127.0.0.1:1") as client, pytest.raises(DeadlineExceeded, match="not ready within"):
        client.wait_ready(0.2)


class TestStream:
    def test_every_image_is_answered_in_order_with_the_callers_numbers(self, client):
        frames = [Frame(b"a", pts=10), Frame(b"b", frame_id=77, pts=20), b"c"]
        results = list(client.remove_stream(frames))
        assert [r.data for r in results] == [b"a", b"b", b"c"]
        assert [(r.frame_id, r.pts) for r in results] == [(0, 10), (77, 20), (2, 0)]

    def test_no_image_gives_no_result(self, client):
        assert list(client.remove_stream([])) == []

    def test_images_are_read_no_further_ahead_than_the_window(self, script, client):
        gate = threading.Semaphore(0)
        received: list[int] = []

        def on_stream(requests, context):
            next(requests)
            yield started(3)
            for request in requests:
                received.append(request.frame.frame_id)
                gate.acquire()
                yield answer(request.frame)

        script.on_stream = on_stream
        taken: list[int] = []

        def images():
            for index in range(50):
                taken.append(index)
                yield b"picture"

        stream = client.remove_stream(images())
        most_ahead = 0
        for done in range(50):
            gate.release()
            next(stream)
            # taken: done + 1 answered, up to 3 in flight, and one read while the window was open
            most_ahead = max(most_ahead, len(taken) - (done + 1))
        assert list(stream) == []
        assert most_ahead <= 4
        assert received == list(range(50))

    def test_sending_does_not_wait_for_the_answers_to_be_read(self, script, client):
        """The server answers only after it has seen the whole window: a serial loop would hang."""

        def on_stream(requests, context):
            next(requests)
            yield started(4)
            frames = [next(requests).frame for _ in range(4)]
            for frame in frames:
                yield answer(frame)
            assert next(requests, None) is None  # ends when the client has, as a server does

        script.on_stream = on_stream
        big = bytes(3 * MIB)
        assert len(list(client.remove_stream([big] * 4))) == 4

    def test_a_frame_that_fails_is_an_item_and_the_stream_goes_on(self, script, client):
        def on_stream(requests, context):
            next(requests)
            yield started(2)
            for request in requests:
                if request.frame.image.encoded == b"bad":
                    error = removal_pb2.Error(code=3, message="not an image")
                    yield answer(request.frame, error=error)
                else:
                    yield answer(request.frame)

        script.on_stream = on_stream
        results = list(client.remove_stream([b"a", b"bad", b"c"]))
        assert [type(r) for r in results] == [Removal, FrameFailed, Removal]
        assert type(results[1].error) is InvalidRequest
        with pytest.raises(InvalidRequest, match="not an image"):
            list(client.remove_stream([b"a", b"bad", b"c"], on_error="raise"))

    def test_a_file_that_is_missing_fails_in_its_place(self, script, client, tmp_path):
        results = list(client.remove_stream([b"a", tmp_path / "gone.jpg", b"c", tmp_path / "no"]))
        assert [type(r) for r in results] == [Removal, FrameFailed, Removal, FrameFailed]
        assert [r.frame_id for r in results] == [0, 1, 2, 3]
        assert type(results[1].error) is BadImage

    def test_an_image_over_the_message_limit_fails_alone(self, script):
        with Client(script.address, max_message_mib=1) as client:
            results = list(client.remove_stream([b"a", bytes(2 * MIB), b"c"]))
        assert [type(r) for r in results] == [Removal, FrameFailed, Removal]
        assert type(results[1].error) is MessageTooLarge

    def test_what_the_callers_generator_raises_reaches_the_caller(self, client):
        def images():
            yield b"a"
            raise LookupError("camera unplugged")

        with pytest.raises(LookupError, match="camera unplugged"):
            list(client.remove_stream(images()))

    def test_leaving_the_loop_ends_the_call_on_the_server(self, script, client):
        ended = threading.Event()

        def on_stream(requests, context):
            context.add_callback(ended.set)
            yield from echo_stream(requests)

        script.on_stream = on_stream

        def endless():
            while True:
                yield b"picture"

        stream = client.remove_stream(endless())
        next(stream)
        stream.close()
        assert ended.wait(10)

    def test_a_config_that_the_server_refuses_raises_and_reads_no_image(self, script, client):
        script.on_stream = lambda requests, context: context.abort(
            grpc.StatusCode.UNIMPLEMENTED, "option temporal is not built yet"
        )
        taken = []

        def images():
            taken.append(1)
            yield b"a"

        with pytest.raises(NotBuilt, match="temporal"):
            list(client.remove_stream(images()))
        assert taken == []

    def test_an_unknown_option_is_refused_at_the_call_not_in_the_loop(self, script, client):
        with pytest.raises(InvalidRequest, match="output is"):
            client.remove_stream([b"a"], output="hologram")
        assert script.calls == 0

    def test_frames_skipped_by_latest_delivery_are_counted_and_passed_over(self, script, client):
        def on_stream(requests, context):
            next(requests)
            yield started(1)
            frames = [request.frame for request in requests]
            yield answer(frames[0])
            yield answer(frames[4], dropped_before=3)

        script.on_stream = on_stream
        results = list(client.remove_stream([b"%d" % i for i in range(5)], delivery="latest"))
        assert [(r.frame_id, r.dropped_before) for r in results] == [(0, 0), (4, 3)]

    def test_an_answer_for_another_frame_is_the_servers_fault(self, script, client):
        def on_stream(requests, context):
            next(requests)
            yield started(2)
            frame = next(requests).frame
            frame.frame_id = 9
            yield answer(frame)

        script.on_stream = on_stream
        with pytest.raises(ServerError, match="answered frame 9"):
            list(client.remove_stream([b"a"]))

    def test_a_stream_that_breaks_raises_after_the_results_so_far(self, script, client):
        def on_stream(requests, context):
            next(requests)
            yield started(1)
            yield answer(next(requests).frame)
            context.abort(grpc.StatusCode.UNAVAILABLE, "shutting down")

        script.on_stream = on_stream
        stream = client.remove_stream([b"a", b"b", b"c"])
        assert next(stream).data == b"a"
        with pytest.raises(Unavailable, match="shutting down"):
            next(stream)

    def test_arrays_travel_as_raw_pixels(self, script, client):
        seen = []

        def on_stream(requests, context):
            next(requests)
            yield started(2)
            for request in requests:
                seen.append(request.frame.image.raw.layout.width)
                yield answer(request.frame)

        script.on_stream = on_stream
        list(client.remove_stream([np.zeros((2, 5, 3), np.uint8)]))
        assert seen == [5]

    @pytest.mark.parametrize("answered", [0, 1])
    def test_a_server_that_ends_a_stream_early_is_not_taken_for_success(
        self, script, client, answered
    ):
        def on_stream(requests, context):
            next(requests)
            yield started(3)
            for _ in range(answered):
                yield answer(next(requests).frame)

        script.on_stream = on_stream
        with pytest.raises(ServerError, match="ended the stream"):
            list(client.remove_stream([b"a", b"b", b"c"]))
