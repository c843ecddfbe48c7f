"""Pictures that were looked at: what a second prompt need not do again, kept while there is room.

Held by `server.subjects.prompter`. The least recently used goes first; bytes are counted, not
pictures.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mattestream.v1 import report_pb2
from models.prompts import Features

U8 = NDArray[np.uint8]
Key = tuple[object, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Looked:
    """One picture, by everything that an answer needs."""

    rgb_u8: U8  # (H, W, 3)
    matte_u8: U8  # (H, W), of all subjects
    cell_px: float | None  # pixels of the picture along one of the model's own alpha
    features: Features
    report: report_pb2.Report  # of the first look, until there

    @property
    def nbytes(self) -> int:
        """Memory that it takes."""
        return self.rgb_u8.nbytes + self.matte_u8.nbytes + self.features.nbytes


class Seen:
    """A cache with a bound in bytes. Safe to use from several threads.

    Args:
        max_bytes: 0 keeps nothing.
    """

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.bytes = 0
        self._kept: OrderedDict[Key, Looked] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._kept)

    def find(self, key: Key) -> Looked | None:
        """What was kept under `key`."""
        with self._lock:
            found = self._kept.get(key)
            if found is not None:
                self._kept.move_to_end(key)
            return found

    def keep(self, key: Key, looked: Looked) -> None:
        """Keeps it, unless it is larger than all the room there is."""
        if looked.nbytes > self.max_bytes:
            return
        with self._lock:
            self._drop(key)
            self._kept[key] = looked
            self.bytes += looked.nbytes
            while self.bytes > self.max_bytes:
                self._drop(next(iter(self._kept)))

    def clear(self) -> None:
        """Forgets everything."""
        with self._lock:
            self._kept.clear()
            self.bytes = 0

    def _drop(self, key: Key) -> None:
        gone = self._kept.pop(key, None)
        if gone is not None:
            self.bytes -= gone.nbytes
