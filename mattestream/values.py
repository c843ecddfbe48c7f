"""Values of keywords, checked against what a message's field can hold.

Called by `mattestream.request` and `mattestream.treatment`. Narrower ranges are the server's rules.
"""

from __future__ import annotations

import operator
from collections.abc import Mapping
from typing import Any, TypeVar

from mattestream.errors import InvalidRequest

UINT32_MAX = 2**32 - 1

_Value = TypeVar("_Value")


def choose(option: str, name: str, known: Mapping[str, _Value]) -> _Value:
    """What `name` stands for in `known`.

    Raises:
        InvalidRequest: nothing; the sentence lists the names.
    """
    try:
        return known[name]
    except (KeyError, TypeError):
        raise InvalidRequest(
            f"{option} is {name!r}, known are {', '.join(known)}: choose one of these"
        ) from None


def whole(name: str, value: int, low: int, high: int, allowed: str) -> int:
    """`value`, which may be any integer type, NumPy's too; `allowed` is for the sentence.

    Raises:
        InvalidRequest: it is no integer, or outside `low`..`high`.
    """
    try:
        number = operator.index(value)
    except TypeError:
        number = low - 1
    if not low <= number <= high:
        raise InvalidRequest(f"{name} is {value!r}: give a whole number {allowed}")
    return number


def number(name: str, value: Any) -> float:
    """`value`, which may be any type that is a number, NumPy's too, but no text.

    Raises:
        InvalidRequest: it is none.
    """
    try:
        if not isinstance(value, str | bytes):
            return float(value)
    except (TypeError, ValueError):
        pass
    raise InvalidRequest(f"{name} is {value!r}: give a number")
