"""What is put behind the subject: `background`. Called by `server.options.reader`."""

from __future__ import annotations

from collections.abc import Mapping

from mattestream.v1 import options_pb2
from server.colors import read_color
from server.job import Color, Output
from server.option_rules import Built, InvalidOption, Later, Rule

RULES: Mapping[str, Rule] = {
    "background.color": Built(),
    "background.image": Later(),
    "background.blur": Later(),
    "background.inpaint": Later(),
}


def read_background(message: options_pb2.Background, output: Output) -> Color | None:
    """What lies behind the subject; None for outputs without a background.

    Raises:
        InvalidOption: there is one and the output has no place for it, or there is none and it
            needs one; or it is no colour.
    """
    kind = message.WhichOneof("kind")
    if output is not Output.COMPOSITE:
        if kind is not None:
            raise InvalidOption(
                f"option background.{kind} is set, but the output is {output}: choose "
                "OUTPUT_COMPOSITE, or leave background unset"
            )
        return None
    if kind is None:
        raise InvalidOption(
            'OUTPUT_COMPOSITE needs a background: set background.color, for instance to "white"'
        )
    try:
        return read_color(message.color)
    except ValueError as error:
        raise InvalidOption(f"option background.color: {error}") from None
