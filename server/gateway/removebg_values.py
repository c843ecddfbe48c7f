"""The spellings of remove.bg's values: shares, lengths, margins, places. Each reader raises
ValueError with what is allowed.

Called by `server.gateway.removebg_parameters`, which knows which parameter takes which.
"""

from __future__ import annotations

import re
from typing import NamedTuple

MAX_MARGIN_PX = 500
MAX_MARGIN_PERCENT = 50
_BOOLS = {"true": True, "1": True, "false": False, "0": False}
_LENGTH = re.compile(r"(\d{1,6}(?:\.\d{1,6})?)(px|%)?")


class Length(NamedTuple):
    """A length as the caller wrote it."""

    value: float
    is_percent: bool

    def pixels(self, side: int) -> float:
        """In pixels, per cent being of `side`."""
        return self.value * side / 100 if self.is_percent else self.value


def read_bool(text: str) -> bool:
    """True for true and 1."""
    if text.lower() not in _BOOLS:
        raise ValueError("it must be true or false")
    return _BOOLS[text.lower()]


def read_opacity(text: str) -> float:
    """0..1 of a whole number of per cent."""
    if not text.isascii() or not text.isdigit() or int(text[:6]) > 100:
        raise ValueError("it must be a whole number from 0 to 100")
    return int(text) / 100


def _lengths(text: str, counts: tuple[int, ...]) -> list[Length]:
    found = [_LENGTH.fullmatch(word) for word in text.split()]
    if len(found) not in counts or not all(found):
        words = " or ".join(str(count) for count in counts)
        raise ValueError(f"it must be {words} lengths such as 30px or 10%")
    return [Length(float(match[1]), match[2] == "%") for match in found if match]


def read_margins(text: str) -> tuple[Length, Length, Length, Length]:
    """Top, right, bottom, left, of one, two or four lengths as in CSS."""
    lengths = _lengths(text, (1, 2, 4))
    for length in lengths:
        if length.value > (MAX_MARGIN_PERCENT if length.is_percent else MAX_MARGIN_PX):
            raise ValueError(f"a margin is at most {MAX_MARGIN_PX}px or {MAX_MARGIN_PERCENT}%")
    match lengths:
        case [each]:
            return each, each, each, each
        case [vertical, horizontal]:
            return vertical, horizontal, vertical, horizontal
        case _:
            top, right, bottom, left = lengths
            return top, right, bottom, left


def read_roi(text: str) -> tuple[Length, Length, Length, Length]:
    """Left, top, right, bottom."""
    left, top, right, bottom = _lengths(text, (4,))
    return left, top, right, bottom


def _percent(text: str) -> float:
    match = _LENGTH.fullmatch(text)
    if match is None or match[2] != "%" or float(match[1]) > 100:
        raise ValueError("it must be a share such as 50%, up to 100%")
    return float(match[1]) / 100


def read_scale(text: str) -> float | None:
    """0.1..1; None for original."""
    if text == "original":
        return None
    share = _percent(text)
    if share < 0.1:
        raise ValueError("it must be original, or from 10% to 100%")
    return share


def read_position(text: str) -> tuple[float, float] | None:
    """Across and down, 0..1; None for original."""
    if text == "original":
        return None
    if text == "center":
        return 0.5, 0.5
    words = text.split()
    if len(words) not in {1, 2}:
        raise ValueError("it must be original, center, one share such as 50%, or two")
    across = _percent(words[0])
    return across, _percent(words[-1])


NO_MARGIN = Length(0, False)
NO_MARGINS = (NO_MARGIN, NO_MARGIN, NO_MARGIN, NO_MARGIN)
