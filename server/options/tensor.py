"""A result as a model-ready array: `tensor`. Called by `server.options.reader`."""

from __future__ import annotations

from collections.abc import Mapping

from server.option_rules import Later, Rule

RULES: Mapping[str, Rule] = {"tensor": Later()}
