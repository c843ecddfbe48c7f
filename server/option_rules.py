"""The rule of each option: which values are allowed, which are built, which ask for nothing.

`server.options` walks a request's fields along this table. `docs/protocol.md` tells callers the
same in words.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from mattestream import __version__
from mattestream.v1 import options_pb2


class InvalidOption(Exception):
    """A value, or a combination of values, that makes no sense."""


class NotBuilt(Exception):
    """An option or a method that a later version will have."""


@dataclass(frozen=True, slots=True)
class Built:
    """Works; `server.options` reads it and checks what there is to check."""


@dataclass(frozen=True, slots=True)
class Later:
    """Not built: any value is refused by name."""


@dataclass(frozen=True, slots=True)
class Choice:
    """An enum of which the values in `built` work."""

    built: frozenset[int]

    def check(self, path: str, value: int, field: FieldDescriptor) -> None:
        """Nothing when `value` works.

        Raises:
            InvalidOption: the enum has no such value.
            NotBuilt: it has, but it is not built.
        """
        assert field.enum_type is not None
        values = field.enum_type.values_by_number
        works = ", ".join(values[number].name for number in sorted(self.built))
        if value not in values:
            raise InvalidOption(f"option {path} is {value}: it must be one of {works}")
        if value not in self.built and value != 0:
            raise NotBuilt(
                f"option {path} {values[value].name} is not built yet in this server "
                f"({__version__}): "
                f"use {works}, or leave it unset"
            )


@dataclass(frozen=True, slots=True)
class Number:
    """A number in a range; `neutral` is the one that asks for nothing, None when none does."""

    low: float
    high: float
    neutral: float | None = None
    is_built: bool = False

    def check(self, path: str, value: float) -> None:
        """Nothing when `value` works.

        Raises:
            InvalidOption: it is outside the range, or no number.
            NotBuilt: it is allowed, but not built.
        """
        if math.isnan(value) or not self.low <= value <= self.high:
            raise InvalidOption(
                f"option {path} is {value:g}: it must be from {self.low:g} to {self.high:g}"
            )
        if not self.is_built and value != self.neutral:
            raise NotBuilt(
                f"option {path} is not built yet in this server ({__version__}): leave it unset"
            )


Rule = Built | Later | Choice | Number

_UINT32_MAX = 2**32 - 1
_ANY = Number(-math.inf, math.inf)
_SHARE = Number(0, 1)

# One line per field, by path. A message without a line is walked into; a field without a line is
# refused.
RULES: Mapping[str, Rule] = {
    "model": Built(),
    "output": Choice(
        frozenset(
            {options_pb2.OUTPUT_CUTOUT, options_pb2.OUTPUT_ALPHA, options_pb2.OUTPUT_COMPOSITE}
        )
    ),
    "format": Choice(frozenset(range(1, 7))),  # all six
    "quality": Number(1, 100, is_built=True),
    "edges.refine": Choice(frozenset({options_pb2.REFINE_OFF, options_pb2.REFINE_FAST})),
    "edges.feather_px": Number(0, 100, neutral=0, is_built=True),
    "edges.shift_px": Number(-100, 100, neutral=0, is_built=True),
    "edges.threshold": Number(0, 1, is_built=True),
    "edges.black_level": Number(0, 1, neutral=0, is_built=True),
    "edges.white_level": Number(0, 1, neutral=1, is_built=True),
    "edges.remove_specks_px": Number(0, _UINT32_MAX, neutral=0, is_built=True),
    "edges.fill_holes_px": Number(0, _UINT32_MAX, neutral=0, is_built=True),
    "foreground.decontaminate": Number(0, 1, neutral=0, is_built=True),
    "foreground.despill": Choice(frozenset({options_pb2.DESPILL_GREEN, options_pb2.DESPILL_BLUE})),
    "background.color": Built(),
    "background.image": Later(),
    "background.blur": Later(),
    "background.inpaint": Later(),
    "crop": Later(),  # an empty crop asks for a cut to the subject
    "subject.choice": Choice(frozenset({options_pb2.SUBJECT_CHOICE_ALL})),
    "subject.points": Later(),
    "subject.box": Later(),
    "subject.mask": Later(),
    "subject.trimap": Later(),
    "subject.region": Later(),
    "shadow.kind": Choice(frozenset()),
    "shadow.opacity": _SHARE,
    "shadow.blur_px": Number(0, 200),
    "shadow.offset_x_px": _ANY,
    "shadow.offset_y_px": _ANY,
    "tensor": Later(),
    "temporal.smooth": Number(0, 0.95, neutral=0),
    "keep_metadata": Built(),
    "shared_memory_output": Later(),
}


def shown(message: Message, field_name: str) -> str:
    """An enum field's value by name, or as a number when the enum has none."""
    value: int = getattr(message, field_name)
    kind = message.DESCRIPTOR.fields_by_name[field_name].enum_type
    assert kind is not None
    known = kind.values_by_number.get(value)
    return str(value) if known is None else known.name
