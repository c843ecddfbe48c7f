"""One knob of the server: its name, kind, range, default and meaning, and what it takes.

`server.config` is a table of these; flags, variables, the TOML file and the documentation are made
from them.
"""

from __future__ import annotations

import math
import re
from dataclasses import Field, dataclass, field
from pathlib import Path
from typing import Any


class ConfigError(ValueError):
    """A setting is wrong; the sentence names the key, where it came from, what was seen, what is
    allowed.
    """


@dataclass(frozen=True, slots=True)
class Key:
    """One row of the table.

    Attributes:
        name: as in the TOML file: "max_requests".
        kind: int, float, str, bool or Path.
        many: True when the value is a tuple of `kind`.
        optional: True when None (in text: the empty string) is a value.
        low, high: smallest and largest allowed number.
        choices: the allowed words, empty when any text will do.
        pattern: what a text must match as a whole, empty when any text will do.
        words: that in words: "cpu or cuda:N".
    """

    name: str
    kind: type
    default: object
    doc: str
    unit: str = ""
    low: float = -math.inf
    high: float = math.inf
    choices: tuple[str, ...] = ()
    pattern: str = ""
    words: str = ""
    many: bool = False
    optional: bool = False

    @property
    def env(self) -> str:
        """The environment variable: "MATTESTREAM_MAX_REQUESTS"."""
        return f"MATTESTREAM_{self.name.upper()}"

    @property
    def flag(self) -> str:
        """The command line flag: "--max-requests"; one that may be repeated is singular."""
        name = self.name.removesuffix("s") if self.many else self.name
        return f"--{name.replace('_', '-')}"

    @property
    def allowed(self) -> str:
        """What may be set, in words: "a whole number from 1 to 64"."""
        if self.choices:
            return "one of " + ", ".join(self.choices)
        if self.words:
            return self.words
        if self.kind is bool:
            return "true or false"
        if self.kind is int:
            return f"a whole number from {self.low:.0f} to {self.high:.0f}"
        if self.kind is float:
            return f"a number from {self.low:g} to {self.high:g}"
        word = "path" if self.kind is Path else "text"
        return f"a list of {word}s" if self.many else f"a {word}"

    def takes_text(self, text: str) -> bool:
        """True unless `choices` or `pattern` rule it out."""
        if self.choices:
            return text in self.choices
        return not self.pattern or re.fullmatch(self.pattern, text) is not None


def key(default: object, kind: type, doc: str, **rule: object) -> Any:
    """A field of `Config` that carries its rule: the fields of `Key`, by their names."""
    # dataclasses.field is typed by its default; the rule rides along in the metadata.
    return field(default=default, metadata={"kind": kind, "doc": doc, **rule})


def row_of(item: Field[Any]) -> Key:
    """The row that a field of `Config` was made with."""
    return Key(name=item.name, default=item.default, **item.metadata)


def check(key: Key, value: object, source: str) -> None:
    """Nothing when `value` is one that `key` allows.

    Args:
        key: the row of the table.
        value: of the key's kind.
        source: where it came from, as the message shall name it.

    Raises:
        ConfigError: it is not.
    """
    if value is None and key.optional:
        return
    for one in value if key.many and isinstance(value, tuple) else (value,):
        if not (_is_of_kind(one, key.kind) and key.takes_text(str(one))):
            raise ConfigError(f"{source} is {one!r}: it must be {key.allowed}")
        if key.kind is not bool and isinstance(one, int | float) and not key.low <= one <= key.high:
            unit = f" {key.unit}" if key.unit else ""
            raise ConfigError(f"{source} is {one}: it must be {key.allowed}{unit}")


def _is_of_kind(value: object, kind: type) -> bool:
    if isinstance(value, bool):
        return kind is bool
    return isinstance(value, int | float) if kind is float else isinstance(value, kind)
