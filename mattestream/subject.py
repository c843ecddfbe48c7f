"""Keywords about which subject is meant, and the messages made of them.

Called by `mattestream.treatment`, whose keywords these are a part of, and by `mattestream.request`
for `segment`. Short forms are read here, so that the command line has the same: "120,80" is a
point, "120,80,-" one on what is not wanted, "10,20,300,400" a box (left, top, right, bottom).
Whether a place lies in the picture is the server's to say.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypedDict

from mattestream.errors import InvalidRequest
from mattestream.v1 import options_pb2

Place = str | Sequence[float | bool]
Rectangle = str | Sequence[float]

NOT_WANTED = "-"


class SubjectKeywords(TypedDict, total=False):
    """Keywords of `remove` and `segment` for one subject of several; None: all of them.

    Pixels are those of the source. `points` and `box` are for single images.
    """

    points: Sequence[Place] | None  # (x, y) on the subject, or (x, y, False) on what is not wanted
    box: Rectangle | None  # (left, top, right, bottom) around the subject
    region: Rectangle | None  # (left, top, right, bottom): the rest becomes background
    largest: bool | None  # the largest connected subject only


def fill_subject(message: options_pb2.Subject, given: Mapping[str, Any]) -> None:
    """Puts what is in `given`, `SubjectKeywords` without None, into `message`.

    Raises:
        InvalidRequest: a place or a rectangle cannot be read.
    """
    for place in given.get("points", ()):
        x, y, wanted = _place(place)
        message.points.add(x=x, y=y, exclude=not wanted)
    for name in ("box", "region"):
        if name in given:
            left, top, right, bottom = _rectangle(name, given[name])
            getattr(message, name).CopyFrom(
                options_pb2.Box(left=left, top=top, right=right, bottom=bottom)
            )
    if given.get("largest"):
        message.choice = options_pb2.SUBJECT_CHOICE_LARGEST


def _place(value: Any) -> tuple[float, float, bool]:
    allowed = '(x, y), (x, y, False) for what is not wanted, or "x,y" and "x,y,-", in a list'
    parts = _parts(value)
    if len(parts) not in {2, 3}:
        raise InvalidRequest(f"points has {value!r}: give {allowed}")
    wanted = True
    if len(parts) == 3:
        if parts[2] not in {True, False, NOT_WANTED}:
            raise InvalidRequest(f"points has {value!r}: give {allowed}")
        wanted = parts[2] is True or parts[2] == 1
    return _number("points", parts[0], allowed), _number("points", parts[1], allowed), wanted


def _rectangle(name: str, value: Any) -> list[float]:
    allowed = '(left, top, right, bottom) or "left,top,right,bottom"'
    parts = _parts(value)
    if len(parts) != 4:
        raise InvalidRequest(f"{name} is {value!r}: give {allowed}")
    return [_number(name, part, allowed) for part in parts]


def _parts(value: Any) -> list[Any]:
    """What a text separated by commas, a sequence or a row of an array holds; else nothing."""
    if isinstance(value, str):
        return [part.strip() for part in value.split(",")]
    return list(value) if isinstance(value, Iterable) and not isinstance(value, bytes) else []


def _number(name: str, value: Any, allowed: str) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        raise InvalidRequest(f"{name} has {value!r}: give {allowed}") from None
