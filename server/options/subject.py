"""Which subject is meant: `subject`. Called by `server.options.reader` and for `Segment`."""

from __future__ import annotations

import math
from collections.abc import Mapping

from mattestream.v1 import options_pb2
from server.option_rules import Built, Choice, InvalidOption, Rule, shown
from server.options.source import read_source
from server.subjects.mask import Mask
from server.subjects.wish import Frame, Place, Wish
from server.trimap import Trimap

MOST_POINTS = 64
_CHOICES = frozenset({options_pb2.SUBJECT_CHOICE_ALL, options_pb2.SUBJECT_CHOICE_LARGEST})

RULES: Mapping[str, Rule] = {
    "subject.choice": Choice(_CHOICES),
    "subject.points": Built(),
    "subject.box": Built(),
    "subject.mask": Built(),
    "subject.trimap": Built(),
    "subject.region": Built(),
}


def read_wish(message: options_pb2.Subject, *, stream: bool) -> Wish | None:
    """Which subject is wanted; None for all of them. Whether its places lie in the picture is seen
    later, by `Wish.check`.

    Raises:
        InvalidOption: it contradicts itself, says nothing that is wanted, or is for single images.
    """
    if message.choice and message.choice not in _CHOICES:
        raise InvalidOption(
            f"option subject.choice is {shown(message, 'choice')}: it must be one of "
            "SUBJECT_CHOICE_ALL, SUBJECT_CHOICE_LARGEST"
        )
    wish = Wish(
        points=_points(message),
        box=_frame("box", message.box) if message.HasField("box") else None,
        mask=_mask(message),
        region=_frame("region", message.region) if message.HasField("region") else None,
        is_largest=message.choice == options_pb2.SUBJECT_CHOICE_LARGEST,
    )
    if stream and wish.has_prompts:
        raise InvalidOption(
            "option subject.points, subject.box and subject.mask are for a single image, by Remove "
            "or Segment: the frames of a stream move, leave them unset"
        )
    return None if wish == Wish() else wish


def read_trimap(message: options_pb2.Subject, *, stream: bool) -> Trimap | None:
    """The caller's trimap, not decoded yet.

    Raises:
        InvalidOption: it is for frames that move, or empty.
    """
    if not message.HasField("trimap"):
        return None
    if stream:
        raise InvalidOption(
            "option subject.trimap is for a single image, by Remove: the frames of a stream move, "
            "leave it unset"
        )
    return Trimap(read_source(message.trimap, "option subject.trimap"))


def _points(message: options_pb2.Subject) -> tuple[Place, ...]:
    if len(message.points) > MOST_POINTS:
        raise InvalidOption(
            f"option subject.points has {len(message.points)} points: give up to {MOST_POINTS}"
        )
    points = tuple(Place(point.x, point.y, point.exclude) for point in message.points)
    if not all(math.isfinite(place.x) and math.isfinite(place.y) for place in points):
        raise InvalidOption("option subject.points has a place that is no number: give pixels")
    others = message.HasField("box") or message.HasField("mask")
    if points and all(place.exclude for place in points) and not others:
        raise InvalidOption(
            "option subject.points has only places that are not wanted: add a point on the "
            "subject, a box or a mask"
        )
    return points


def _frame(name: str, box: options_pb2.Box) -> Frame:
    frame = Frame(box.left, box.top, box.right, box.bottom)
    if not all(map(math.isfinite, frame)) or not (
        frame.left < frame.right and frame.top < frame.bottom
    ):
        raise InvalidOption(
            f"option subject.{name} is ({frame.left:g}, {frame.top:g}) to ({frame.right:g}, "
            f"{frame.bottom:g}): left must be less than right, and top less than bottom"
        )
    return frame


def _mask(message: options_pb2.Subject) -> Mask | None:
    if not message.HasField("mask"):
        return None
    return Mask(read_source(message.mask, "option subject.mask"))
