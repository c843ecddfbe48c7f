"""What a stream remembers from frame to frame: the alpha it showed, and a recurrent model's states.

Made by `server.streams.session`, one per stream that needs one; `server.remover` keeps its frames
in order, and `server.host_pipeline` reads and writes it within a run. A stream that breaks leaves
it to `server.streams.parked`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

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


class StreamMemory:
    """The state of one stream, on the host.

    Args:
        smooth: weight of the alpha before where nothing moves, 0..0.95; 0: alphas are not kept.

    Attributes:
        resets: times it began anew, by a change of size or a cut to another scene.
        screen: colour of the screen that its frames are keyed on, R G B 0..255, once one was found.
    """

    def __init__(self, smooth: float = 0.0) -> None:
        self.smooth = smooth
        self.resets = 0
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
        return states + alpha + (0 if self._seen is None else self._seen.luma.nbytes)

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
        if before is not None and not seen.follows:
            self.resets += 1
        if self.smooth and seen.follows and before is not None and self._alpha is not None:
            height, width = alpha.shape
            now = resize(seen.luma, width, height)
            then = resize(before.luma, width, height)
            shown = temporal_blend(alpha, self._alpha, now, then, self.smooth)
        self._seen, self._states = seen, states
        self._alpha = shown if self.smooth else None
        return shown
