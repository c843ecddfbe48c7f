"""Frames in, answers out: a reader and a writer with a bounded window between them.

`server.services.streams` makes one per RemoveStream call, `server.kserve.streams` one per
ModelStreamInfer call. Reader and writer are separate tasks
because a serial read-work-write loop deadlocks once the client's frames and our answers both fill
their flow-control windows. In order, a frame holds its place in the window from before it is read
until its answer is written, so a client that does not read stops us from reading. With `latest` the
reader never stops: while the window is full it keeps the newest frame alone, and counts those that
it let go of.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from server.shutdown import ShuttingDown
from server.streams.errors import StreamStalled
from server.workers import settled

Request = TypeVar("Request")
Response = TypeVar("Response")


class Held(Protocol):
    """What an answer still takes: a permit, or several."""

    def release(self) -> None:
        """Gives it back."""


@dataclass(slots=True)
class Answer(Generic[Response]):
    """A frame's finished reply, and the memory it still takes until it is written."""

    response: Response
    permit: Held | None = None

    def release(self) -> None:
        """The reply is out, or will never be."""
        if self.permit is not None:
            self.permit.release()


@dataclass(slots=True)
class _End:
    """What stands behind the last frame; with the error that ends the stream, if one does."""

    error: Exception | None = None


@dataclass(slots=True)
class _Frame(Generic[Response]):
    """A frame in work, and how many were let go of before it."""

    answer: asyncio.Task[Answer[Response]]
    dropped_before: int


class FrameStream(Generic[Request, Response]):
    """One stream after its config.

    Args:
        read: the next frame's message, None when the client is done. What it raises ends the
            stream, after the answers of the frames before.
        write: sends one reply, with how many frames were dropped before it; returns when it has
            left.
        work: the answer to a frame's message. It never fails but by cancellation: a frame's
            error is its answer.
        window: frames read and not yet answered, at most.
        stall_s: how long one reply may wait for the client to read, and how long the client may
            send nothing while no frame is in the window.
        latest: frames that newer ones have overtaken before work on them began are let go of.
    """

    def __init__(
        self,
        *,
        read: Callable[[], Awaitable[Request | None]],
        write: Callable[[Response, int], Awaitable[None]],
        work: Callable[[Request], Awaitable[Answer[Response]]],
        window: int,
        stall_s: float,
        latest: bool = False,
    ) -> None:
        self.window = window
        self.frames_read = 0
        self.frames_dropped = 0
        self.frames_answered = 0
        self.most_in_window = 0
        self._read = read
        self._write = write
        self._work = work
        self._stall_s = stall_s
        self._latest = latest
        self._places = asyncio.Semaphore(window)
        self._line: asyncio.Queue[_Frame[Response] | _End] = asyncio.Queue()  # at most window + 1
        self._newest: Request | None = None  # read, and the window is full
        self._dropped = 0  # since the last frame that was begun
        self._end: _End | None = None  # waits for the newest frame to be begun
        self._frames: set[asyncio.Task[Answer[Response]]] = (
            set()
        )  # whose answers are not written yet
        self._tasks: set[asyncio.Task[Any]] = set()
        self._reader: asyncio.Task[None] | None = None
        self._is_closing = False
        self._idling: asyncio.Timeout | None = None  # while a read is under way

    async def run(self) -> None:
        """Returns when the client is done and has all its answers. Whatever ends it, all it held is
        free then.

        Raises:
            StreamStalled, ShuttingDown, or what `read` raised: after the answers of the frames
                before.
        """
        self._reader = self._spawn(self._read_frames())
        if self._is_closing:
            self._reader.cancel()
        try:
            await self._write_answers()
        finally:
            for task in self._tasks:
                task.cancel()
            await settled(*self._tasks)
            self._drop_unwritten()

    def close_soon(self) -> None:
        """Reads no more: the frames read so far are answered, then the stream ends with
        ShuttingDown.
        """
        self._is_closing = True
        if self._reader is not None:
            self._reader.cancel()

    async def _read_frames(self) -> None:
        try:
            while True:
                if not self._latest:
                    await self._places.acquire()
                request = await self._read_in_time()
                if request is None:
                    self._ended(_End())
                    return
                self.frames_read += 1
                if self._latest:
                    self._keep_newest(request)
                else:
                    self._begin(request)
        except asyncio.CancelledError:
            if not self._is_closing:
                raise
            self._ended(
                _End(
                    ShuttingDown("the server is shutting down: open the stream anew on another one")
                )
            )
        except Exception as error:  # handed to the writer, which ends the call with it
            self._ended(_End(error))

    def _begin(self, request: Request) -> None:
        frame = self._spawn(self._work(request))
        self._frames.add(frame)
        self.most_in_window = max(self.most_in_window, len(self._frames))
        self._line.put_nowait(_Frame(frame, self._dropped))
        self._dropped = 0

    def _keep_newest(self, request: Request) -> None:
        if self._newest is not None:
            self.frames_dropped += 1
            self._dropped += 1
        self._newest = request
        self._begin_newest()

    def _begin_newest(self) -> None:
        """Begins the newest frame if there is a place for it, and then the end if it has come."""
        if self._newest is not None and len(self._frames) < self.window:
            request, self._newest = self._newest, None
            self._begin(request)
        if self._newest is None and self._end is not None:
            self._line.put_nowait(self._end)
            self._end = None

    def _ended(self, end: _End) -> None:
        self._end = end
        self._begin_newest()

    async def _read_in_time(self) -> Request | None:
        try:
            async with asyncio.timeout(None) as self._idling:
                self._watch_idling()
                return await self._read()
        except TimeoutError:
            raise StreamStalled(
                f"no frame came for {self._stall_s:g} s: end a stream that has no more to send, "
                "and open another one later"
            ) from None
        finally:
            self._idling = None

    def _watch_idling(self) -> None:
        """The client's time runs while it has nothing to wait for."""
        if self._idling is not None and not self._frames and self._newest is None:
            self._idling.reschedule(asyncio.get_running_loop().time() + self._stall_s)

    async def _write_answers(self) -> None:
        while True:
            entry = await self._line.get()
            if isinstance(entry, _End):
                if entry.error is not None:
                    raise entry.error
                return
            # Not `await entry`: a cancellation would stop here until this one frame's thread came
            # back, and the frames behind it would be worked on for nobody.
            answer = await asyncio.shield(entry.answer)
            try:
                async with asyncio.timeout(self._stall_s):
                    await self._write(answer.response, entry.dropped_before)
            except TimeoutError:
                raise StreamStalled(
                    f"no answer was read for {self._stall_s:g} s: read the stream's answers while "
                    "sending frames"
                ) from None
            answer.release()
            self._frames.discard(entry.answer)
            self.frames_answered += 1
            self._places.release()
            self._begin_newest()
            self._watch_idling()

    def _spawn(self, work: Awaitable[Any]) -> asyncio.Task[Any]:
        task = asyncio.ensure_future(work)
        assert isinstance(task, asyncio.Task)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _drop_unwritten(self) -> None:
        for frame in self._frames:
            if not frame.cancelled() and not frame.exception():
                frame.result().release()
