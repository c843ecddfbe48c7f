"""What waits for a worker or for the model, in the order in which it is served.

Used by `server.workers` and `server.batcher`. Higher priorities go first. Within one, callers take
turns, so that one with many images waiting does not push out one with a single image; among the
callers whose turn it is, and among the images of one caller, the earliest deadline goes first.

The turns are start-time fair queueing with images of equal cost: an image's round is the one after
its caller's last, but never behind the round that is being served (Goyal, Vin, Cheng, 1996).
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import IntEnum
from itertools import count
from typing import Generic, TypeVar

from server.option_rules import InvalidOption

Item = TypeVar("Item")

PRIORITY = "mattestream-priority"  # metadata of a call, for all its images


class Priority(IntEnum):
    """How urgent a caller says its work is; the smaller goes first."""

    HIGH = 0
    NORMAL = 1
    LOW = 2


@dataclass(frozen=True, slots=True)
class Place:
    """What decides when an image is served."""

    caller: str = ""  # who shares one turn: a connection, an API key, or a stream
    priority: Priority = Priority.NORMAL
    expires_at: float = math.inf  # seconds of the deadlines' clock


def read_priority(metadata: Iterable[tuple[str, str | bytes]]) -> Priority:
    """The priority that a call's metadata asks for, NORMAL when it does not.

    Raises:
        InvalidOption: it asks for one that is not known.
    """
    for name, value in metadata:
        if name == PRIORITY:
            text = value if isinstance(value, str) else value.decode("ascii", "replace")
            try:
                return Priority[text.upper()]
            except KeyError:
                known = ", ".join(each.name.lower() for each in Priority)
                raise InvalidOption(
                    f"metadata {PRIORITY} is {text[:40]!r}: it must be one of {known}"
                ) from None
    return Priority.NORMAL


@dataclass(slots=True)
class _Line(Generic[Item]):
    """The images of one caller."""

    round: int
    waiting: list[tuple[float, int, Item]] = field(default_factory=list)  # a heap

    @property
    def rank(self) -> tuple[int, float, int]:
        expires_at, number, _ = self.waiting[0]
        return self.round, expires_at, number


@dataclass(slots=True)
class _Level(Generic[Item]):
    """The callers of one priority."""

    round: int = 0  # being served
    lines: dict[str, _Line[Item]] = field(default_factory=dict)
    served: set[str] = field(default_factory=set)  # in this round, and none of theirs waits


class FairQueue(Generic[Item]):
    """Items in the order in which they are served. Not thread-safe; bound by who fills it."""

    def __init__(self) -> None:
        self._levels: tuple[_Level[Item], ...] = tuple(_Level() for _ in Priority)
        self._numbers = count()  # of equal deadlines, the first come goes first
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def push(self, item: Item, place: Place) -> None:
        """Puts `item` in."""
        level = self._levels[place.priority]
        line = level.lines.get(place.caller)
        if line is None:
            line = _Line(level.round + (place.caller in level.served))
            level.lines[place.caller] = line
        heapq.heappush(line.waiting, (place.expires_at, next(self._numbers), item))
        self._length += 1

    def pop(self) -> Item:
        """Takes the next one out.

        Raises:
            IndexError: there is none.
        """
        for level in self._levels:
            if level.lines:
                break
        else:
            raise IndexError("the queue is empty")
        caller, line = min(level.lines.items(), key=lambda entry: entry[1].rank)
        if line.round > level.round:
            level.round = line.round
            level.served.clear()
        _, _, item = heapq.heappop(line.waiting)
        self._length -= 1
        line.round += 1
        if not line.waiting:
            del level.lines[caller]
            level.served.add(caller)
        return item

    def remove(self, item: Item, place: Place) -> None:
        """Takes `item` out wherever it is; its caller's turn is not used up.

        Raises:
            KeyError: it is not there.
        """
        level = self._levels[place.priority]
        line = level.lines[place.caller]
        left = [entry for entry in line.waiting if entry[2] is not item]
        if len(left) == len(line.waiting):
            raise KeyError(place.caller)
        self._length -= 1
        if left:
            heapq.heapify(left)
            line.waiting = left
        else:
            del level.lines[place.caller]
            if line.round > level.round:
                level.served.add(place.caller)
