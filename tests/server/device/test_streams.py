"""Streams that remember on a device: a real server on the emulated one, over gRPC, beside a CPU's.

Where frames have the plane's size, both paths are shown the same plane, and an alpha may differ by
one level of 255: that of rounding. Where they are resized, OpenCV rounds to whole levels first,
which the blend's ramps (an eighth of the difference for each level) can double: 3.
"""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from numpy.typing import NDArray

from kernels.device import DeviceError
from mattestream.v1 import image_pb2, options_pb2, removal_pb2, removal_pb2_grpc
from models.registry import Registry
from models.stream_state import StreamState
from models.target import Target
from server.app import App
from server.config import Config
from tests.fakes.emulated_engine import EmulatedRegistry
from tests.fakes.recurrent_onnx import write_echo
from tests.fakes.tiny_onnx import write_tiny_model
from tests.server.device.test_served import serving
from tests.server.fakes import config_message, eventually, request

U8 = NDArray[np.uint8]
Removal = Any
OFF = options_pb2.Edges(refine=options_pb2.REFINE_OFF)  # as the model gives them
PLAIN = options_pb2.RemoveOptions(edges=OFF)
SMOOTH = options_pb2.RemoveOptions(temporal=options_pb2.Temporal(smooth=0.8), edges=OFF)
MIB = 1 << 20


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """ "tiny" (alpha is brightness, 32 x 32, up to 4 a run), "echo" (recurrent, 16 x 16)."""
    made = tmp_path_factory.mktemp("models")
    write_tiny_model(made, "tiny", max_batch=4)
    return write_echo(made)


@asynccontextmanager
async def on_cpu(folder: Path, model: str) -> AsyncIterator[Removal]:
    config = Config(port=0, metrics_port=-1, http_port=0, model=model, threads=2, device="cpu")
    registry = Registry((folder,), shipped_dirs=())
    async with (
        App(config, registry=registry) as app,
        grpc.aio.insecure_channel(f"127.0.0.1:{app.port}") as channel,
    ):
        yield removal_pb2_grpc.BackgroundRemovalServiceStub(channel)


def message(rgb: U8) -> removal_pb2.RemoveStreamRequest:
    height, width = rgb.shape[:2]
    layout = image_pb2.PixelLayout(
        format=image_pb2.PIXEL_FORMAT_RGB8, width=width, height=height, strides=[3 * width]
    )
    raw = image_pb2.RawImage(layout=layout, data=rgb.tobytes())
    return removal_pb2.RemoveStreamRequest(frame=removal_pb2.Frame(image=image_pb2.Image(raw=raw)))


def flat(level: int, side: int = 32) -> U8:
    return np.full((side, side, 3), level, np.uint8)


async def opened(removal: Removal, **config: object) -> tuple[Any, removal_pb2.StreamStarted]:
    stream = removal.RemoveStream()
    await stream.write(config_message(**config))
    return stream, (await stream.read()).started


async def frame_of(stream: Any, rgb: U8) -> removal_pb2.FrameResult:
    await stream.write(message(rgb))
    frame = (await stream.read()).frame
    assert frame.WhichOneof("outcome") == "result", frame.error
    return frame


async def alpha_of(stream: Any, rgb: U8) -> U8:
    frame = await frame_of(stream, rgb)
    return np.frombuffer(frame.result.raw.data, np.uint8).reshape(rgb.shape[:2])


async def film(removal: Removal, frames: Sequence[U8], **config: object) -> list[U8]:
    """The alphas of one stream."""
    stream, _ = await opened(removal, **config)
    alphas = [await alpha_of(stream, rgb) for rgb in frames]
    await stream.done_writing()
    return alphas


def scenes(height: int, width: int) -> list[U8]:
    """Twelve frames of a textured scene under noise, through which a bright block moves; then
    another scene; then that one in another size.
    """
    rng = np.random.default_rng(height)
    first, second = rng.integers(10, 120, (height, width, 3)), rng.integers(130, 240, (9, 9, 3))
    second = np.kron(second, np.ones((height // 9 + 1, width // 9 + 1, 1)))[:height, :width]
    frames = []
    for number in range(12):
        scene = np.array(first if number < 7 else second, np.float64)
        scene[2 : height // 2, 2 * number : 2 * number + 5] = 250
        noisy = scene + rng.normal(0, 1.5, scene.shape)
        frames.append(np.clip(np.rint(noisy), 0, 255).astype(np.uint8))
    return [*frames, *(np.ascontiguousarray(frame[:-6, :-2]) for frame in frames[9:])]


@pytest.mark.parametrize(("size_hw", "levels"), [((32, 32), 1), ((61, 47), 3)])
async def test_steadied_alphas_are_those_of_the_cpu(
    folder: Path, size_hw: tuple[int, int], levels: int
) -> None:
    frames = scenes(*size_hw)
    async with serving(folder) as (_, _, there), on_cpu(folder, "tiny") as here:
        seen = await film(there, frames, options=SMOOTH)
        expected = await film(here, frames, options=SMOOTH)
        plain = await film(there, frames, options=PLAIN)
    worst = [
        int(np.abs(a.astype(int) - b.astype(int)).max())
        for a, b in zip(seen, expected, strict=True)
    ]
    assert max(worst) <= levels, worst
    # Frames that begin anew are shown as they are, all others are not.
    begins = [np.array_equal(a, b) for a, b in zip(seen, plain, strict=True)]
    assert [place for place, new in enumerate(begins) if new] == [0, 7, 12]


async def test_frames_of_a_recurrent_model_are_those_of_the_cpu(folder: Path) -> None:
    levels = [80, 80, 80, 100, 200, 200, 190, 10]  # 100 to 200, and 190 to 10, are cuts
    frames = [flat(level, 16) for level in levels]
    frames += [flat(20, 16), flat(20, 24), flat(20, 24)]
    for options in (PLAIN, SMOOTH):
        async with (
            serving(folder, model="echo") as (_, _, there),
            on_cpu(folder, "echo") as here,
        ):
            seen = await film(there, frames, options=options)
            expected = await film(here, frames, options=options)
        for ours, theirs in zip(seen, expected, strict=True):
            assert np.abs(ours.astype(int) - theirs.astype(int)).max() <= 1
        if options is PLAIN:
            shown = [int(alpha[0, 0]) for alpha in seen]
            assert shown == pytest.approx([40, 60, 70, 85, 100, 150, 170, 5, 12, 10, 15], abs=1)


@pytest.mark.parametrize("model", ["tiny", "echo"])
async def test_streams_side_by_side_do_not_mix_what_they_remember(folder: Path, model: str) -> None:
    levels = [[60 + 2 * (place % 2), 90, 120 + place, 150 - place] for place in range(8)]
    async with serving(folder, model=model) as (_, _, removal):
        alone = [
            [alpha[0, 0] for alpha in await film(removal, [flat(n) for n in one], options=SMOOTH)]
            for one in zip(*levels, strict=True)
        ]
        streams = [(await opened(removal, options=SMOOTH))[0] for _ in range(4)]
        seen: list[list[int]] = [[] for _ in streams]
        for frames in levels:  # all four are in work at once
            for stream, level in zip(streams, frames, strict=True):
                await stream.write(message(flat(level)))
            for place, stream in enumerate(streams):
                seen[place].append((await stream.read()).frame.result.raw.data[0])
        for stream in streams:
            await stream.done_writing()
    assert seen == alone


async def test_frames_of_several_streams_share_a_run_of_a_network_without_states(
    folder: Path,
) -> None:
    async with serving(folder, record=False) as (app, registry, removal):
        engine = registry.engines["tiny"]
        batcher = app.host.state("tiny")[1].first.batcher  # type: ignore[union-attr]
        streams = [(await opened(removal, options=SMOOTH))[0] for _ in range(6)]
        for stream in streams:
            await frame_of(stream, flat(100))
        engine.is_open.clear()
        for stream in streams:
            await stream.write(message(flat(103)))
        await eventually(lambda: batcher.waiting >= 3, "frames wait for a run")
        engine.is_open.set()
        frames = [(await stream.read()).frame for stream in streams]
        for stream in streams:
            await stream.done_writing()
    assert max(frame.report.batch_size for frame in frames) >= 3
    assert {frame.result.raw.data[0] for frame in frames} == {101}  # 103 blended with 100


@pytest.mark.parametrize("model", ["tiny", "echo"])
async def test_a_frame_is_copied_up_once_and_down_once_and_takes_no_memory(
    folder: Path, model: str
) -> None:
    async with serving(folder, model=model) as (app, registry, removal):
        stream, _ = await opened(removal, options=SMOOTH)
        for level in (100, 101):
            await frame_of(stream, flat(level))
        device = registry.loaded[model].device
        before = device.allocations
        for level in range(102, 122):
            copies = (await frame_of(stream, flat(level))).report.copies
            assert (copies.host_to_device, copies.device_to_host) == (1, 1)
            assert copies.host_to_device_bytes == 32 * 32 * 3
            assert copies.device_to_host_bytes == 256 + 32 * 32
        assert device.allocations == before
        assert f'launch="graph",model="{model}"}} 22.0' in app.metrics.text()
        await stream.done_writing()


async def test_a_single_image_of_a_recurrent_model_has_no_frame_before_it(folder: Path) -> None:
    async with serving(folder, model="echo") as (_, _, removal):
        await film(removal, [flat(200)] * 3)
        options = options_pb2.RemoveOptions(
            output=options_pb2.OUTPUT_ALPHA, format=options_pb2.FORMAT_RAW
        )
        raw = message(flat(200)).frame.image
        for _ in range(2):
            reply = await removal.Remove(removal_pb2.RemoveRequest(image=raw, options=options))
            assert reply.result.raw.data[0] == 100


@pytest.mark.parametrize(("model", "levels"), [("tiny", (100, 103, 101)), ("echo", (80, 80, 60))])
async def test_a_broken_stream_goes_on_with_what_the_device_remembers(
    folder: Path, model: str, levels: tuple[int, int, int]
) -> None:
    options = SMOOTH if model == "tiny" else PLAIN
    first, second, shown = levels
    async with serving(folder, model=model) as (app, _, removal):
        stream, _ = await opened(removal, options=options, resume_id="cam-1")
        await frame_of(stream, flat(first))
        stream.cancel()
        await eventually(lambda: len(app.removal.streams.parked) == 1, "what it remembers is kept")
        assert app.removal.streams.parked.nbytes > 2 * (16 * 16)
        stream, started = await opened(removal, options=options, resume_id="cam-1")
        assert started.resumed
        assert (await alpha_of(stream, flat(second)))[0, 0] == pytest.approx(shown, abs=1)
        await stream.done_writing()


def blocks(registry: EmulatedRegistry, model: str) -> int:
    """Blocks of memory that the device has given out."""
    return len(registry.loaded[model].device._blocks)  # type: ignore[attr-defined]


@pytest.fixture
def freed_on(monkeypatch: pytest.MonkeyPatch) -> list[threading.Thread]:
    """The threads that freed what a device kept of a stream."""
    threads, free = [], StreamState.free

    def note(state: StreamState) -> None:
        threads.append(threading.current_thread())
        free(state)

    monkeypatch.setattr(StreamState, "free", note)
    return threads


async def test_what_a_device_keeps_of_a_stream_is_freed_with_the_stream(
    folder: Path, freed_on: list[threading.Thread]
) -> None:
    async with serving(folder) as (_, registry, removal):
        for ending in ("done", "cancelled"):
            await removal.Remove(request())  # its slot has memory now
            before = blocks(registry, "tiny")
            stream, _ = await opened(removal, options=SMOOTH)
            await frame_of(stream, flat(100))
            assert blocks(registry, "tiny") == before + 1
            if ending == "done":
                await stream.done_writing()
            else:
                stream.cancel()
            await eventually(
                lambda before=before: blocks(registry, "tiny") == before, "its memory is freed"
            )
    # Freeing waits for the device: the event loop must not.
    assert len(freed_on) == 2
    assert threading.current_thread() not in freed_on


async def test_what_is_kept_of_broken_streams_is_freed_when_it_is_too_much_or_unfit(
    folder: Path, freed_on: list[threading.Thread]
) -> None:
    async with serving(folder, max_streams=2) as (app, registry, removal):
        await removal.Remove(request())  # its slot has memory now
        before = blocks(registry, "tiny")
        for name in ("a", "b", "c"):
            await film(removal, [flat(90)], options=SMOOTH, resume_id=name)
        await eventually(lambda: len(app.removal.streams.parked) == 2, "two are kept")
        await eventually(lambda: blocks(registry, "tiny") == before + 2, "the oldest is freed")
        other = options_pb2.RemoveOptions(temporal=options_pb2.Temporal(smooth=0.5))
        stream, started = await opened(removal, options=other, resume_id="c")
        assert not started.resumed
        await eventually(lambda: blocks(registry, "tiny") == before + 1, "what did not fit is")
        assert len(freed_on) == 2
        assert threading.current_thread() not in freed_on
        await stream.done_writing()


async def test_an_unloaded_model_leaves_nothing_and_its_streams_begin_anew(folder: Path) -> None:
    async with serving(folder, load=("echo",)) as (app, registry, removal):
        options = options_pb2.RemoveOptions(model="echo", edges=OFF)
        device = registry.loaded["echo"].device
        stream, _ = await opened(removal, options=options, resume_id="cam-1")
        await frame_of(stream, flat(80))
        await stream.done_writing()
        await eventually(lambda: len(app.removal.streams.parked) == 1, "what it remembers is kept")
        assert app.removal.streams.parked.nbytes > 0
        await app.host.unload("echo")
        assert app.removal.streams.parked.nbytes == 0
        assert device is registry.loaded["echo"].device
        await app.host.load("echo")
        stream, started = await opened(removal, options=options, resume_id="cam-1")
        assert not started.resumed
        assert (await alpha_of(stream, flat(80)))[0, 0] == 40
        await stream.done_writing()


async def test_a_frame_that_fails_changes_nothing_of_what_the_next_one_goes_by(
    folder: Path,
) -> None:
    async with serving(folder, model="echo", record=False) as (_, registry, removal):
        stream, _ = await opened(removal, options=PLAIN)
        assert (await alpha_of(stream, flat(80)))[0, 0] == 40
        registry.engines["echo"].refuses = True
        await stream.write(message(flat(110)))
        assert (await stream.read()).frame.WhichOneof("outcome") == "error"
        registry.engines["echo"].refuses = False
        assert (await alpha_of(stream, flat(80)))[0, 0] == 60
        await stream.done_writing()


async def test_a_stream_that_remembers_stays_on_its_device(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.app.targets", lambda config: (Target(0), Target(1)))
    async with serving(folder, model="echo") as (app, _, removal):
        hosted = app.host.state("echo")[1]
        assert hosted is not None
        streams = [(await opened(removal, options=PLAIN))[0] for _ in range(4)]
        devices: list[list[str]] = [[] for _ in streams]
        for number in range(6):
            for place, stream in enumerate(streams):
                frame = await frame_of(stream, flat(80))
                devices[place].append(frame.report.model.device)
                # 40, 60, 70, ...: 80 less a half, a quarter, an eighth.
                shown = frame.result.raw.data[0]
                assert shown == pytest.approx(80 - 80 / 2 ** (number + 1), abs=1)
            # Whatever is idler now: a stream's own device is asked.
            hosted.replicas[number % 2].users += 1
        assert [len(set(names)) for names in devices] == [1] * 4
        # They begin one after the other, when both devices are idle.
        assert sorted(names[0] for names in devices) == [
            *("emulated:0 g++", "emulated:0 g++"),
            *("emulated:1 g++", "emulated:1 g++"),
        ]
        lost = devices[0][0]
        for replica in hosted.replicas:
            replica.users = 0
            replica.is_lost = replica.used.device == lost
        frame = await frame_of(streams[0], flat(80))
        assert frame.report.model.device != lost
        assert frame.result.raw.data[0] == 40  # it begins anew there
        for stream in streams:
            await stream.done_writing()


async def test_a_lost_device_forgets_its_streams(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(folder) as (app, registry, removal):
        stream, _ = await opened(removal, options=SMOOTH, resume_id="cam-1")
        await frame_of(stream, flat(100))
        kept = blocks(registry, "tiny")
        with monkeypatch.context() as patched:

            def dead(waited: object) -> None:
                raise DeviceError("an illegal address was met")

            patched.setattr(registry.loaded["tiny"].device, "synchronize", dead)
            await stream.write(message(flat(100)))
            assert "is lost" in (await stream.read()).frame.error.message
        await stream.done_writing()
        await eventually(lambda: len(app.removal.streams.parked) == 1, "the stream is over")
        assert app.removal.streams.parked.nbytes == 0
        assert blocks(registry, "tiny") < kept


async def test_a_stream_without_room_on_the_device_is_told_and_others_go_on(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from kernels.device import DeviceFull

    async with serving(folder) as (_, registry, removal):
        stream, _ = await opened(removal, options=SMOOTH)
        await removal.Remove(request())
        with monkeypatch.context() as patched:

            def full(smooth: float) -> None:
                raise DeviceFull("there is no room for 10240 bytes")

            patched.setattr(registry.loaded["tiny"], "new_state", full)
            await stream.write(message(flat(100)))
            error = (await stream.read()).frame.error
            assert error.code == grpc.StatusCode.RESOURCE_EXHAUSTED.value[0]
            assert (await removal.Remove(request())).result.encoded.data
        assert (await alpha_of(stream, flat(100)))[0, 0] == 100
        await stream.done_writing()
