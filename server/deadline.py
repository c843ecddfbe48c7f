"""When an image's answer is no longer wanted: read on arrival, looked at before each stage.

Made by `server.services.intake` from the caller's deadline, else from the config's default.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass


class DeadlineExpired(Exception):
    """The time allowed for an image is over."""


@dataclass(frozen=True, slots=True)
class Deadline:
    """A moment on `clock`.

    Attributes:
        expires_at: the moment, in seconds of `clock`.
        allowed_s: the time that was allowed, for the sentence.
    """

    expires_at: float
    allowed_s: float
    clock: Callable[[], float] = time.monotonic

    @classmethod
    def after(cls, seconds: float, clock: Callable[[], float] = time.monotonic) -> Deadline:
        """The deadline `seconds` from now."""
        return cls(clock() + seconds, seconds, clock)

    @property
    def remaining_s(self) -> float:
        """Seconds left, 0 when it is over."""
        return max(0.0, self.expires_at - self.clock())

    @property
    def is_over(self) -> bool:
        """True from the moment on."""
        return self.clock() >= self.expires_at

    def check(self, doing: str) -> None:
        """Nothing while there is time.

        Args:
            doing: what the image was waiting for or in, for the sentence: "waiting for a worker".

        Raises:
            DeadlineExpired: there is none left.
        """
        if self.is_over:
            raise self.expired(doing)

    def expired(self, doing: str) -> DeadlineExpired:
        """The error that says where the time ran out."""
        return DeadlineExpired(
            f"the deadline of {self.allowed_s:.3g} s passed while {doing}: allow more time, or "
            "send less at once"
        )

    @asynccontextmanager
    async def enforced(self, doing: Callable[[], str]) -> AsyncIterator[None]:
        """A block that is cancelled when the time is over; it may take as long as it must to clean
        up.

        Raises:
            DeadlineExpired: the time ran out inside.
        """
        try:
            async with asyncio.timeout(self.remaining_s) as timeout:
                yield
        except TimeoutError:
            if not timeout.expired():
                raise
            raise self.expired(doing()) from None
