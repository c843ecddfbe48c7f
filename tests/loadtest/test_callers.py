"""The closed loop: who is counted, who is not, and when it ends."""

from __future__ import annotations

import io
import threading

from PIL import Image

from loadtest.callers import LEAST_EACH, run_load


def png(width: int, height: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGBA", (width, height)).save(buffer, "PNG")
    return buffer.getvalue()


PHOTOS = {"a.jpg": (b"a", 4, 3), "b.jpg": (b"b", 5, 6)}
ANSWERS = {b"a": png(4, 3), b"b": png(5, 6)}


def test_exactly_so_many_requests_are_sent_and_each_answer_is_measured() -> None:
    load = run_load(ANSWERS.__getitem__, PHOTOS, callers=3, requests=10, seconds=60)
    assert len(load.latencies_ms) == len(load.answer_bytes) == 10
    assert load.errors == []
    assert load.seconds > 0


def test_the_photos_are_sent_in_turn() -> None:
    sent: list[bytes] = []

    def call(photo: bytes) -> bytes:
        sent.append(photo)
        return ANSWERS[photo]

    run_load(call, PHOTOS, callers=1, requests=4, seconds=60)
    assert sent == [b"a", b"b", b"a", b"b"]


def test_so_many_requests_are_on_their_way_at_once() -> None:
    all_there = threading.Barrier(4, timeout=20)  # breaks unless four callers are in it together

    def call(photo: bytes) -> bytes:
        all_there.wait()
        return ANSWERS[photo]

    load = run_load(call, PHOTOS, callers=4, requests=8, seconds=60)
    assert load.errors == []


def test_a_failed_request_is_an_error_and_no_latency() -> None:
    def call(photo: bytes) -> bytes:
        if photo == b"b":
            raise ConnectionError("gone")
        return ANSWERS[photo]

    load = run_load(call, PHOTOS, callers=1, requests=4, seconds=60)
    assert len(load.latencies_ms) == 2
    assert load.errors == ["b.jpg: ConnectionError: gone"] * 2


def test_an_answer_of_another_size_is_an_error() -> None:
    load = run_load(lambda _: png(4, 3), PHOTOS, callers=1, requests=2, seconds=60)
    assert load.errors == ["b.jpg: the answer is no whole PNG"]


def test_after_the_time_is_over_each_caller_sends_no_more_than_the_least() -> None:
    load = run_load(ANSWERS.__getitem__, PHOTOS, callers=3, requests=100, seconds=0)
    assert len(load.latencies_ms) == 3 * LEAST_EACH
