"""Keying on a screen's colour: `chroma_key`. Called by `server.options.reader`."""

from __future__ import annotations

from collections.abc import Mapping

from server.option_rules import Later, Rule

RULES: Mapping[str, Rule] = {
    "chroma_key": Later(),  # an empty one asks for the model `chroma-key`
}
