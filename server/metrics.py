"""What Prometheus sees: every metric of the server in one class, and the small HTTP server that
shows them.

Made by `server.app`; each part of the server is given the methods it needs. Names are
mattestream_<thing>_<quantity>_<unit>; docs/operations.md lists them.
"""

from __future__ import annotations

import threading
from wsgiref.simple_server import WSGIServer

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Info,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
    start_http_server,
)

from mattestream import __version__
from server.admission import Admission
from server.subjects.seen import Seen

# A 1080p photo takes tens of milliseconds on a CPU and a few on a GPU; a 50 MP one a second.
_SECONDS = (
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
    10.0,
    30.0,
    60.0,
)
_BATCH = (1, 2, 4, 8, 16, 32, 64)
STAGES = ("queue", "decode", "prepare", "batch_wait", "infer", "finish", "encode")  # of one image


class Metrics:
    """All metrics, in a registry of their own so that two servers in one process do not mix."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        registry = self.registry
        ProcessCollector(namespace="mattestream", registry=registry)
        PlatformCollector(registry=registry)
        Info("mattestream_build", "Version of the server.", registry=registry).info(
            {"version": __version__}
        )
        self._requests = Counter(
            "mattestream_requests",
            "Calls that ended, by method and gRPC status.",
            ["method", "code"],
            registry=registry,
        )
        self._request_seconds = Histogram(
            "mattestream_request_duration_seconds",
            "From a call's arrival to its end.",
            ["method"],
            buckets=_SECONDS,
            registry=registry,
        )
        self._stage_seconds = Histogram(
            "mattestream_stage_duration_seconds",
            f"Time of one image in one stage: {', '.join(STAGES)}.",
            ["stage"],
            buckets=_SECONDS,
            registry=registry,
        )
        # Labels are looked up under a lock, a tenth of what a frame costs the event loop.
        self._stages = {stage: self._stage_seconds.labels(stage) for stage in STAGES}
        self._frames = Counter(
            "mattestream_frames",
            "Frames of streams that were answered, by gRPC status.",
            ["code"],
            registry=registry,
        )
        self._dropped = Counter(
            "mattestream_frames_dropped",
            "Frames of streams with DELIVERY_LATEST that newer ones overtook; counted at the "
            "stream's end.",
            registry=registry,
        )
        self._refused = Counter(
            "mattestream_refused",
            "Calls and frames refused for lack of room: requests, bytes, time, streams.",
            ["reason"],
            registry=registry,
        )
        self._batch_images = Histogram(
            "mattestream_batch_images",
            "Images in one run of a model.",
            ["model"],
            buckets=_BATCH,
            registry=registry,
        )
        self._device_runs = Counter(
            "mattestream_device_runs",
            "Runs on a GPU by how they were launched: graph (one replay) or plain (each kernel).",
            ["model", "launch"],
            registry=registry,
        )
        self._loaded = Gauge(
            "mattestream_model_loaded", "1 for a model that serves.", ["model"], registry=registry
        )
        self.streams = Gauge("mattestream_open_streams", "Streams open now.", registry=registry)

    def watch(self, admission: Admission, seen: Seen) -> None:
        """Shows who is in and what is remembered, read when the metrics are."""
        for name, text, read in (
            (
                "in_flight_requests",
                "Images admitted, waiting and running.",
                lambda: admission.images,
            ),
            ("in_flight_bytes", "Estimated memory of admitted images.", lambda: admission.bytes),
            ("seen_pictures", "Pictures kept for a second prompt.", lambda: len(seen)),
            ("seen_bytes", "Memory that they take.", lambda: seen.bytes),
            ("waiting_frames", "Stream frames waiting for room.", lambda: admission.waiting),
        ):
            Gauge(f"mattestream_{name}", text, registry=self.registry).set_function(read)

    def call_ended(self, method: str, code: str, seconds: float) -> None:
        """One call is over."""
        self._requests.labels(method, code).inc()
        self._request_seconds.labels(method).observe(seconds)

    def stage_ended(self, stage: str, ms: float) -> None:
        """One image left one stage."""
        self._stages[stage].observe(ms / 1e3)

    def frame_ended(self, code: str) -> None:
        """One frame has its answer."""
        self._frames.labels(code).inc()

    def frames_dropped(self, frames: int) -> None:
        """A stream is over that let go of so many frames."""
        self._dropped.inc(frames)

    def refused(self, reason: str) -> None:
        """One image or stream found no room."""
        self._refused.labels(reason).inc()

    def batch_ran(self, model: str, images: int) -> None:
        """A model starts a run."""
        self._batch_images.labels(model).observe(images)

    def device_ran(self, model: str, is_graph: bool) -> None:
        """A model's run was launched on a GPU."""
        self._device_runs.labels(model, "graph" if is_graph else "plain").inc()

    def model_serves(self, model: str, is_serving: bool) -> None:
        """A model came, or goes."""
        if is_serving:
            self._loaded.labels(model).set(1)
        else:
            self._loaded.remove(model)

    def text(self) -> str:
        """All metrics as Prometheus reads them."""
        return generate_latest(self.registry).decode()


class MetricsServer:
    """Shows the metrics over HTTP on a port of their own, from a thread of their own."""

    def __init__(self, metrics: Metrics, host: str, port: int) -> None:
        self._metrics = metrics
        self._host = host
        self._port = port
        self._running: tuple[WSGIServer, threading.Thread] | None = None

    @property
    def port(self) -> int:
        """The port it listens on, once started."""
        assert self._running is not None
        return int(self._running[0].server_port)

    def start(self) -> None:
        """Starts to listen.

        Raises:
            OSError: the address cannot be had.
        """
        self._running = start_http_server(
            self._port, addr=self._host, registry=self._metrics.registry
        )

    def close(self) -> None:
        """Stops listening and ends the thread; harmless when not started."""
        if self._running is None:
            return
        server, thread = self._running
        self._running = None
        server.shutdown()
        server.server_close()
        thread.join()
