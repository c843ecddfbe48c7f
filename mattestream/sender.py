"""The sending half of a stream of the sync client, apart from the reading half.

Sending and reading share nothing but this object: a loop that does both in turn locks up once big
frames fill both directions. Made by `mattestream.client`, one per stream.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator

from mattestream import calls
from mattestream.errors import MattestreamError, ServerError
from mattestream.picture import ImageInput
from mattestream.reply import FrameFailed, Removal
from mattestream.request import Frame
from mattestream.stream import Ledger
from mattestream.v1 import removal_pb2


class Sender:
    """The sending half of one stream, run by grpc in a thread of its own, within the window."""

    def __init__(
        self,
        config: removal_pb2.RemoveStreamRequest,
        images: Iterable[ImageInput | Frame],
        max_message_bytes: int,
    ) -> None:
        self._config = config
        self._images = images
        self._max_message_bytes = max_message_bytes
        self._bounded = config.config.delivery == removal_pb2.DELIVERY_IN_ORDER
        self._ledger = Ledger()
        self._changed = threading.Condition()  # guards all below and the ledger
        self._window = 0  # frames; 0 until the server has accepted the config
        self._stopped = False
        self._all_sent = False
        self._failure: BaseException | None = None
        self._cancel: Callable[[], object] = lambda: None

    def on_failure(self, cancel: Callable[[], object]) -> None:
        """Sets what ends the call when the caller's own iterable raises."""
        self._cancel = cancel

    def messages(self) -> Iterator[removal_pb2.RemoveStreamRequest]:
        """What grpc sends, frame by frame as the window allows."""
        yield self._config
        try:
            if not self._has_room():  # wait for the config's answer before touching the images
                return
            for image in self._images:
                message = self._next_message(image)
                # While the next is made, one in shared memory must not be held here.
                del image
                if message is not None:
                    yield message
                if not self._has_room():
                    return
            with self._changed:
                self._all_sent = True
        except Exception as error:  # raised again in the caller's loop
            with self._changed:
                self._failure = error
            self._cancel()

    def _next_message(self, image: ImageInput | Frame) -> removal_pb2.RemoveStreamRequest | None:
        """The message of one image, noted as sent; None when it failed here."""
        frame, frame_id = self._ledger.number(image)
        try:
            message = calls.frame_message(frame, frame_id, self._max_message_bytes)
        except MattestreamError as error:
            with self._changed:
                self._ledger.failed_here(frame, frame_id, error)
            return None
        with self._changed:
            self._ledger.sent(frame, frame_id)
        return message

    def _has_room(self) -> bool:
        """Waits until one more frame may be sent; False when the stream is over."""
        with self._changed:
            self._changed.wait_for(
                lambda: (
                    self._stopped
                    or (self._window and not self._bounded)
                    or self._ledger.in_flight < self._window
                )
            )
            return not self._stopped

    def receive(self, message: removal_pb2.RemoveStreamResponse) -> list[Removal | FrameFailed]:
        """What an answer means for the caller; opens the window again."""
        with self._changed:
            if message.HasField("started"):
                self._window = max(message.started.window, 1)
                self._changed.notify_all()
                return []
            items = self._ledger.settle(message.frame)
            self._changed.notify_all()
            return items

    def raise_own_failure(self) -> None:
        """Raises what the caller's iterable raised, if it did."""
        with self._changed:
            if self._failure is not None:
                raise self._failure

    def end(self) -> list[FrameFailed]:
        """Local failures after the last answer.

        Raises:
            ServerError: the server ended the stream early.
        """
        self.raise_own_failure()
        with self._changed:
            if not self._all_sent:
                raise ServerError("the server ended the stream before it had all frames")
            return self._ledger.rest()

    def stop(self) -> None:
        """Lets the sending thread go."""
        with self._changed:
            self._stopped = True
            self._ledger.forget()
            self._changed.notify_all()
