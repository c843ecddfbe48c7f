"""The sending half of a stream of the async client; what `mattestream.sender` is for the sync one.

Made by `mattestream.aio`, one per stream; grpc runs `messages` in a task of its own.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable
from typing import TypeVar

from mattestream import calls
from mattestream.errors import MattestreamError, ServerError
from mattestream.picture import ImageInput
from mattestream.reply import FrameFailed, Removal
from mattestream.request import Frame
from mattestream.stream import Ledger
from mattestream.v1 import removal_pb2

Images = Iterable[ImageInput | Frame] | AsyncIterable[ImageInput | Frame]
_Item = TypeVar("_Item")


class Sender:
    """The sending half of one stream, run by grpc in a task of its own, within the window."""

    def __init__(
        self, config: removal_pb2.RemoveStreamRequest, images: Images, max_message_bytes: int
    ) -> None:
        self._config = config
        self._images = images
        self._max_message_bytes = max_message_bytes
        self._bounded = config.config.delivery == removal_pb2.DELIVERY_IN_ORDER
        self._ledger = Ledger()
        self._changed = asyncio.Condition()
        self._window = 0  # frames; 0 until the server has accepted the config
        self._all_sent = False
        self._failure: BaseException | None = None
        self._cancel: Callable[[], object] = lambda: None

    def on_failure(self, cancel: Callable[[], object]) -> None:
        """Sets what ends the call when the caller's own iterable raises."""
        self._cancel = cancel

    async def messages(self) -> AsyncIterator[removal_pb2.RemoveStreamRequest]:
        """What grpc sends, frame by frame as the window allows."""
        yield self._config
        try:
            await self._wait_for_room()  # for the config's answer, before touching the images
            async for image in _each(self._images):
                message = await self._next_message(image)
                # While the next is made, one in shared memory must not be held here or below.
                del image
                if message is not None:
                    yield message
                await self._wait_for_room()
            self._all_sent = True
        except Exception as error:  # raised again in the caller's loop
            self._failure = error
            self._cancel()

    async def _next_message(
        self, image: ImageInput | Frame
    ) -> removal_pb2.RemoveStreamRequest | None:
        """The message of one image, noted as sent; None when it failed here."""
        frame, frame_id = self._ledger.number(image)
        limit = self._max_message_bytes
        try:
            message = await off_loop(
                frame.image, lambda: calls.frame_message(frame, frame_id, limit)
            )
        except MattestreamError as error:
            self._ledger.failed_here(frame, frame_id, error)
            return None
        self._ledger.sent(frame, frame_id)
        return message

    async def _wait_for_room(self) -> None:
        async with self._changed:
            await self._changed.wait_for(
                lambda: (
                    (self._window and not self._bounded) or self._ledger.in_flight < self._window
                )
            )

    async def receive(
        self, message: removal_pb2.RemoveStreamResponse
    ) -> list[Removal | FrameFailed]:
        """What an answer means for the caller; opens the window again."""
        items: list[Removal | FrameFailed] = []
        async with self._changed:
            if message.HasField("started"):
                self._window = max(message.started.window, 1)
            else:
                items = self._ledger.settle(message.frame)
            self._changed.notify_all()
        return items

    def stop(self) -> None:
        """The stream is over; whoever still makes a frame makes it for nobody."""
        self._ledger.forget()

    def raise_own_failure(self) -> None:
        """Raises what the caller's iterable raised, if it did."""
        if self._failure is not None:
            raise self._failure

    def end(self) -> list[FrameFailed]:
        """Local failures after the last answer.

        Raises:
            ServerError: the server ended the stream early.
        """
        self.raise_own_failure()
        if not self._all_sent:
            raise ServerError("the server ended the stream before it had all frames")
        return self._ledger.rest()


async def off_loop(image: object, build: Callable[[], _Item]) -> _Item:
    """What `build` returns; in a worker thread where it reads a file, so that the loop runs on."""
    if isinstance(image, str | os.PathLike) or hasattr(image, "read"):
        return await asyncio.to_thread(build)
    return build()


async def _each(images: Images) -> AsyncIterator[ImageInput | Frame]:
    """The images one by one; a plain iterable's `next` runs in a worker thread."""
    if isinstance(images, AsyncIterable):
        async for image in images:
            yield image
            del image
        return
    if isinstance(images, list | tuple):  # cannot block
        for image in images:
            yield image
        return
    iterator = iter(images)

    def take() -> list[ImageInput | Frame]:
        # StopIteration cannot cross a thread's future, so the end is an empty list.
        for image in iterator:
            return [image]
        return []

    while taken := await asyncio.to_thread(take):
        yield taken.pop()
