"""Frames in shared memory: filled, sent, answered where they lie, and used again."""

from __future__ import annotations

import asyncio
import gc

import numpy as np
import pytest

from mattestream import (
    AsyncClient,
    BadImage,
    Client,
    DeadlineExceeded,
    Frame,
    MattestreamError,
    SharedFrames,
)
from tests.mattestream.shared_frames.rings import (
    AS_IS,
    HEIGHT,
    WIDTH,
    left_of,
    shade,
    shown,
)


def test_a_frame_is_filled_sent_and_answered_where_it_lies(client: Client, prefix: str) -> None:
    with SharedFrames(WIDTH, HEIGHT, prefix=prefix) as ring:
        frame = ring.take()
        frame.image[:] = 200
        result = client.remove(frame, refine="off")
        assert result.data == b""
        assert result.channels == 1
        np.testing.assert_allclose(result.array(), 200, atol=1)
        assert result.array() is result.pixels


@pytest.mark.parametrize(
    ("output", "shape"), [("alpha", (HEIGHT, WIDTH)), ("cutout", (HEIGHT, WIDTH, 4))]
)
def test_the_result_equals_that_of_a_message(
    client: Client, prefix: str, output: str, shape: tuple[int, ...]
) -> None:
    picture = np.random.default_rng(4).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
    sent = client.remove(picture, output=output, format="raw").array()  # type: ignore[arg-type]
    with SharedFrames(WIDTH, HEIGHT, prefix=prefix, output=output) as ring:  # type: ignore[arg-type]
        frame = ring.take()
        frame.put(picture)
        result = client.remove(frame).array()
        assert result.shape == shape
        np.testing.assert_array_equal(result, sent)


@pytest.mark.parametrize("pixels", ["rgb", "bgr", "rgba", "gray", "nv12", "i420"])
def test_every_layout_of_pixels_is_taken(client: Client, prefix: str, pixels: str) -> None:
    with SharedFrames(WIDTH, HEIGHT, pixels=pixels, prefix=prefix) as ring:  # type: ignore[arg-type]
        frame = ring.take()
        frame.image[:] = 255 if pixels in ("rgb", "bgr", "rgba", "gray") else 128
        if pixels in ("nv12", "i420"):
            assert frame.image.shape == (HEIGHT * 3 // 2, WIDTH)
            frame.image[:HEIGHT] = 235
        assert client.remove(frame, refine="off").array().min() >= 254


def test_a_file_comes_back_in_the_message_when_it_is_asked_for(client: Client, prefix: str) -> None:
    with SharedFrames(WIDTH, HEIGHT, prefix=prefix) as ring:
        frame = ring.take()
        frame.put(shade(255))
        result = client.remove(frame, format="png", output="cutout")
        assert result.data.startswith(b"\x89PNG")
        assert result.pixels is None


def test_a_ring_without_results_sends_frames_and_gets_messages(client: Client, prefix: str) -> None:
    with SharedFrames(WIDTH, HEIGHT, output=None, prefix=prefix) as ring:
        (result,) = client.remove_stream(ring.fill([shade(90)]), **AS_IS)
        assert len(result.data) == WIDTH * HEIGHT
        assert result.pixels is None


def test_a_stream_of_many_more_frames_than_the_ring_has_comes_back_in_order(
    client: Client, prefix: str
) -> None:
    shades = [value % 256 for value in range(0, 900, 7)]
    with SharedFrames(WIDTH, HEIGHT, 3, prefix=prefix) as ring:
        frames = ring.fill(shade(value) for value in shades)
        got = [shown(result) for result in client.remove_stream(frames, timeout_s=30, **AS_IS)]
        np.testing.assert_allclose(got, shades, atol=1)
        names = left_of(prefix)
        assert len(names) == 3
        gc.collect()
        assert ring.free == 3


def test_the_smallest_ring_serves_a_loop(client: Client, prefix: str) -> None:
    with SharedFrames(WIDTH, HEIGHT, 2, prefix=prefix) as ring:
        frames = ring.fill((shade(value) for value in range(20)), timeout_s=10)
        for number, result in enumerate(client.remove_stream(frames, **AS_IS)):
            assert abs(int(result.array()[0, 0]) - number) <= 1


def test_frames_keep_the_callers_numbers(client: Client, prefix: str) -> None:
    with SharedFrames(WIDTH, HEIGHT, prefix=prefix) as ring:
        frames = (
            Frame(frame, frame_id=number * 10, pts=number)
            for number, frame in enumerate(ring.fill([shade(1), shade(2)]))
        )
        got = [(each.frame_id, each.pts) for each in client.remove_stream(frames)]
        assert got == [(0, 0), (10, 1)]


async def test_the_async_client_streams_from_a_ring_too(address: str, prefix: str) -> None:
    async with AsyncClient(address) as client:
        with SharedFrames(WIDTH, HEIGHT, 2, prefix=prefix) as ring:

            async def camera():  # type: ignore[no-untyped-def]
                for value in range(12):
                    frame = await ring.take_async(10)
                    frame.put(shade(value * 20))
                    yield frame
                    del frame

            results = client.remove_stream(camera(), **AS_IS)
            got = [shown(result) async for result in results]
            np.testing.assert_allclose(got, [value * 20 for value in range(12)], atol=1)
            frame = await ring.take_async()
            frame.put(shade(70))
            assert abs(shown(await client.remove(frame, refine="off")) - 70) <= 1
            del frame
            plain = client.remove_stream(ring.fill([shade(9), shade(8)]), **AS_IS)
            np.testing.assert_allclose([shown(each) async for each in plain], [9, 8], atol=1)


def test_a_held_result_stays_what_it_is_and_its_frame_is_free_once_it_is_dropped(
    client: Client, prefix: str
) -> None:
    with SharedFrames(WIDTH, HEIGHT, 2, prefix=prefix) as ring:
        held = next(
            each.array()[10:20]  # a view of a view
            for each in client.remove_stream(ring.fill([shade(50)]), **AS_IS)
        )
        assert ring.free == 1
        for value in (100, 150, 200):
            for result in client.remove_stream(ring.fill([shade(value)]), **AS_IS):
                assert abs(int(result.array()[0, 0]) - value) <= 1
            del result
        np.testing.assert_allclose(held, 50, atol=1)
        del held
        assert ring.free == 2


def test_a_ring_whose_frames_are_all_held_says_so_in_time(prefix: str) -> None:
    with SharedFrames(WIDTH, HEIGHT, 2, prefix=prefix) as ring:
        held = [ring.take().image, ring.take()]
        with pytest.raises(DeadlineExceeded, match="none of the 2 frames"):
            ring.take(timeout_s=0.01)
        held.pop()
        assert ring.take(timeout_s=1)


@pytest.mark.parametrize(
    "wrong",
    [
        {"width": 0},
        {"width": 1.5},
        {"count": 1},
        {"pixels": "cmyk"},
        {"pixels": "nv12", "width": 63},
        {"output": "mask"},
        {"prefix": "../"},
        {"prefix": "a"},
        {"mode": 0o7777},
    ],
    ids=str,
)
def test_wrong_rings_are_refused_at_once(wrong: dict[str, object]) -> None:
    with pytest.raises(MattestreamError):
        SharedFrames(**({"width": 64, "height": 48} | wrong))  # type: ignore[arg-type]


def test_pictures_of_another_shape_are_refused(prefix: str) -> None:
    with SharedFrames(WIDTH, HEIGHT, prefix=prefix) as ring:
        frame = ring.take()
        for picture in (np.zeros((2, 2, 3), np.uint8), shade(0).astype(np.float32), "a.jpg"):
            with pytest.raises(BadImage, match="ring's frames"):
                frame.put(picture)  # type: ignore[arg-type]


async def test_waiting_for_a_frame_leaves_the_loop_running(prefix: str) -> None:
    with SharedFrames(WIDTH, HEIGHT, 2, prefix=prefix) as ring:
        held = [ring.take(), ring.take()]
        waiting = asyncio.create_task(ring.take_async(10))
        await asyncio.sleep(0)
        assert not waiting.done()
        held.pop()
        assert await waiting
