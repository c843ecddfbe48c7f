"""Streams by their resume_id: which are open, and what those that ended left behind.

Used by `server.services.streams`; lives on the event loop. A name belongs to the API key that came
with it: another caller's stream of the same name is another stream. What was left is kept for a
while and within a number of bytes; when they run out, the oldest goes first.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

from server.streams.session import Session

Name = tuple[str, str]  # the owner, the resume_id

TAKE_OVER_S = 5.0  # for the runs of the older stream to end


@dataclass(slots=True, eq=False)
class Open:
    """A stream that is open under a name.

    Attributes:
        end: makes it end, as taken over.
        ended: set when nothing of it touches its session any more.
    """

    end: Callable[[], object]
    ended: asyncio.Event = field(default_factory=asyncio.Event)


class Parked:
    """See the module.

    Args:
        keep_s: how long what was left is kept; 0: not at all.
        max_streams: how many are kept.
        max_bytes: that these may take.
    """

    def __init__(
        self,
        keep_s: float,
        max_streams: int,
        max_bytes: int,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.keep_s = keep_s
        self._max_streams = max_streams
        self._max_bytes = max_bytes
        self._clock = clock
        self._open: dict[Name, Open] = {}
        self._left: OrderedDict[Name, tuple[float, Session]] = OrderedDict()  # by age

    def __len__(self) -> int:
        self._forget()
        return len(self._left)

    @property
    def nbytes(self) -> int:
        """Bytes of all that is kept."""
        return sum(session.nbytes for _, session in self._left.values())

    async def enter(self, name: Name, end: Callable[[], object]) -> tuple[Open, Session | None]:
        """Opens a stream under `name`: an older one that is open ends; and what is left of it.

        Args:
            name: the owner and the resume_id.
            end: makes the new stream end, when one comes that is newer still.
        """
        mine = Open(end)
        older, self._open[name] = self._open.get(name), mine
        if older is not None:
            older.end()
            try:
                async with asyncio.timeout(TAKE_OVER_S):
                    await older.ended.wait()
            except TimeoutError:
                return mine, None  # its frames are still in work: what they leave is not ours
        self._forget()
        left = self._left.pop(name, None)
        return mine, left[1] if left else None

    def leave(self, name: Name, mine: Open, session: Session) -> None:
        """The stream is over; a later one may go on with `session`."""
        if self._open.get(name) is mine:
            del self._open[name]
        if self.keep_s:
            self._drop(name)
            self._left[name] = (self._clock() + self.keep_s, session)
            self._forget()
            asyncio.get_running_loop().call_later(self.keep_s + 0.1, self._forget)
        else:
            session.end()
        mine.ended.set()

    def _forget(self) -> None:
        now = self._clock()
        while self._left:
            name, (expires_at, _) = next(iter(self._left.items()))
            too_many = len(self._left) > self._max_streams or self.nbytes > self._max_bytes
            if now < expires_at and not too_many:
                return
            self._drop(name)

    def _drop(self, name: Name) -> None:
        if left := self._left.pop(name, None):
            left[1].end()
