"""Frames in shared memory: filled, answered, used again, and gone however their makers end."""

from __future__ import annotations

import asyncio
import gc
import io
import os
import re
import resource
import secrets
import signal
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import redirect_stdout, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from mattestream import (
    AsyncClient,
    BadImage,
    Client,
    DeadlineExceeded,
    Frame,
    FrameFailed,
    InvalidRequest,
    MattestreamError,
    Removal,
    ServerError,
    SharedFrames,
    Unavailable,
)
from mattestream import shared_region as regions
from mattestream.cli.server_process import ServerProcess
from mattestream.v1 import image_pb2
from tests.fakes.tiny_onnx import write_tiny_model
from tests.server.fakes import eventually
from tests.server.serving import Serve

SHM = Path("/dev/shm")
WIDTH, HEIGHT = 64, 48
AS_IS: Any = {"on_error": "raise", "refine": "off"}  # the network's alpha, shade for shade


def shade(value: int) -> NDArray[np.uint8]:
    """(48, 64, 3) of one grey: the tiny model's alpha is its brightness."""
    return np.full((HEIGHT, WIDTH, 3), value, np.uint8)


def shown(result: Removal) -> int:
    """The alpha's first value."""
    return int(result.array()[0, 0])


def left_of(prefix: str) -> list[str]:
    return [path.name for path in SHM.glob(f"{prefix}*")]


def open_of(prefix: str) -> int:
    """Descriptors of this process that lead to objects under `prefix`."""
    links = []
    for entry in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # the listing's own
            links.append(str(entry.readlink()))
    return sum(link.startswith(f"/dev/shm/{prefix}") for link in links)


@pytest.fixture
def prefix() -> Iterator[str]:
    """One of this test's own, and nothing left under it."""
    made = f"mstest-{secrets.token_hex(4)}-"
    yield made
    assert left_of(made) == []


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server in a process of its own that allows the tests' prefixes."""
    folder = tmp_path_factory.mktemp("models")
    write_tiny_model(folder, "tiny")
    flags = ["--model", "tiny", "--model-dir", str(folder), "--threads", "2"]
    with ServerProcess([*flags, "--shared-memory", "mstest-"]) as server:
        yield server.address


@pytest.fixture
def client(address: str) -> Iterator[Client]:
    with Client(address) as made:
        yield made


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


def test_a_server_that_dies_leaves_the_ring_usable_for_the_next(
    prefix: str, tmp_path: Path
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
        with ServerProcess(flags) as server, Client(server.address) as client:
            frames = ring.fill(shade(n) for n in range(20))
            assert len(list(map(shown, client.remove_stream(frames, **AS_IS)))) == 20


MAKER = """
import os, sys, time
from mattestream import SharedFrames
ring = SharedFrames(64, 48, 3, prefix=sys.argv[1])
ring.__enter__()
print("made", flush=True)
if sys.argv[2] == "wait":
    sys.stdin.read()
"""


def maker(prefix: str, how: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", MAKER, prefix, how],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "made\n"
    return process


def test_a_process_that_ends_without_closing_leaves_nothing(prefix: str) -> None:
    with maker(prefix, "end") as process:
        process.wait(20)
    assert left_of(prefix) == []


def test_what_a_killed_process_left_is_removed_by_the_next_and_living_ones_stay(
    prefix: str,
) -> None:
    with maker(prefix, "wait") as alive, maker(prefix, "wait") as dead:
        dead.send_signal(signal.SIGKILL)
        dead.wait(20)
        assert len(left_of(prefix)) == 6
        with SharedFrames(WIDTH, HEIGHT, 2, prefix=prefix):
            assert len(left_of(prefix)) == 3 + 2
        assert alive.poll() is None
        assert len(left_of(prefix)) == 3
        assert alive.stdin is not None
        alive.stdin.close()
        alive.wait(20)


def test_foreign_objects_under_the_prefix_are_left_alone(prefix: str) -> None:
    foreign = [SHM / f"{prefix}mine", SHM / f"{prefix}ring-mine"]
    for path in foreign:
        path.write_bytes(b"x")
    link = SHM / f"{prefix}ring-{'0' * 16}"
    link.symlink_to("/etc/passwd")
    try:
        with SharedFrames(WIDTH, HEIGHT, 2, prefix=prefix):
            pass
        assert sorted(left_of(prefix)) == sorted(path.name for path in (*foreign, link))
    finally:
        for path in (*foreign, link):
            path.unlink()


def test_a_forked_child_leaves_its_parents_frames_alone(prefix: str) -> None:
    with SharedFrames(WIDTH, HEIGHT, 2, prefix=prefix) as ring:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # threads of other tests
            child = os.fork()
        if child == 0:
            ring.close()
            os._exit(0)
        os.waitpid(child, 0)
        assert len(left_of(prefix)) == 2


def test_closing_takes_names_and_descriptors_away_and_wakes_who_waits(prefix: str) -> None:
    ring = SharedFrames(WIDTH, HEIGHT, 2, prefix=prefix)
    errors: list[BaseException] = []

    def wait_for_one() -> None:
        try:
            ring.take()
        except MattestreamError as error:
            errors.append(error)

    with ring:
        held = [ring.take(), ring.take()]
        held[0].image[:] = 7
        kept = held[0].image
        waiting = [threading.Thread(target=wait_for_one) for _ in range(3)]
        for thread in waiting:
            thread.start()
    for thread in waiting:
        thread.join(20)
    assert [type(error) for error in errors] == [InvalidRequest] * 3
    assert left_of(prefix) == []
    assert (kept == 7).all()  # its memory lives as long as it does
    del held, kept
    gc.collect()
    assert open_of(prefix) == 0
    with pytest.raises(InvalidRequest, match="with"):
        ring.take()


def test_many_frames_leave_regions_and_descriptors_as_they_were(
    client: Client, prefix: str
) -> None:
    with SharedFrames(16, 16, 4, prefix=prefix) as ring:
        picture = np.zeros((16, 16, 3), np.uint8)
        descriptors = set()
        for _ in range(3):
            answers = client.remove_stream(ring.fill(picture for _ in range(500)))
            assert sum(isinstance(each, Removal) for each in answers) == 500
            descriptors.add(open_of(prefix))
        assert len(descriptors) == 1
        assert len(left_of(prefix)) == 4


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


def test_a_ring_that_does_not_fit_says_so_and_leaves_nothing(prefix: str) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        # As a full /dev/shm would, but without filling one.
        resource.setrlimit(resource.RLIMIT_FSIZE, (WIDTH * HEIGHT, hard))
        with pytest.raises(MattestreamError, match="cannot reserve"):
            SharedFrames(WIDTH, HEIGHT, prefix=prefix).__enter__()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_more_than_there_is_room_for_is_refused_before_it_is_taken(prefix: str) -> None:
    ring = SharedFrames(65535, 65535, 1024, pixels="rgba", prefix=prefix)
    with pytest.raises(MattestreamError, match="has room for"):
        ring.__enter__()


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


def test_a_full_or_foreign_system_is_told_in_a_sentence(
    prefix: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    ring = SharedFrames(WIDTH, HEIGHT, prefix=prefix)
    monkeypatch.setattr(regions.sys, "platform", "win32")
    with pytest.raises(MattestreamError, match="need Linux"), ring:
        pass
    monkeypatch.setattr(regions.sys, "platform", "linux")
    monkeypatch.setattr(regions, "FOLDER", tmp_path / "missing")
    with pytest.raises(MattestreamError, match="missing"), ring:
        pass


def test_nobody_there_leaves_the_frame_to_be_made_anew(prefix: str) -> None:
    with SharedFrames(WIDTH, HEIGHT, 2, prefix=prefix) as ring:
        client = Client("127.0.0.1:1", retries=False, timeout_s=5)
        with client, pytest.raises(Unavailable):
            client.remove(ring.take())
        assert ring.free == 2
        assert len([ring.take(), ring.take()]) == 2


async def test_waiting_for_a_frame_leaves_the_loop_running(prefix: str) -> None:
    with SharedFrames(WIDTH, HEIGHT, 2, prefix=prefix) as ring:
        held = [ring.take(), ring.take()]
        waiting = asyncio.create_task(ring.take_async(10))
        await asyncio.sleep(0)
        assert not waiting.done()
        held.pop()
        assert await waiting


def test_the_example_of_the_page_runs(address: str) -> None:
    page = (Path(__file__).parents[2] / "docs" / "shared-memory.md").read_text(encoding="utf-8")
    example = re.findall(r"```python\n(.*?)```", page, re.DOTALL)[0]
    example = example.replace("127.0.0.1:50051", address).replace("range(50)", "range(6)")
    printed = io.StringIO()
    with redirect_stdout(printed):
        exec(example.replace("myapp-", "mstest-page-"), {})
    assert len(printed.getvalue().splitlines()) == 6
    assert left_of("mstest-page-") == []
