"""The subject's colours: `foreground`. Called by `server.options.reader`."""

from __future__ import annotations

from collections.abc import Mapping

from mattestream.v1 import options_pb2
from server.job import Despill, Output
from server.option_rules import Choice, InvalidOption, Number, Rule

_DESPILLS = {
    options_pb2.DESPILL_GREEN: Despill.GREEN,
    options_pb2.DESPILL_BLUE: Despill.BLUE,
}

RULES: Mapping[str, Rule] = {
    "foreground.decontaminate": Number(0, 1, neutral=0, is_built=True),
    "foreground.despill": Choice(frozenset(_DESPILLS)),
}


def read_decontaminate(message: options_pb2.Foreground) -> float | None:
    """The strength, 0..1; None where the caller leaves the choice."""
    return message.decontaminate if message.HasField("decontaminate") else None


def read_despill(message: options_pb2.Foreground) -> Despill | None:
    """The screen whose cast is removed."""
    return _DESPILLS.get(message.despill)


def refuse(message: options_pb2.Foreground, output: Output) -> None:
    """What treats colours makes no sense where there are none.

    Raises:
        InvalidOption: something of it is asked for.
    """
    for name, value in (("decontaminate", message.decontaminate), ("despill", message.despill)):
        if value:
            raise InvalidOption(
                f"option foreground.{name} is set, but the output is {output}, which has no "
                "colours: choose OUTPUT_CUTOUT or OUTPUT_COMPOSITE, or leave it unset"
            )
