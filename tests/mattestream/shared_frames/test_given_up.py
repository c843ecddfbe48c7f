"""Requests for frames that fail, break or are given up: nothing late lands in what comes after."""

from __future__ import annotations

import gc
import warnings
from pathlib import Path

import pytest

from mattestream import (
    AsyncClient,
    Client,
    DeadlineExceeded,
    FrameFailed,
    InvalidRequest,
    MattestreamError,
    Removal,
    ServerError,
    SharedFrames,
    Unavailable,
)
from mattestream.cli.server_process import ServerProcess
from mattestream.v1 import image_pb2
from tests.fakes.tiny_onnx import write_tiny_model
from tests.mattestream.shared_frames.rings import (
    AS_IS,
    HEIGHT,
    WIDTH,
    left_of,
    shade,
    shown,
)
from tests.server.fakes import eventually
from tests.server.serving import Serve


def test_a_frame_that_fails_is_answered_and_used_again(client: Client, prefix: str) -> None:
    with SharedFrames(WIDTH, HEIGHT, 2, output="alpha", prefix=prefix) as ring:
        before = set(left_of(prefix))
        # Its result would need four times the room.
        outcomes = list(client.remove_stream(ring.fill([shade(1)]), output="cutout"))
        assert isinstance(outcomes[0], FrameFailed)
        assert "give a range that holds it" in str(outcomes[0].error)
        frame = ring.take()
        with pytest.raises(InvalidRequest):
            client.remove(frame, output="cutout")
        frame.put(shade(30))
        assert abs(int(client.remove(frame, refine="off").array()[0, 0]) - 30) <= 1
        del frame
        assert ring.free == 2
        assert set(left_of(prefix)) == before


async def test_a_request_that_is_given_up_never_writes_into_a_frame_that_is_used_again(
    serve: Serve, prefix: str
) -> None:
    async with serve(shared_memory=("mstest-",), threads=1) as served:
        engine = served.registry.engines["tiny"]
        async with AsyncClient(f"127.0.0.1:{served.app.port}", retries=False) as client:
            with SharedFrames(WIDTH, HEIGHT, 2, prefix=prefix) as ring:
                engine.open.clear()
                frame = ring.take()
                frame.put(shade(255))
                with pytest.raises(DeadlineExceeded):
                    await client.remove(frame, timeout_s=0.05)
                with pytest.raises(InvalidRequest, match="take another frame"):
                    await client.remove(frame, refine="off")
                name = frame.message().shared_memory.range.name
                del frame
                again = [ring.take(), ring.take()]
                names = [each.message().shared_memory.range.name for each in again]
                assert name not in names + left_of(prefix)
                engine.open.set()
                again[1].put(shade(10))
                assert (
                    abs(int((await client.remove(again[1], refine="off")).array()[0, 0]) - 10) <= 1
                )
                await eventually(lambda: served.app.admission.bytes == 0, "all is done")
                assert not again[0].image.any()


def test_a_stream_that_breaks_gives_its_frames_back_as_new_ones(address: str, prefix: str) -> None:
    with SharedFrames(WIDTH, HEIGHT, 4, prefix=prefix) as ring:
        before = set(left_of(prefix))
        with Client(address) as client:
            stream = client.remove_stream(ring.fill(shade(n) for n in range(100)))
            next(stream)
            stream.close()
        gc.collect()
        taken = [ring.take(5) for _ in range(4)]
        after = {each.message().shared_memory.range.name for each in taken}
        assert len(after) == len(left_of(prefix)) == 4
        assert after != before  # those that were on their way are new


@pytest.mark.slow
def test_a_server_that_dies_leaves_the_ring_usable_for_the_next(
    prefix: str, address: str, tmp_path: Path
) -> None:
    write_tiny_model(tmp_path, "tiny")
    flags = ["--model", "tiny", "--model-dir", str(tmp_path), "--shared-memory", "mstest-"]
    with SharedFrames(WIDTH, HEIGHT, 4, prefix=prefix) as ring:
        ending = ServerProcess(flags)
        ending.__enter__()
        with Client(ending.address, retries=False) as client:
            stream = client.remove_stream(ring.fill(shade(n % 256) for n in range(100_000)))
            assert isinstance(next(stream), Removal)
            ending._process.kill()  # type: ignore[union-attr]
            with pytest.raises(MattestreamError):
                list(map(type, stream))
        ending._process.wait()  # type: ignore[union-attr]
        with warnings.catch_warnings():  # its log file is the dead server's
            warnings.simplefilter("ignore")
            ending._log.close()  # type: ignore[union-attr]
        gc.collect()
        with Client(address) as client:
            frames = ring.fill(shade(n) for n in range(20))
            assert len(list(map(shown, client.remove_stream(frames, **AS_IS)))) == 20


def test_a_server_that_names_another_place_is_not_believed(prefix: str) -> None:
    with SharedFrames(WIDTH, HEIGHT, prefix=prefix) as ring:
        frame = ring.take()
        target = frame.target()
        assert target is not None
        layout = image_pb2.PixelLayout(
            format=image_pb2.PIXEL_FORMAT_GRAY8, width=WIDTH, height=HEIGHT
        )
        good = image_pb2.SharedMemoryImage(range=target, layout=layout)
        assert frame.pixels(good).shape == (HEIGHT, WIDTH)
        for change in (
            {"name": "mstest-other"},
            {"offset": 0},
            {"byte_size": 1},
            {"byte_size": 2**40},
        ):
            wrong = image_pb2.SharedMemoryImage()
            wrong.CopyFrom(good)
            for name, value in change.items():
                setattr(wrong.range, name, value)
            with pytest.raises(ServerError):
                frame.pixels(wrong)
        larger = image_pb2.SharedMemoryImage()
        larger.CopyFrom(good)
        larger.layout.width = larger.range.byte_size = 2**31
        larger.layout.height = 1
        with pytest.raises(ServerError):
            frame.pixels(larger)


def test_nobody_there_leaves_the_frame_to_be_made_anew(prefix: str) -> None:
    with SharedFrames(WIDTH, HEIGHT, 2, prefix=prefix) as ring:
        client = Client("127.0.0.1:1", retries=False, timeout_s=5)
        with client, pytest.raises(Unavailable):
            client.remove(ring.take())
        assert ring.free == 2
        assert len([ring.take(), ring.take()]) == 2
