"""The order in which waiting images are served."""

from __future__ import annotations

import pytest

from server.fair_queue import FairQueue, Place, Priority, read_priority
from server.option_rules import InvalidOption


def served(queue: FairQueue[str], many: int) -> list[str]:
    return [queue.pop() for _ in range(many)]


def test_callers_take_turns_however_many_images_one_has() -> None:
    queue: FairQueue[str] = FairQueue()
    for number in range(4):
        queue.push(f"heavy{number}", Place("heavy", expires_at=1))
    queue.push("light0", Place("light", expires_at=9))
    assert served(queue, 5) == ["heavy0", "light0", "heavy1", "heavy2", "heavy3"]
    assert len(queue) == 0


def test_a_caller_that_comes_again_at_once_does_not_starve_one_that_waits() -> None:
    queue: FairQueue[str] = FairQueue()
    for number in range(3):
        queue.push(f"heavy{number}", Place("heavy", expires_at=number))
    order = []
    queue.push("quick", Place("quick", expires_at=10))
    for again in range(5):
        order.append(queue.pop())
        if order[-1] == "quick":
            queue.push("quick", Place("quick", expires_at=10 + again))
    assert order.count("quick") == 2


def test_higher_priorities_go_first() -> None:
    queue: FairQueue[str] = FairQueue()
    for priority in (Priority.LOW, Priority.NORMAL, Priority.HIGH):
        queue.push(priority.name, Place("one", priority))
    assert served(queue, 3) == ["HIGH", "NORMAL", "LOW"]


def test_the_earliest_deadline_goes_first_within_a_turn() -> None:
    queue: FairQueue[str] = FairQueue()
    for caller, expires_at in (("a", 3.0), ("b", 1.0), ("c", 2.0)):
        queue.push(caller, Place(caller, expires_at=expires_at))
    assert served(queue, 3) == ["b", "c", "a"]


def test_what_is_removed_is_not_served() -> None:
    queue: FairQueue[str] = FairQueue()
    first, second, third = names = ["a", "b", "c"]
    places = [Place("one", expires_at=number) for number in range(3)]
    for name, place in zip(names, places, strict=True):
        queue.push(name, place)
    queue.remove(second, places[1])
    assert served(queue, 2) == [first, third]
    with pytest.raises(IndexError):
        queue.pop()


def test_a_priority_that_is_not_known_is_refused_with_those_that_are() -> None:
    assert read_priority([("mattestream-priority", "high")]) is Priority.HIGH
    assert read_priority([]) is Priority.NORMAL
    with pytest.raises(InvalidOption, match="'urgent': it must be one of high, normal, low"):
        read_priority([("mattestream-priority", "urgent")])
