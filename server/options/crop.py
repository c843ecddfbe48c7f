"""Which part of the picture is shown, and how large: `crop`. Called by `server.options.reader`."""

from __future__ import annotations

from collections.abc import Mapping

from server.option_rules import Later, Rule

RULES: Mapping[str, Rule] = {
    "crop": Later(),  # an empty crop asks for a cut to the subject
}
