"""Recurrent models: what a network hands on from one frame to the next.

Read by `models.manifest`, checked against the graph by `models.graph_check`, carried by
`models.recurrent`. In a manifest:

    [[states]]                        # one for each tensor that is fed back
    input = "r1i"                     # the graph's input
    output = "r1o"                    # the graph's output of the same meaning
    shape = [1, 1, 1, 1]              # of the zeros that the first frame gets

    [constants]                       # inputs that never change
    downsample_ratio = [0.375]
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.toml_reader import Table

States = Mapping[str, NDArray[Any]]  # by input name, in the graph's own types

MAX_AXES = 6
MAX_SIDE = 4096


@dataclass(frozen=True, slots=True)
class State:
    """One tensor that is fed back."""

    input: str
    output: str
    shape: tuple[int, ...]  # of the zeros that the first frame gets


def read_states(root: Table) -> tuple[State, ...]:
    """The manifest's `[[states]]`; problems are noted in `root`."""
    states = tuple(
        State(
            table.text("input"),
            table.text("output"),
            table.integers("shape", lowest=1, highest=MAX_SIDE, most=MAX_AXES),
        )
        for table in root.tables("states")
    )
    for kind in ("input", "output"):
        names = [getattr(state, kind) for state in states]
        for name in sorted({name for name in names if name and names.count(name) > 1}):
            root.problem("states", f"names the {kind} '{name}' twice: each state has its own")
    return states


def read_constants(root: Table) -> Mapping[str, tuple[float, ...]]:
    """The manifest's `[constants]`: inputs that never change, each a list of numbers."""
    return root.table("constants").number_map()


def first_states(states: tuple[State, ...], dtypes: Mapping[str, np.dtype[Any]]) -> States:
    """The zeros that the first frame of a stream gets.

    Args:
        states: of the manifest.
        dtypes: of the graph's inputs, by name.
    """
    return {state.input: np.zeros(state.shape, dtypes[state.input]) for state in states}
