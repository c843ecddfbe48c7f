"""Steadiness between frames: `temporal`. Called by `server.options.reader` and
`server.streams.config`.
"""

from __future__ import annotations

from collections.abc import Mapping

from mattestream.v1 import options_pb2
from server.option_rules import InvalidOption, Number, Rule

RULES: Mapping[str, Rule] = {"temporal.smooth": Number(0, 0.95, neutral=0, is_built=True)}


def refuse(message: options_pb2.Temporal) -> None:
    """A single image has no frame before it.

    Raises:
        InvalidOption: steadiness is asked for.
    """
    if message.smooth:
        raise InvalidOption(
            f"option temporal.smooth is {message.smooth:g}, but a single image has no frame before "
            "it: leave it unset, or send frames by RemoveStream"
        )


def read_smooth(message: options_pb2.Temporal) -> float:
    """Weight of the alpha before where nothing moves, 0..0.95."""
    return message.smooth
