"""A colour as people write it: a CSS name, or hex digits with or without '#'.

Read by `server.options`; the names are CSS's, as Pillow lists them.
"""

from __future__ import annotations

import difflib
import re

from PIL import ImageColor

from server.job import Color

_HEX = re.compile(r"#?([0-9a-fA-F]{3,4}|[0-9a-fA-F]{6}|[0-9a-fA-F]{8})")


def read_color(text: str) -> Color:
    """The colour that `text` names: "white", "transparent", "#fff", "fff8", "#ffffff", "ffffff80".

    Raises:
        ValueError: it names none; the sentence says what would.
    """
    word = text.strip().lower()
    if word == "transparent":
        return Color(0, 0, 0, 0)
    named = ImageColor.colormap.get(word)
    if isinstance(named, tuple):  # Pillow replaces a name's text once somebody asked it for it
        return Color(*named)
    digits = named or word
    match = _HEX.fullmatch(digits)
    if match is None:
        near = difflib.get_close_matches(word, ImageColor.colormap, n=1)
        guess = f" (did you mean {near[0]}?)" if near else ""
        raise ValueError(
            f"{text[:40]!r} is no colour{guess}: use a CSS name or hex of 3, 4, 6 or 8 digits"
        )
    short = match.group(1)
    if len(short) <= 4:
        short = "".join(digit * 2 for digit in short)
    return Color(*bytes.fromhex(short))
