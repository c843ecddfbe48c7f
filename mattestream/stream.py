"""Which frames of a stream are on their way: the book-keeping that both clients share, without I/O.

A stream answers in order, so a deque is enough: each answer settles the oldest frame sent, after as
many older ones as the server says it skipped. Frames that failed before they were sent (a missing
file) wait in the same deque, so that the caller gets them in their place. Not thread-safe.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from mattestream.errors import MattestreamError, ServerError
from mattestream.picture import ImageInput
from mattestream.reply import FrameFailed, Removal, frame_outcome
from mattestream.request import Frame
from mattestream.shared_frame import FrameInPlace, shared_of
from mattestream.v1 import removal_pb2, report_pb2


@dataclass(frozen=True, slots=True)
class _Sent:
    """A frame on its way; one in shared memory is held until it is answered."""

    frame_id: int
    shared: FrameInPlace | None

    def answered(self) -> None:
        if self.shared is not None:
            self.shared.answered()


class Ledger:
    """Frames sent and not yet answered, oldest first."""

    def __init__(self) -> None:
        self._waiting: deque[_Sent | FrameFailed] = deque()  # FrameFailed: never sent
        self._taken = 0

    @property
    def in_flight(self) -> int:
        """Frames sent and not yet answered."""
        return sum(1 for entry in self._waiting if isinstance(entry, _Sent))

    def number(self, image: ImageInput | Frame) -> tuple[Frame, int]:
        """The next picture of the stream as a frame, and its id."""
        frame = image if isinstance(image, Frame) else Frame(image)
        frame_id = self._taken if frame.frame_id is None else frame.frame_id
        self._taken += 1
        return frame, frame_id

    def sent(self, frame: Frame, frame_id: int) -> None:
        """Notes a frame that is about to be sent."""
        shared = shared_of(frame.image)
        if shared is not None:
            shared.sent()
        self._waiting.append(_Sent(frame_id, shared))

    def failed_here(self, frame: Frame, frame_id: int, error: MattestreamError) -> None:
        """Notes a frame that cannot be sent."""
        self._waiting.append(FrameFailed(frame_id, frame.pts, error, report_pb2.Report()))

    def settle(self, message: removal_pb2.FrameResult) -> list[Removal | FrameFailed]:
        """What the caller gets on this answer: local failures before it, then the frame's outcome.

        Raises:
            ServerError: the answer is for another frame than the one whose turn it is.
        """
        items: list[Removal | FrameFailed] = []
        to_skip = message.dropped_before
        while self._waiting:
            entry = self._waiting.popleft()
            if isinstance(entry, FrameFailed):
                items.append(entry)
            elif to_skip:
                to_skip -= 1
                entry.answered()
            elif entry.frame_id == message.frame_id:
                entry.answered()
                items.append(frame_outcome(message, entry.shared))
                return items
            else:
                raise ServerError(
                    f"the server answered frame {message.frame_id}, the next one sent was "
                    f"{entry.frame_id}"
                )
        raise ServerError(f"the server answered frame {message.frame_id}, which was never sent")

    def forget(self) -> None:
        """The stream is over: nobody waits for answers, and frames in shared memory are let go."""
        self._waiting.clear()

    def rest(self) -> list[FrameFailed]:
        """Local failures after the last answer, when the stream has ended well.

        Raises:
            ServerError: frames were sent that the server did not answer.
        """
        if self.in_flight:
            raise ServerError(
                f"the server ended the stream with {self.in_flight} frames unanswered"
            )
        left = [entry for entry in self._waiting if isinstance(entry, FrameFailed)]
        self._waiting.clear()
        return left
