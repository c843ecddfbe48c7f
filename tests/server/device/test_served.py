"""A real server whose models run the GPU's path, on the emulated device, over gRPC."""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from kernels.device import DeviceError, DeviceFull, Stream
from mattestream.v1 import image_pb2, models_pb2, options_pb2, removal_pb2
from models.registry import Registry
from models.target import Target
from server.app import App
from server.config import Config
from server.replica import Replica, make_replica
from server.shared_memory.region import Region
from tests.fakes.emulated_engine import EmulatedRegistry
from tests.fakes.tiny_onnx import write_tiny_model
from tests.server.device.served import serving
from tests.server.fakes import config_message, eventually, frame_message, picture, request


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("models")
    write_tiny_model(made, "tiny", max_batch=4)
    write_tiny_model(made, "other", max_batch=2)
    return made


async def test_a_request_is_answered_by_the_device_and_the_report_tells(folder: Path) -> None:
    async with serving(folder) as (_, _, removal):
        reply = await removal.Remove(request(picture(96, 64)))
    assert reply.result.encoded.media_type == "image/png"
    report = reply.report
    assert report.model.device == "emulated:0 g++"
    assert report.copies.host_to_device == report.copies.device_to_host == 1
    assert report.copies.host_to_device_bytes == 96 * 64 * 3
    assert report.copies.device_to_host_bytes == 256 + 96 * 64 * 4
    assert report.timings.infer_ms > 0
    assert report.subject_box.right == 96


async def test_what_waits_while_the_device_is_busy_shares_a_run(folder: Path) -> None:
    async with serving(folder, record=False) as (app, registry, removal):
        engine = registry.engines["tiny"]
        batcher = app.host.state("tiny")[1].first.batcher  # type: ignore[union-attr]
        engine.is_open.clear()
        # One run is being queued and one waits for its turn to be; the rest waits for the next.
        calls = [removal.Remove(request()) for _ in range(7)]
        await eventually(lambda: engine.running == 1, "a run is on the device")
        await eventually(lambda: batcher.waiting >= 3, "others wait")
        engine.is_open.set()
        sizes = [(await call).report.batch_size for call in calls]
    assert max(sizes) >= 3


async def test_more_callers_than_slots_all_get_their_answer(folder: Path) -> None:
    async with serving(folder, max_requests=64) as (app, _, removal):
        seats = app.host.state("tiny")[1].first.pipeline.seats  # type: ignore[union-attr]
        assert seats == 12
        replies = await asyncio.gather(*(removal.Remove(request()) for _ in range(3 * seats)))
    assert all(reply.result.encoded.data for reply in replies)


async def test_callers_who_leave_give_their_slots_back(folder: Path) -> None:
    async with serving(folder, record=False) as (app, registry, removal):
        engine = registry.engines["tiny"]
        seats = app.host.state("tiny")[1].first.pipeline.seats  # type: ignore[union-attr]
        engine.is_open.clear()
        calls = [removal.Remove(request()) for _ in range(2 * seats)]
        await eventually(lambda: engine.running == 1, "a run is on the device")
        for call in calls:
            call.cancel()
        engine.is_open.set()
        await asyncio.wait({asyncio.ensure_future(_settled(call)) for call in calls})
        replies = await asyncio.gather(*(removal.Remove(request()) for _ in range(2 * seats)))
    assert len(replies) == 2 * seats


async def _settled(call: grpc.aio.Call) -> None:
    await call.code()


async def test_a_bad_image_among_good_ones_fails_alone(folder: Path) -> None:
    async with serving(folder) as (_, _, removal):
        good = [removal.Remove(request()) for _ in range(4)]
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await removal.Remove(request(b"\xff\xd8\xff\xe0 cut off"))
        assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        for call in good:
            assert (await call).result.encoded.data


async def test_frames_of_a_stream_come_in_order_as_raw_alphas(folder: Path) -> None:
    async with serving(folder) as (_, _, removal):

        async def messages() -> AsyncIterator[removal_pb2.RemoveStreamRequest]:
            yield config_message()
            for number in range(20):
                yield frame_message(number, picture(64 + number, 48))

        frames = [reply async for reply in removal.RemoveStream(messages())]
    answered = [reply.frame for reply in frames if reply.HasField("frame")]
    assert [frame.frame_id for frame in answered] == list(range(20))
    assert [frame.result.raw.layout.width for frame in answered] == [64 + n for n in range(20)]


async def test_nv12_frames_are_taken_as_they_are(folder: Path) -> None:
    luma = np.zeros((48, 64), np.uint8)
    luma[:, 32:] = 235
    data = luma.tobytes() + bytes([128]) * (64 * 48 // 2)
    layout = image_pb2.PixelLayout(format=image_pb2.PIXEL_FORMAT_NV12, width=64, height=48)
    message = removal_pb2.RemoveRequest(
        image=image_pb2.Image(raw=image_pb2.RawImage(layout=layout, data=data)),
        options=options_pb2.RemoveOptions(
            output=options_pb2.OUTPUT_ALPHA, format=options_pb2.FORMAT_RAW
        ),
    )
    async with serving(folder) as (_, _, removal):
        reply = await removal.Remove(message)
    alpha = np.frombuffer(reply.result.raw.data, np.uint8).reshape(48, 64)
    assert alpha[:, :28].max() == 0
    assert alpha[:, 36:].min() == 255
    assert reply.report.copies.host_to_device_bytes == len(data)


async def test_a_model_can_be_unloaded_from_the_device_and_loaded_again(folder: Path) -> None:
    async with serving(folder, load=("other",)) as (app, registry, removal):
        options = options_pb2.RemoveOptions(model="other")
        await removal.Remove(request(options=options))
        engine = registry.engines["other"]
        await app.host.unload("other")
        assert engine.is_closed
        await app.host.load("other")
        assert (await removal.Remove(request(options=options))).result.encoded.data


async def test_each_gpu_gets_a_replica_and_the_idlest_gets_the_image(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.app.targets", lambda config: (Target(0), Target(1)))
    async with serving(folder, record=False) as (app, registry, removal):
        engine = registry.engines["tiny"]  # the one loaded last: of the second device
        engine.is_open.clear()
        calls = [removal.Remove(request()) for _ in range(4)]
        replicas = app.host.state("tiny")[1].replicas  # type: ignore[union-attr]
        # The first device answers at once; the second one's images stay, so it is the busier one.
        await eventually(lambda: engine.running == 1, "the second device works")
        engine.is_open.set()
        devices = {(await call).report.model.device for call in calls}
    assert devices == {"emulated:0 g++", "emulated:1 g++"}
    assert len(replicas) == 2


async def test_metrics_tell_graphs_from_plain_launches(folder: Path) -> None:
    async with serving(folder) as (app, _, removal):
        await removal.Remove(request())
        assert (
            'mattestream_device_runs_total{launch="graph",model="tiny"} 1.0' in app.metrics.text()
        )


async def test_a_gpu_that_is_not_there_stops_the_start_with_a_sentence(folder: Path) -> None:
    from models.errors import DeviceNotAvailable
    from models.target import find_targets

    try:
        find_targets("cuda")
    except DeviceNotAvailable:
        config = Config(port=0, metrics_port=-1, http_port=0, model="tiny", device="cuda")
        app = App(config, registry=Registry([folder], shipped_dirs=()))
        with pytest.raises(DeviceNotAvailable, match="device 'cuda' was asked for"):
            await app.start()
    else:
        pytest.skip("this machine has a GPU")


async def test_a_lost_device_is_shown_by_health_and_named_to_callers(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(folder) as (app, registry, removal):
        device = registry.loaded["tiny"].device
        with monkeypatch.context() as patched:

            def dead(waited: object) -> None:
                raise DeviceError("an illegal address was met")

            patched.setattr(device, "synchronize", dead)
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await removal.Remove(request())
        assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
        assert "emulated:0 g++ is lost" in (refused.value.details() or "")
        async with grpc.aio.insecure_channel(f"127.0.0.1:{app.port}") as channel:
            stub = health_pb2_grpc.HealthStub(channel)
            for service in ("", "models/tiny"):
                await eventually_not_serving(stub, service)


async def eventually_not_serving(stub: object, service: str) -> None:
    async with asyncio.timeout(20):
        while True:
            reply = await stub.Check(health_pb2.HealthCheckRequest(service=service))  # type: ignore[attr-defined]
            if reply.status == health_pb2.HealthCheckResponse.NOT_SERVING:
                return
            await asyncio.sleep(0.01)


async def test_a_lost_gpu_of_two_gets_no_more_images(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.app.targets", lambda config: (Target(0), Target(1)))
    async with serving(folder) as (app, _, removal):
        hosted = app.host.state("tiny")[1]
        assert hosted is not None
        hosted.replicas[0].is_lost = True
        replies = [await removal.Remove(request()) for _ in range(5)]
    assert {reply.report.model.device for reply in replies} == {"emulated:1 g++"}


async def test_an_image_without_room_on_the_device_is_told_when_to_come_back(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(folder) as (_, registry, removal):
        device = registry.loaded["tiny"].device

        def full(nbytes: int) -> None:
            raise DeviceFull(f"there is no room for {nbytes} bytes")

        with monkeypatch.context() as patched:
            patched.setattr(device, "allocate", full)
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await removal.Remove(request())
        assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        trailers = dict(refused.value.trailing_metadata() or ())
        assert trailers["grpc-retry-pushback-ms"] == "1000"
        assert (await removal.Remove(request())).result.encoded.data


async def test_a_replica_that_cannot_be_made_frees_those_before_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from models.errors import EngineFailed
    from server import replica_loader

    monkeypatch.setattr("server.app.targets", lambda config: (Target(0), Target(1)))
    made: list[Replica] = []

    def second_fails(*args: object, **kwargs: object) -> Replica:
        if made:
            raise DeviceError("no stream was made")
        made.append(make_replica(*args, **kwargs))  # type: ignore[arg-type]
        return made[0]

    monkeypatch.setattr(replica_loader, "make_replica", second_fails)
    registry = EmulatedRegistry((folder,), late=True)
    app = App(
        Config(port=0, metrics_port=-1, http_port=0, model="tiny", threads=1, device="cpu"),
        registry=registry,
    )
    with pytest.raises(EngineFailed, match="model 'tiny' on cuda:1: no stream was made"):
        await app.start()
    assert made[0].own_workers is not None
    assert not any(thread.is_alive() for thread in made[0].own_workers._running)


async def test_the_models_service_names_the_device(folder: Path) -> None:
    from mattestream.v1 import models_pb2_grpc

    async with (
        serving(folder) as (app, _, _),
        grpc.aio.insecure_channel(f"127.0.0.1:{app.port}") as channel,
    ):
        models = models_pb2_grpc.ModelsServiceStub(channel)
        reply = await models.GetModel(models_pb2.GetModelRequest(name="tiny"))
    assert reply.model.device == "emulated:0 g++"
    assert reply.model.max_batch == 4


async def test_looks_that_the_last_pass_does_not_make_are_finished_on_the_host(
    folder: Path,
) -> None:
    crop = options_pb2.Crop(margin_left=options_pb2.Length(px=4))
    shadow = options_pb2.Shadow(kind=options_pb2.SHADOW_KIND_DROP)
    blur = options_pb2.Background(blur=options_pb2.BackgroundBlur())
    wanted = options_pb2.RemoveOptions(
        output=options_pb2.OUTPUT_COMPOSITE, background=blur, crop=crop, shadow=shadow
    )
    async with serving(folder) as (_, _, removal):
        response = await removal.Remove(request(picture(), wanted))
    shown, box = response.report.shown, response.report.subject_box
    assert box.left - 8 <= shown.left <= box.left - 4  # the crop holds the soft edge, too
    assert response.result.width == shown.right - shown.left


@pytest.fixture
def shared_rgb() -> Iterator[tuple[str, bytes]]:
    """A picture of 64x48 in shared memory: its name and its bytes."""
    rgb = np.random.default_rng(1).integers(0, 256, (48, 64, 3), np.uint8).tobytes()
    path = Path(f"/dev/shm/mstest-{os.getpid()}-{secrets.token_hex(4)}")
    path.write_bytes(rgb)
    yield path.name, rgb
    path.unlink()


@pytest.mark.parametrize("refine", [options_pb2.REFINE_OFF, options_pb2.REFINE_BEST])
async def test_a_frame_in_shared_memory_is_copied_once_on_the_host(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    shared_rgb: tuple[str, bytes],
    refine: options_pb2.Refine.ValueType,
) -> None:
    name, rgb = shared_rgb
    layout = image_pb2.PixelLayout(format=image_pb2.PIXEL_FORMAT_RGB8, width=64, height=48)
    options = options_pb2.RemoveOptions(
        format=options_pb2.FORMAT_RAW, edges=options_pb2.Edges(refine=refine)
    )
    by_message = removal_pb2.RemoveRequest(
        image=image_pb2.Image(raw=image_pb2.RawImage(layout=layout, data=rgb)),
        options=options,
    )
    read_to: list[int] = []
    read_into = Region.read_into

    def watched(self: Region, offset: int, target: np.ndarray) -> None:
        read_to.append(target.ctypes.data)
        read_into(self, offset, target)

    monkeypatch.setattr(Region, "read_into", watched)
    span = image_pb2.SharedMemoryRange(name=name, byte_size=len(rgb))
    shared = image_pb2.SharedMemoryImage(range=span, layout=layout)
    async with serving(folder, shared_memory=("mstest-",)) as (_, registry, removal):
        device = registry.loaded["tiny"].device
        copied_from: list[int] = []
        copy_in = device.copy_in

        def noted(source: int, target: int, nbytes: int, stream: Stream) -> None:
            copied_from.append(source)
            copy_in(source, target, nbytes, stream)

        monkeypatch.setattr(device, "copy_in", noted)
        answer = await removal.Remove(
            removal_pb2.RemoveRequest(image=image_pb2.Image(shared_memory=shared), options=options)
        )
        expected = await removal.Remove(by_message)
    # Read into the page-locked memory that the device copies out of.
    assert read_to == copied_from[:1]
    assert answer.result.raw.data == expected.result.raw.data
    assert answer.report.copies.host_to_device == 1
