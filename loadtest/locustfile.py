"""Users for Locust: a web page that loads a server, or a headless run with its own table.

    locust -f loadtest/locustfile.py --host 127.0.0.1:50051              # page on port 8089
    locust -f loadtest/locustfile.py --host 127.0.0.1:50051 --headless -u 16 -r 8 -t 60s SingleUser

Name the users to run, or none for all: SingleUser (one photo, wait, the next), MixedUser (sizes
from thumbnails to 12 megapixels, several outputs), StreamUser (a camera's JPEG frames as fast as
the window lets them), SharedMemoryUser (raw frames in shared memory, likewise). Each goes through
`mattestream.Client` without retries, so that a refusal is seen as one. Locust's callers wait for
their answers: for latencies under a given rate see `loadtest.overload`.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import repeat
from typing import Any

import grpc.experimental.gevent as grpc_gevent
from locust import User, constant, tag, task
from locust.exception import StopUser

# Locust has made the standard library's waits gevent's; gRPC's must be, before a channel is made.
grpc_gevent.init_gevent()

from loadtest.photos import PATTERNS, jpeg, load_photos, scene  # noqa: E402
from mattestream import Client, NotAllowed, SharedFrames  # noqa: E402
from mattestream.reply import FrameFailed, Removal  # noqa: E402

FRAMES_A_STREAM = 100
TIMEOUT_S = 60.0
PHOTOS = {size: [photo.data for photo in load_photos(size).photos] for size in PATTERNS}
THUMBNAIL = jpeg(scene(640, 480, 1))
PIXELS = scene(1280, 720, 2)
FRAME = jpeg(PIXELS)


class Caller(User):
    """What all users share: a connection of its own, and how a call is told to Locust."""

    abstract = True
    wait_time = constant(0)

    def on_start(self) -> None:
        """Connects."""
        self.client = Client(self.host or "127.0.0.1:50051", retries=False, timeout_s=TIMEOUT_S)
        self.sent = 0

    def on_stop(self) -> None:
        """Hangs up."""
        self.client.close()

    def timed(self, name: str, call: Callable[[], Removal]) -> None:
        """One call; its answer or its error becomes a row of Locust's table."""
        began = time.perf_counter()
        answer: Removal | None = None
        error: Exception | None = None
        try:
            answer = call()
        except Exception as caught:
            error = caught
        self.tell(name, (time.perf_counter() - began) * 1e3, answer, error)

    def tell(
        self, name: str, took_ms: float, answer: Removal | None, error: Exception | None
    ) -> None:
        """A row for Locust; an error is grouped by its kind."""
        self.environment.events.request.fire(
            request_type="gRPC",
            name=name,
            response_time=took_ms,
            response_length=len(answer.data) if answer is not None else 0,
            exception=error and f"{type(error).__name__}: {error}",
            context={},
        )

    def next_photo(self, size: str) -> bytes:
        """The next of the photos of that size."""
        self.sent += 1
        return PHOTOS[size][self.sent % len(PHOTOS[size])]


class SingleUser(Caller):
    """A 1080p photo in, a cut-out as PNG back."""

    @task
    def remove(self) -> None:
        """One photo."""
        photo = self.next_photo("1080p")
        self.timed("Remove 1080p", lambda: self.client.remove(photo))


class MixedUser(Caller):
    """Small and large pictures, cheap and dear answers, as a busy service sees them."""

    @tag("small")
    @task(6)
    def thumbnail(self) -> None:
        """The alpha of a thumbnail."""
        self.timed(
            "Remove 480p, alpha",
            lambda: self.client.remove(THUMBNAIL, output="alpha", format="raw"),
        )

    @task(6)
    def photo(self) -> None:
        """A photo on white, as a shop wants it."""
        photo = self.next_photo("1080p")
        self.timed(
            "Remove 1080p, white JPEG",
            lambda: self.client.remove(
                photo, output="composite", background="white", format="jpeg"
            ),
        )

    @tag("large")
    @task(1)
    def large(self) -> None:
        """The cut-out of 12 megapixels."""
        photo = self.next_photo("12mp")
        self.timed("Remove 12 MP", lambda: self.client.remove(photo))


class StreamingCaller(Caller):
    """A camera: frames in, alphas back; a row a frame, from its sending to its answer."""

    abstract = True

    def timed_stream(self, name: str, frames: Iterable[Any]) -> None:
        """One stream of those frames."""
        sent: deque[float] = deque()

        def as_sent() -> Iterator[Any]:
            for frame in frames:
                sent.append(time.perf_counter())
                yield frame
                del frame  # one in shared memory is held by its request alone

        try:
            for outcome in self.client.remove_stream(as_sent(), timeout_s=TIMEOUT_S):
                took_ms = (time.perf_counter() - sent.popleft()) * 1e3
                if isinstance(outcome, FrameFailed):
                    self.tell(name, took_ms, None, outcome.error)
                else:
                    self.tell(name, took_ms, outcome, None)
                del outcome  # with its pixels, where they lie in shared memory
        except Exception as error:
            self.tell(name, 0.0, None, error)


class StreamUser(StreamingCaller):
    """JPEG frames in the messages."""

    @task
    def stream(self) -> None:
        """One stream of a hundred frames."""
        self.timed_stream("RemoveStream 720p", repeat(FRAME, FRAMES_A_STREAM))


class SharedMemoryUser(StreamingCaller):
    """Raw frames in shared memory, of a server on this machine that was started with
    `--shared-memory mattestream-`; of another one this user takes its leave.
    """

    def on_start(self) -> None:
        """Connects, and sees whether the server lets it name memory."""
        super().on_start()
        try:
            with SharedFrames(64, 48, count=2) as ring:
                self.client.remove(ring.take())
        except NotAllowed as error:
            logging.warning("SharedMemoryUser sends nothing: %s", error)
            raise StopUser from None

    @task
    def stream(self) -> None:
        """One stream of a hundred frames."""
        height, width = PIXELS.shape[:2]
        with SharedFrames(width, height) as ring:
            pixels = repeat(PIXELS, FRAMES_A_STREAM)
            self.timed_stream("RemoveStream 720p, shared memory", ring.fill(pixels))
