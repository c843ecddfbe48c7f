"""Which subject is meant: `subject`. Called by `server.options.reader`."""

from __future__ import annotations

from collections.abc import Mapping

from mattestream.v1 import options_pb2
from server.option_rules import Choice, Later, Rule

RULES: Mapping[str, Rule] = {
    "subject.choice": Choice(frozenset({options_pb2.SUBJECT_CHOICE_ALL})),
    "subject.points": Later(),
    "subject.box": Later(),
    "subject.mask": Later(),
    "subject.trimap": Later(),
    "subject.region": Later(),
}
