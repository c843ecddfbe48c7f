"""The alpha's edge: `edges`. Called by `server.options.reader`."""

from __future__ import annotations

from collections.abc import Mapping

from mattestream.v1 import options_pb2
from server.job import Edges, Refine
from server.option_rules import UINT32_MAX, Choice, InvalidOption, Number, Rule

_REFINES = {
    options_pb2.REFINE_OFF: Refine.OFF,
    options_pb2.REFINE_FAST: Refine.FAST,
    options_pb2.REFINE_BEST: Refine.BEST,
}

RULES: Mapping[str, Rule] = {
    "edges.refine": Choice(frozenset(_REFINES)),
    "edges.feather_px": Number(0, 100, neutral=0, is_built=True),
    "edges.shift_px": Number(-100, 100, neutral=0, is_built=True),
    "edges.threshold": Number(0, 1, is_built=True),
    "edges.black_level": Number(0, 1, neutral=0, is_built=True),
    "edges.white_level": Number(0, 1, neutral=1, is_built=True),
    "edges.remove_specks_px": Number(0, UINT32_MAX, neutral=0, is_built=True),
    "edges.fill_holes_px": Number(0, UINT32_MAX, neutral=0, is_built=True),
}


def read_refine(message: options_pb2.Edges) -> Refine | None:
    """The refinement; None where the caller leaves the choice."""
    return _REFINES.get(message.refine)


def read_edges(message: options_pb2.Edges) -> Edges:
    """What is done to the edge after the refinement.

    Raises:
        InvalidOption: the levels contradict each other.
    """
    white = message.white_level if message.HasField("white_level") else 1.0
    if message.black_level >= white:
        raise InvalidOption(
            f"option edges.black_level is {message.black_level:g} and edges.white_level "
            f"{white:g}: the black level must be less than the white level"
        )
    return Edges(
        black_level=message.black_level,
        white_level=white,
        threshold=message.threshold if message.HasField("threshold") else None,
        remove_specks_px=message.remove_specks_px,
        fill_holes_px=message.fill_holes_px,
        shift_px=message.shift_px,
        feather_px=message.feather_px,
    )
