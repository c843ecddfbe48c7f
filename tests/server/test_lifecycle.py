"""Start, drain, stop: what a load balancer, a caller and an operator see of each."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from structlog.testing import capture_logs

from mattestream.v1 import removal_pb2_grpc
from models.errors import ModelNotFound
from server.app import App, StartError
from server.config import Config
from server.listener import warn_if_exposed
from tests.server.fakes import config_message, eventually, frame_message, request
from tests.server.serving import Serve, Served, new_app

NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
SERVING = health_pb2.HealthCheckResponse.SERVING


async def health(channel: grpc.aio.Channel) -> int:
    reply = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
    return int(reply.status)


async def refusal(served: Served) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await served.removal.Remove(request())
    return caught.value


async def test_a_constructor_only_builds(model_dir: Path) -> None:
    app, registry = new_app(model_dir)
    assert registry.loads == []
    assert app.port == 0


async def test_health_is_not_serving_until_the_first_model_is_warm(model_dir: Path) -> None:
    app, registry = new_app(model_dir)
    registry.may_load.clear()
    starting = asyncio.create_task(app.start())
    await eventually(lambda: registry.loads == ["tiny"], "the model loads")
    async with grpc.aio.insecure_channel(f"127.0.0.1:{app.port}") as channel:
        assert await health(channel) == NOT_SERVING
        stub = removal_pb2_grpc.BackgroundRemovalServiceStub(channel)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.Remove(request())
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        assert "'tiny' is loading" in str(caught.value.details())
        registry.may_load.set()
        await starting
        assert await health(channel) == SERVING
    await app.stop()


async def test_draining_refuses_new_work_and_finishes_what_is_under_way(served: Served) -> None:
    engine = served.registry.engines["tiny"]
    engine.open.clear()
    working = served.removal.Remove(request())
    await eventually(lambda: engine.running == 1, "an image runs")
    draining = asyncio.create_task(served.app.drain())
    await eventually(lambda: not served.app.gate.is_open, "the gate is closed")
    error = await refusal(served)
    assert error.code() is grpc.StatusCode.UNAVAILABLE
    assert str(error.details()).startswith("the server is shutting down")
    assert await health(served.channel) == NOT_SERVING
    engine.open.set()
    assert (await working).result.width == 96
    assert await draining is True


async def test_a_stream_may_finish_while_the_server_drains(served: Served) -> None:
    stream = served.removal.RemoveStream()
    await stream.write(config_message())
    await stream.read()
    draining = asyncio.create_task(served.app.drain())
    await eventually(lambda: not served.app.gate.is_open, "the gate is closed")
    for frame_id in range(3):
        await stream.write(frame_message(frame_id))
    await stream.done_writing()
    assert [(await stream.read()).frame.frame_id for _ in range(3)] == [0, 1, 2]
    assert await stream.code() is grpc.StatusCode.OK
    assert await draining is True


async def test_a_stream_without_an_end_gets_its_answers_and_is_told_to_go_elsewhere(
    serve: Serve,
) -> None:
    async with serve(drain_s=0.4) as served:
        stream = served.removal.RemoveStream()
        await stream.write(config_message())
        await stream.write(frame_message(1))
        await stream.read()
        assert (await stream.read()).frame.frame_id == 1
        assert await served.app.drain() is True
        assert await stream.code() is grpc.StatusCode.UNAVAILABLE
        assert "shutting down: open the stream anew" in await stream.details()


async def test_work_that_outlasts_the_drain_is_cut_off(serve: Serve) -> None:
    async with serve(drain_s=0.05) as served:
        engine = served.registry.engines["tiny"]
        engine.open.clear()
        working = served.removal.Remove(request())
        await eventually(lambda: engine.running == 1, "an image runs")
        draining = asyncio.create_task(served.app.drain())
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await working
        assert caught.value.code() in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED}
        # Nothing is freed under the thread that still works.
        assert not draining.done()
        engine.open.set()
        assert await draining is False
        assert served.app.admission.images == 0


async def running_until_signal(app: App) -> asyncio.Task[int]:
    """The task of `serve_until_signal`, past its start."""
    task = asyncio.create_task(app.serve_until_signal())
    while app.port == 0 or app.host.state("tiny")[0] != "ready":
        assert not task.done(), task
        await asyncio.sleep(0.002)
    return task


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_drains_and_the_exit_code_is_zero(model_dir: Path, number: int) -> None:
    app, _ = new_app(model_dir)
    with capture_logs() as lines:
        task = await running_until_signal(app)
        os.kill(os.getpid(), number)
        assert await task == 0
    events = [line["event"] for line in lines]
    assert events == ["model loaded", "ready", "signal", "draining", "model unloading", "stopped"]


async def test_a_second_signal_stops_at_once(model_dir: Path) -> None:
    app, registry = new_app(model_dir, drain_s=3600)
    task = await running_until_signal(app)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{app.port}") as channel:
        stream = removal_pb2_grpc.BackgroundRemovalServiceStub(channel).RemoveStream()
        await stream.write(config_message())
        await stream.read()
        os.kill(os.getpid(), signal.SIGTERM)
        await eventually(lambda: not app.gate.is_open, "it drains")
        assert not task.done()
        os.kill(os.getpid(), signal.SIGTERM)
        assert await task == 1
    assert registry.loads == ["tiny"]


async def test_a_signal_while_models_load_stops_too(model_dir: Path) -> None:
    app, registry = new_app(model_dir)
    registry.may_load.clear()
    task = asyncio.create_task(app.serve_until_signal())
    await eventually(lambda: registry.loads == ["tiny"], "the model loads")
    os.kill(os.getpid(), signal.SIGTERM)
    await asyncio.sleep(0)
    registry.may_load.set()
    assert await task == 0


async def test_a_taken_port_is_said_in_a_sentence(model_dir: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        app, _ = new_app(model_dir, port=port)
        with pytest.raises(StartError, match=f"cannot listen on 127.0.0.1:{port}: is another"):
            await app.start()
        app, _ = new_app(model_dir, metrics_port=port)
        with pytest.raises(StartError, match=f"cannot show metrics on 127.0.0.1:{port}"):
            await app.start()


async def test_an_unknown_default_model_ends_the_start_with_its_own_sentence(
    model_dir: Path,
) -> None:
    app, _ = new_app(model_dir, model="tinny")
    with pytest.raises(ModelNotFound, match="'tiny'"):
        await app.start()


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_an_open_door_is_warned_of_loudly(host: str) -> None:
    # Not a server: nothing in these tests may listen on other addresses than loopback.
    with capture_logs() as lines:
        warn_if_exposed(Config(host=host))
    warnings = [line for line in lines if line["log_level"] == "warning"]
    assert len(warnings) == (host == "0.0.0.0")
    if warnings:
        assert warnings[0]["without"] == [
            "TLS (--tls-cert, --tls-key)",
            "API keys (--api-keys-file)",
        ]
