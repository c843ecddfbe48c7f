"""The kinds of rules that options have: which values are allowed, which are built, which ask for
nothing.

Each group of `server.options` lists its fields with them, and `server.options.reader` walks a
request's fields along. `docs/protocol.md` tells callers the same in words.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mattestream import __version__

if TYPE_CHECKING:  # `InvalidOption` reaches into the pipeline, which runs without protobuf
    from google.protobuf.descriptor import FieldDescriptor
    from google.protobuf.message import Message


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
class Refused:
    """Makes no sense where it stands; the sentence says where it does."""

    sentence: str


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


Rule = Built | Later | Refused | Choice | Number

UINT32_MAX = 2**32 - 1


def not_built(what: str, instead: str) -> NotBuilt:
    """The refusal of something that a later version will have; `instead` says what to do."""
    return NotBuilt(f"{what} is not built yet in this server ({__version__}): {instead}")


def shown(message: Message, field_name: str) -> str:
    """An enum field's value by name, or as a number when the enum has none."""
    value: int = getattr(message, field_name)
    kind = message.DESCRIPTOR.fields_by_name[field_name].enum_type
    assert kind is not None
    known = kind.values_by_number.get(value)
    return str(value) if known is None else known.name
