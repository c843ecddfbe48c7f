"""What an operator sees: the metrics' text over HTTP, one log line a call, lines in the chosen
shape.
"""

from __future__ import annotations

import asyncio
import io
import json
import logging
import urllib.request

import grpc
import pytest
import structlog
from structlog.testing import capture_logs

from server import logs
from tests.server.fakes import config_message, eventually, frame_message, request
from tests.server.serving import Serve, Served


def fetch(url: str) -> str:
    with urllib.request.urlopen(url) as reply:
        text: str = reply.read().decode()
    return text


async def test_the_metrics_are_shown_on_a_port_of_their_own(serve: Serve) -> None:
    async with serve(metrics_port=0) as served:
        await served.removal.Remove(request())
        with pytest.raises(grpc.aio.AioRpcError):
            await served.removal.Remove(request(b"bad"))
        stream = served.removal.RemoveStream()
        await stream.write(config_message())
        await stream.write(frame_message(1))
        await stream.done_writing()
        while await stream.read() is not grpc.aio.EOF:
            pass
        url = f"http://127.0.0.1:{served.app.metrics_port}/metrics"
        text = await asyncio.to_thread(fetch, url)
    for line in (
        'mattestream_requests_total{code="OK",method="Remove"} 1.0',
        'mattestream_requests_total{code="INVALID_ARGUMENT",method="Remove"} 1.0',
        'mattestream_requests_total{code="OK",method="RemoveStream"} 1.0',
        'mattestream_request_duration_seconds_count{method="Remove"} 2.0',
        'mattestream_stage_duration_seconds_count{stage="encode"} 2.0',
        'mattestream_frames_total{code="OK"} 1.0',
        'mattestream_batch_images_sum{model="tiny"} 2.0',
        'mattestream_model_loaded{model="tiny"} 1.0',
        "mattestream_open_streams 0.0",
        "mattestream_in_flight_requests 0.0",
        "mattestream_in_flight_bytes 0.0",
        "mattestream_process_resident_memory_bytes",
        "mattestream_build_info{version=",
    ):
        assert line in text


async def test_gauges_show_what_is_under_way(served: Served) -> None:
    engine = served.registry.engines["tiny"]
    engine.open.clear()
    call = served.removal.Remove(request())
    await eventually(lambda: engine.running == 1, "an image runs")
    text = served.app.metrics.text()
    assert "mattestream_in_flight_requests 1.0" in text
    engine.open.set()
    await call


async def test_the_metrics_port_is_free_again_after_the_stop(serve: Serve) -> None:
    async with serve(metrics_port=0) as served:
        port = served.app.metrics_port
    async with serve(metrics_port=port) as served:
        assert served.app.metrics_port == port


async def test_metrics_can_be_switched_off(serve: Serve) -> None:
    async with serve(metrics_port=-1) as served:
        assert served.app.metrics_port == -1


async def test_a_call_is_one_line_with_its_ids_sizes_and_times(served: Served) -> None:
    with capture_logs() as lines:
        await served.removal.Remove(request(), metadata=(("x-request-id", "abc"),))
    (line,) = lines
    assert line["event"] == "call done"
    assert (line["method"], line["code"], line["request_id"]) == ("Remove", "OK", "abc")
    assert (line["model"], line["source"], line["width"], line["height"]) == (
        "tiny",
        "jpeg",
        96,
        64,
    )
    assert line["peer"].startswith("ipv4:127.0.0.1:")
    assert line["image_bytes"] > 0
    assert line["answer_bytes"] > 0
    assert 0 <= line["infer_ms"] <= line["total_ms"]


async def test_a_refused_call_is_one_line_with_its_sentence(served: Served) -> None:
    with capture_logs() as lines:
        with pytest.raises(grpc.aio.AioRpcError):
            await served.removal.Remove(request(b""))
        await eventually(lambda: len(lines) == 1, "it is logged")
    assert lines[0]["code"] == "INVALID_ARGUMENT"
    assert "0 bytes" in lines[0]["error"]
    assert lines[0]["log_level"] == "info"


async def test_a_bug_is_logged_with_its_trace_under_the_callers_id(served: Served) -> None:
    served.registry.engines["tiny"].error = ZeroDivisionError("the reason")
    with capture_logs() as lines:
        with pytest.raises(grpc.aio.AioRpcError):
            await served.removal.Remove(request(), metadata=(("x-request-id", "bug-2"),))
        await eventually(lambda: len(lines) == 2, "both are logged")
    assert lines[0]["event"] == "internal error"
    assert lines[0]["log_level"] == "error"
    assert isinstance(lines[0]["exc_info"], ZeroDivisionError)
    assert {line["request_id"] for line in lines} == {"bug-2"}


def test_json_lines_hold_event_level_time_and_fields() -> None:
    stream = io.StringIO()
    logs.configure("json", "info", stream)
    structlog.get_logger().info("ready", port=5)
    structlog.get_logger().debug("not written")
    line = json.loads(stream.getvalue())
    assert (line["event"], line["level"], line["port"]) == ("ready", "info", 5)
    assert line["timestamp"].endswith("Z")


def test_lines_of_other_libraries_come_in_the_same_shape() -> None:
    stream = io.StringIO()
    logs.configure("json", "info", stream)
    logging.getLogger("grpc").warning("watch %s", "out")
    line = json.loads(stream.getvalue())
    assert (line["event"], line["level"]) == ("watch out", "warning")


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_a_trace_names_the_line_and_shows_no_variables(log_format: str) -> None:
    stream = io.StringIO()
    logs.configure(log_format, "info", stream)
    photo = b"fa" + b"ce"
    try:
        1 // (len(photo) - 4)
    except ZeroDivisionError as error:
        structlog.get_logger().error("internal error", exc_info=error)
    assert "test_metrics_and_logs.py" in stream.getvalue()
    assert "face" not in stream.getvalue()


def test_auto_is_json_unless_a_person_watches() -> None:
    stream = io.StringIO()
    logs.configure("auto", "info", stream)
    structlog.get_logger().info("ready")
    assert json.loads(stream.getvalue())["event"] == "ready"
