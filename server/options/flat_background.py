"""Drawings on flat paper: `flat_background`. Called by `server.options.reader`."""

from __future__ import annotations

from collections.abc import Mapping

from mattestream.v1 import options_pb2
from server.option_rules import Choice, Rule

RULES: Mapping[str, Rule] = {
    "flat_background.use": Choice(frozenset({options_pb2.FLAT_BACKGROUND_USE_OFF})),
    "flat_background.enclosed": Choice(frozenset()),
}
