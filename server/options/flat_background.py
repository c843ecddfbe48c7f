"""Drawings on flat paper: `flat_background`. Called by `server.options.reader`."""

from __future__ import annotations

from collections.abc import Mapping

from kernels.cpu.flat_background import Enclosed
from mattestream.v1 import options_pb2
from server.job import FlatBackground, FlatUse
from server.option_rules import Choice, Rule

_USES = {
    options_pb2.FLAT_BACKGROUND_USE_AUTO: FlatUse.AUTO,
    options_pb2.FLAT_BACKGROUND_USE_OFF: FlatUse.OFF,
    options_pb2.FLAT_BACKGROUND_USE_ON: FlatUse.ON,
}
_ENCLOSED: Mapping[int, Enclosed] = {
    options_pb2.ENCLOSED_PAPER_KEEP: "keep",
    options_pb2.ENCLOSED_PAPER_REMOVE: "remove",
}

RULES: Mapping[str, Rule] = {
    "flat_background.use": Choice(frozenset(_USES)),
    "flat_background.enclosed": Choice(frozenset(_ENCLOSED)),
}


def read_flat_background(message: options_pb2.FlatBackground, *, stream: bool) -> FlatBackground:
    """When the paper's colour decides, and what becomes of paper inside of the drawing.

    Frames of a stream go one way, all of them: the model's unless the caller says otherwise.
    """
    use = _USES.get(message.use, FlatUse.OFF if stream else FlatUse.AUTO)
    return FlatBackground(use, _ENCLOSED.get(message.enclosed, "auto"))
