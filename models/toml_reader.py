"""Typed reading of one TOML table that collects a sentence for every wrong, missing or unknown key.

Called by `models.manifest`: all problems of a file come out at once, so that nobody mends a
manifest line by line.
"""

from __future__ import annotations

import difflib
import math
import re
from pathlib import Path
from typing import TypeVar

from models.errors import ManifestError

Word = TypeVar("Word", bound=str)


class Table:
    """One TOML table being read; a wrong value is noted and a stand-in comes back until `finish`
    raises.
    """

    def __init__(
        self,
        path: Path,
        values: dict[str, object],
        prefix: str = "",
        problems: list[str] | None = None,
    ) -> None:
        self._path = path
        self._values = values
        self._prefix = prefix
        self._problems = [] if problems is None else problems
        self._known: list[str] = []
        self._children: list[Table] = []
        self._any_key = False

    def has(self, key: str) -> bool:
        """True when the key is written, right or wrong."""
        return key in self._values

    def problem(self, key: str, sentence: str) -> None:
        """Notes that `key` is wrong; `sentence` goes on after the key's name."""
        self._problems.append(f"'{self._prefix}{key}' {sentence}")

    def finish(self) -> None:
        """Ends reading.

        Raises:
            ManifestError: with every problem noted in this table and its children, unknown keys
                included.
        """
        self._note_unknown_keys()
        if self._problems:
            raise ManifestError(self._path, self._problems)

    def table(self, key: str, *, required: bool = False) -> Table:
        """The table under `key`; an empty one when it is left out or wrong."""
        value = self._take(key, required=required)
        if value is not None and not isinstance(value, dict):
            self.problem(
                key, f"is {value!r}; allowed is a table: write [{self._prefix}{key}] above its keys"
            )
        values = value if isinstance(value, dict) else {}
        # A table that is absent has one sentence already; its keys need none each.
        problems = self._problems if isinstance(value, dict) or not required else []
        child = Table(self._path, values, f"{self._prefix}{key}.", problems)
        self._children.append(child)
        return child

    def text(self, key: str, *, matching: re.Pattern[str] | None = None, words: str = "") -> str:
        """The words under `key`; "" after a problem."""
        value = self._take(key, required=True)
        return self._as_text(key, value, matching, words) or ""

    def optional_text(
        self, key: str, *, matching: re.Pattern[str] | None = None, words: str = ""
    ) -> str | None:
        """The words under `key`, None when left out."""
        return self._as_text(key, self._take(key), matching, words)

    def optional_boolean(self, key: str, *, default: bool) -> bool:
        """True or false under `key`, `default` when left out."""
        return self.boolean(key) if self.has(key) else self._take(key) is None and default

    def boolean(self, key: str) -> bool:
        """True or false under `key`."""
        value = self._take(key, required=True)
        if value is not None and not isinstance(value, bool):
            self.problem(key, f"is {value!r}; allowed are true and false")
        return value is True

    def integer(self, key: str, *, lowest: int, highest: int, default: int | None = None) -> int:
        """The whole number under `key`, `default` when left out; `lowest` after a problem."""
        value = self._take(key, required=default is None)
        if value is None:
            return lowest if default is None else default
        number = self._as_integer(key, value, lowest, highest)
        return lowest if number is None else number

    def optional_integer(self, key: str, *, lowest: int, highest: int) -> int | None:
        """The whole number under `key`, None when left out."""
        value = self._take(key)
        return None if value is None else self._as_integer(key, value, lowest, highest)

    def choice(self, key: str, allowed: tuple[Word, ...], *, default: Word) -> Word:
        """One of `allowed`; `default` when left out."""
        value = self._take(key)
        if value is None:
            return default
        for word in allowed:
            if value == word:
                return word
        self.problem(key, f"is {value!r}; allowed are {', '.join(map(repr, allowed))}")
        return default

    def three_numbers(
        self, key: str, *, default: tuple[float, float, float]
    ) -> tuple[float, float, float]:
        """Three finite numbers, for R, G and B; `default` when left out."""
        value = self._take(key)
        if value is None:
            return default
        if isinstance(value, list) and len(value) == 3 and all(map(_is_finite_number, value)):
            red, green, blue = (float(number) for number in value)
            return red, green, blue
        self.problem(
            key, f"is {value!r}; allowed are three numbers for R, G and B: [0.5, 0.5, 0.5]"
        )
        return default

    def texts(self, key: str) -> tuple[str, ...]:
        """A list of words; () when left out."""
        value = self._take(key)
        if value is None:
            return ()
        if not isinstance(value, list) or not all(isinstance(word, str) for word in value):
            self.problem(key, f'is {value!r}; allowed is a list of words: ["people", "animals"]')
            return ()
        return tuple(value)

    def text_map(self) -> dict[str, str]:
        """The whole table as words to words; any key is allowed."""
        self._any_key = True
        for key, value in self._values.items():
            if not isinstance(value, str) or not value:
                self.problem(key, f"is {value!r}; allowed is the name of a tensor")
        return {key: value for key, value in self._values.items() if isinstance(value, str)}

    def tables(self, key: str) -> list[Table]:
        """The tables of a list of tables under `key`; none when it is left out or wrong."""
        value = self._take(key)
        if value is None:
            return []
        if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
            self.problem(
                key,
                f"is {value!r}; allowed is a list of tables: write [[{self._prefix}{key}]] above "
                f"each one's keys",
            )
            return []
        children = [
            Table(self._path, item, f"{self._prefix}{key}[{place}].", self._problems)
            for place, item in enumerate(value)
        ]
        self._children += children
        return children

    def integers(self, key: str, *, lowest: int, highest: int, most: int) -> tuple[int, ...]:
        """One to `most` whole numbers under `key`; () after a problem."""
        value = self._take(key, required=True)
        if value is None:
            return ()
        if (
            isinstance(value, list)
            and 0 < len(value) <= most
            and all(_is_whole(number) and lowest <= number <= highest for number in value)
        ):
            return tuple(value)
        self.problem(
            key, f"is {value!r}; allowed are 1 to {most} whole numbers from {lowest} to {highest}"
        )
        return ()

    def number_map(self) -> dict[str, tuple[float, ...]]:
        """The whole table as words to numbers; any key is allowed."""
        self._any_key = True
        numbers: dict[str, tuple[float, ...]] = {}
        for key, value in self._values.items():
            if isinstance(value, list) and value and all(map(_is_finite_number, value)):
                numbers[key] = tuple(float(number) for number in value)
            else:
                self.problem(key, f"is {value!r}; allowed is a list of numbers: [0.25]")
        return numbers

    def _take(self, key: str, *, required: bool = False) -> object:
        self._known.append(key)
        if required and key not in self._values:
            self.problem(key, "is missing")
        return self._values.get(key)

    def _as_text(
        self, key: str, value: object, matching: re.Pattern[str] | None, words: str
    ) -> str | None:
        if value is None:
            return None
        if not isinstance(value, str) or not value.strip():
            self.problem(key, f"is {value!r}; allowed is {words or 'text that is not empty'}")
            return None
        if matching is not None and not matching.fullmatch(value):
            self.problem(key, f"is {value!r}; allowed is {words}")
            return None
        return value

    def _as_integer(self, key: str, value: object, lowest: int, highest: int) -> int | None:
        # TOML's true is Python's 1, which is no number anyone meant.
        if isinstance(value, int) and not isinstance(value, bool) and lowest <= value <= highest:
            return value
        self.problem(key, f"is {value!r}; allowed are whole numbers from {lowest} to {highest}")
        return None

    def _note_unknown_keys(self) -> None:
        for child in self._children:
            child._note_unknown_keys()
        if self._any_key:
            return
        for key in self._values.keys() - set(self._known):
            near = difflib.get_close_matches(key, self._known, n=1)
            hint = f"did you mean '{near[0]}'?" if near else f"allowed are {', '.join(self._known)}"
            self.problem(key, f"is not a key of a manifest: {hint}")


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_finite_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
