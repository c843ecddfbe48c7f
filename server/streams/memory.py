"""What a stream remembers from frame to frame: the alpha it showed, and a recurrent model's states.

Made by `server.streams.session`, one per stream that needs one; `server.remover` keeps its frames
in order, and `server.host_pipeline` reads and writes it within a run. On a GPU what is remembered
lies there, and this holds on to it: see `server.device_streams`. A stream that breaks leaves it to
`server.streams.parked`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from kernels.cpu.resize import resize
from kernels.cpu.temporal_blend import is_cut, luma_of_plane, temporal_blend
from models.manifest import Input
from models.states import States
from server.streams.turns import Turns

F32 = NDArray[np.float32]
U8 = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Seen:
    """A frame as the memory sees it."""

    luma: U8  # (h, w) of the model's plane
    size: tuple[int, int]  # columns and rows of the source
    follows: bool  # it has the size of the frame before and shows the same scene


class KeptThere(Protocol):
    """What a device keeps of a stream."""

    @property
    def nbytes(self) -> int:
        """Device memory that it holds."""

    @property
    def is_freed(self) -> bool:
        """True when nothing is left of it."""

    def free(self) -> None:
        """Gives the memory back; blocks until the device has done what it is at."""


class StreamMemory:
    """The state of one stream.

    Args:
        smooth: weight of the alpha before where nothing moves, 0..0.95; 0: alphas are not kept.

    Attributes:
        there: what a device keeps of the stream; None on a CPU, and before the first frame.
        home: the `server.replica.Replica` that its frames go to: what it keeps lies there.
        screen: colour of the screen that its frames are keyed on, R G B 0..255, once one was found.
    """

    def __init__(self, smooth: float = 0.0) -> None:
        self.smooth = smooth
        self.there: KeptThere | None = None
        self.home: object = None
        self.screen: tuple[float, float, float] | None = None
        self._seen: Seen | None = None
        self._alpha: F32 | None = None  # as shown; kept for `smooth` alone
        self._states: States | None = None
        self.begin_again()

    def begin_again(self) -> None:
        """Frames of another connection follow: their tickets start at 0."""
        self._entry, self._run = Turns(), Turns()

    @property
    def nbytes(self) -> int:
        """Bytes of all that is kept."""
        states = sum(state.nbytes for state in (self._states or {}).values())
        alpha = 0 if self._alpha is None else self._alpha.nbytes
        there = 0 if self.there is None else self.there.nbytes
        return states + alpha + there + (0 if self._seen is None else self._seen.luma.nbytes)

    @property
    def is_whole(self) -> bool:
        """False when a device has lost or freed what it kept of the stream."""
        return self.there is None or not self.there.is_freed

    def end(self) -> None:
        """Nothing goes on with it: what a device keeps is freed, off the event loop."""
        if self.there is not None:
            asyncio.get_running_loop().run_in_executor(None, self.there.free)

    @asynccontextmanager
    async def entering(self, ticket: int) -> AsyncIterator[None]:
        """A block that frames of the stream pass in order: asking for room. A later frame that got
        the last room would wait for an earlier one, and that one for room.
        """
        async with self._entry.turn(ticket):
            yield

    @asynccontextmanager
    async def running(self, ticket: int) -> AsyncIterator[None]:
        """A block that one frame at a time is in, in order: the model's run."""
        async with self._run.turn(ticket):
            yield

    def leave(self, ticket: int) -> None:
        """The frame is answered, whatever came of it."""
        self._entry.end(ticket)
        self._run.end(ticket)

    def look_at(self, tensor: F32, plane: Input, size: tuple[int, int]) -> Seen:
        """How the frame stands to the one before; nothing is remembered yet.

        Args:
            tensor: the frame, prepared for the model: (1, 3, h, w) or (1, h, w, 3).
            plane: how it was prepared.
            size: columns and rows of the source.
        """
        luma = luma_of_plane(
            tensor, plane.mean, plane.std, layout=plane.layout, channels=plane.channels
        )
        before = self._seen
        follows = (
            before is not None
            and before.size == size
            and before.luma.shape == luma.shape
            and not is_cut(luma, before.luma)
        )
        return Seen(luma, size, follows)

    def states_for(self, seen: Seen) -> States | None:
        """States to run the frame with; None: the model's first ones."""
        return self._states if seen.follows else None

    def remember(self, seen: Seen, alpha: F32, states: States | None = None) -> F32:
        """The alpha to show, (h, w) float32 in [0, 1]; what was seen is now the frame before.

        Args:
            seen: from `look_at`.
            alpha: (h, w) in [0, 1], the model's.
            states: what a recurrent model handed on.
        """
        before, shown = self._seen, alpha
        if self.smooth and seen.follows and before is not None and self._alpha is not None:
            height, width = alpha.shape
            now = resize(seen.luma, width, height)
            then = resize(before.luma, width, height)
            shown = temporal_blend(alpha, self._alpha, now, then, self.smooth)
        self._seen, self._states = seen, states
        self._alpha = shown if self.smooth else None
        return shown
