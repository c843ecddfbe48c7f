"""Start, drain, stop: what a load balancer, a caller and an operator see of each."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from structlog.testing import capture_logs

from mattestream.v1 import removal_pb2_grpc
from models.errors import ModelNotFound
from models.registry import Registry
from server.app import App
from server.config import Config
from server.until_signal import serve_until_signal
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
    task = asyncio.create_task(serve_until_signal(app))
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
    assert events == [
        "devices",
        "model loaded",
        "ready",
        "signal",
        "draining",
        "model unloading",
        "stopped",
    ]


async def test_a_running_server_s_own_objects_are_not_looked_through_for_garbage(
    model_dir: Path,
) -> None:
    app, _ = new_app(model_dir)
    before = gc.get_freeze_count()
    task = await running_until_signal(app)
    await eventually(lambda: gc.get_freeze_count() > before + 10_000, "what was loaded is frozen")
    os.kill(os.getpid(), signal.SIGTERM)
    assert await task == 0
    assert gc.get_freeze_count() <= before


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


async def test_a_second_signal_when_the_drain_has_just_ended_changes_nothing(
    model_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app, _ = new_app(model_dir)
    handlers: list[Callable[[], None]] = []
    loop = asyncio.get_running_loop()
    monkeypatch.setattr(
        loop, "add_signal_handler", lambda number, call, *args: handlers.append(lambda: call(*args))
    )
    drain = app.drain

    async def drain_and_be_told_again() -> bool:
        is_empty = await drain()
        handlers[0]()
        return is_empty

    monkeypatch.setattr(app, "drain", drain_and_be_told_again)
    with capture_logs() as lines:
        task = await running_until_signal(app)
        handlers[0]()
        assert await task == 0
    assert lines[-1]["event"] == "stopped"


STOPPED_EARLY = """
import os, signal, sys
from server import signals
with signals.held():
    os.kill(os.getpid(), signal.SIGTERM)
    from server import app
    from server.config import Config
    sys.exit(app.serve(Config(port=0, metrics_port=-1, http_port=0)))
"""


async def test_a_signal_before_the_handlers_are_set_ends_the_start_with_exit_code_zero() -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", STOPPED_EARLY, stderr=asyncio.subprocess.PIPE
    )
    _, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()


async def test_a_signal_while_models_load_stops_too(model_dir: Path) -> None:
    app, registry = new_app(model_dir)
    registry.may_load.clear()
    task = asyncio.create_task(serve_until_signal(app))
    await eventually(lambda: registry.loads == ["tiny"], "the model loads")
    os.kill(os.getpid(), signal.SIGTERM)
    await asyncio.sleep(0)
    registry.may_load.set()
    assert await task == 0


async def test_what_is_wrong_with_manifests_is_said_at_the_start(
    model_dir: Path, tmp_path: Path
) -> None:
    (tmp_path / "leaf.toml").write_text('name = "leaf"\n')
    registry = Registry((model_dir, tmp_path, tmp_path / "absent"), shipped_dirs=())
    config = Config(port=0, metrics_port=-1, http_port=0, model="tiny", threads=1)
    with capture_logs() as lines:
        async with App(config, registry=registry):
            pass
    warned = [line["problem"] for line in lines if line["event"] == "model problem"]
    assert warned == registry.problems()
    assert any("leaf.toml" in problem for problem in warned)
    assert any("absent: there is no such folder" in problem for problem in warned)
    with pytest.raises(
        ModelNotFound, match=r"no model 'leaf'.*; .*leaf\.toml.*absent: there is no"
    ):
        await App(replace(config, model="leaf"), registry=registry).start()


async def test_an_unknown_default_model_ends_the_start_with_its_own_sentence(
    model_dir: Path,
) -> None:
    app, _ = new_app(model_dir, model="tinny")
    with pytest.raises(ModelNotFound, match="'tiny'"):
        await app.start()
