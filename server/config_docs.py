"""The settings' table of docs/operations.md, rendered from `server.config`.

A test compares the page with it; `python -m server.config_docs docs/operations.md` brings the page
up to date.
"""

from __future__ import annotations

import sys
from pathlib import Path

from server.config import keys
from server.config_key import Key

BEGIN = "<!-- settings: written by python -m server.config_docs -->"
END = "<!-- end of settings -->"


def render() -> str:
    """The table as Markdown, one row per key, without a final newline."""
    rows = ["| key | default | allowed | meaning |", "|---|---|---|---|"]
    rows += [f"| `{key.name}` | {_default(key)} | {_allowed(key)} | {key.doc} |" for key in keys()]
    return "\n".join(rows)


def refreshed(page: str) -> str:
    """`page` with the table between its two marks replaced.

    Raises:
        ValueError: a mark is missing.
    """
    head, rest = page.split(BEGIN)
    _, tail = rest.split(END)
    return f"{head}{BEGIN}\n{render()}\n{END}{tail}"


def _default(key: Key) -> str:
    if key.default in {None, ()}:
        return "none"
    if key.kind is bool:
        return f"`{str(key.default).lower()}`"
    return f"`{key.default:g}`" if isinstance(key.default, float) else f"`{key.default}`"


def _allowed(key: Key) -> str:
    if key.choices:
        return ", ".join(f"`{choice}`" for choice in key.choices)
    if key.kind in {int, float}:
        return f"{key.low:,.10g} to {key.high:,.10g} {key.unit}".rstrip()
    return key.allowed.removeprefix("a ")


if __name__ == "__main__":
    target = Path(sys.argv[1])
    target.write_text(refreshed(target.read_text(encoding="utf-8")), encoding="utf-8")
