"""Which subject is meant: `subject`. Called by `server.options.reader`."""

from __future__ import annotations

from collections.abc import Mapping

from mattestream.v1 import options_pb2
from server.option_rules import Built, Choice, InvalidOption, Later, Rule
from server.options.source import read_source
from server.trimap import Trimap

RULES: Mapping[str, Rule] = {
    "subject.choice": Choice(frozenset({options_pb2.SUBJECT_CHOICE_ALL})),
    "subject.points": Later(),
    "subject.box": Later(),
    "subject.mask": Later(),
    "subject.trimap": Built(),
    "subject.region": Later(),
}


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
