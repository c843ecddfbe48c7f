"""What a batcher has run: how many runs of which size, and how long they took together.

Kept by `server.batcher`, read by `server.kserve.statistics`.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Runs:
    """Runs of one size."""

    count: int = 0
    seconds: float = 0.0


class BatchCounts:
    """Counts from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._by_size: dict[int, Runs] = {}

    def add(self, images: int, seconds: float) -> None:
        """One run of `images` ended well after `seconds`."""
        with self._lock:
            before = self._by_size.get(images, Runs())
            self._by_size[images] = Runs(before.count + 1, before.seconds + seconds)

    def by_size(self) -> dict[int, Runs]:
        """Runs by their number of images, as they are now."""
        with self._lock:
            return dict(self._by_size)
