"""Weights of an earlier run as the start of a new one, also when the new network's size differs.

`train.py --start CHECKPOINT` calls `warm_start`. Hours of training are in a checkpoint: a smaller
sibling keeps most of them by dropping the hidden channels that carry least, a larger one all of
them, since whatever it has more begins by adding nothing (Net2Net, Chen and others 2016; the zeroed
last norm is that of Goyal and others 2017).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor, nn

from models.training.network import ChannelGate, Encoder, InvertedResidual

State = dict[str, Tensor]


def warm_start(net: Encoder, checkpoint: Path) -> list[str]:
    """Fills `net` with a checkpoint's averaged weights; returns the names that found no match.

    Blocks whose hidden width shrank are pruned, the least important channels first; blocks that
    grew or are new leave the network's answers as they were. A weight whose name is unknown to the
    checkpoint, or whose shape differs for another reason, keeps its random start: its name is in
    the list.
    """
    state: State = dict(torch.load(checkpoint, map_location="cpu", weights_only=True)["average"])
    for prefix, block in residuals(net):
        if f"{prefix}project.0.weight" in state:
            narrow(state, prefix, block)
            widen(state, prefix, block)
        elif block.adds:
            insert(state, prefix, block)
    own = net.state_dict()
    missed = [name for name, value in own.items() if not fits(state.get(name), value)]
    net.load_state_dict({name: own[name] if name in missed else state[name] for name in own})
    return missed


def residuals(net: nn.Module) -> Iterator[tuple[str, InvertedResidual]]:
    """Every inverted residual of the network with the prefix of its weights' names."""
    for name, module in net.named_modules():
        if isinstance(module, InvertedResidual):
            yield f"{name}.", module


def fits(found: Tensor | None, wanted: Tensor) -> bool:
    """True when the stored tensor has the wanted shape."""
    return found is not None and found.shape == wanted.shape


def narrow(state: State, prefix: str, block: InvertedResidual) -> None:
    """Prunes the stored block to the hidden width of `block`, in place; a no-op where it fits.

    A hidden channel matters as much as its norm's scale times the weights that read it.
    """
    reads = state[f"{prefix}project.0.weight"]  # (c_out, inner, 1, 1)
    inner = block.project[0].in_channels
    if reads.shape[1] <= inner:
        return
    scale = state[f"{prefix}depthwise.1.weight"].abs()
    kept = strongest(reads.square().sum(dim=(0, 2, 3)).sqrt() * scale, inner)
    for part in ("expand", "depthwise"):
        for name in ("0.weight", "1.weight", "1.bias", "1.running_mean", "1.running_var"):
            state[f"{prefix}{part}.{name}"] = state[f"{prefix}{part}.{name}"][kept]
    state[f"{prefix}project.0.weight"] = reads[:, kept]
    if not isinstance(block.gate, ChannelGate):
        return
    down, up = f"{prefix}gate.down", f"{prefix}gate.up"
    state[f"{down}.weight"] = state[f"{down}.weight"][:, kept]
    state[f"{up}.weight"], state[f"{up}.bias"] = (
        state[f"{up}.weight"][kept],
        state[f"{up}.bias"][kept],
    )
    energy = state[f"{down}.weight"].square().sum(dim=(1, 2, 3))
    energy = energy * state[f"{up}.weight"].square().sum(dim=(0, 2, 3))
    squeezed = strongest(energy, block.gate.down.out_channels)
    state[f"{down}.weight"] = state[f"{down}.weight"][squeezed]
    state[f"{down}.bias"] = state[f"{down}.bias"][squeezed]
    state[f"{up}.weight"] = state[f"{up}.weight"][:, squeezed]


def widen(state: State, prefix: str, block: InvertedResidual) -> None:
    """Grows the stored block to the hidden width of `block`, in place; a no-op where it fits.

    The new hidden channels see the picture through the random weights of `block`, and nothing reads
    them yet: the projection and the gate's second half have zeros for them.
    """
    if state[f"{prefix}project.0.weight"].shape[1] >= block.project[0].in_channels:
        return
    for name, own in block.state_dict().items():
        found = state[f"{prefix}{name}"]
        if fits(found, own):
            continue
        grown = own.clone()
        if name == "project.0.weight" or name in ("gate.down.weight", "gate.up.weight"):
            grown[:, found.shape[1] :] = 0.0
        grown[tuple(slice(0, length) for length in found.shape)] = found
        state[f"{prefix}{name}"] = grown


def insert(state: State, prefix: str, block: InvertedResidual) -> None:
    """Adds the random weights of a new block whose last norm is zero: its input passes through."""
    for name, own in block.state_dict().items():
        grown = own.clone()
        state[f"{prefix}{name}"] = grown.zero_() if name == "project.1.weight" else grown


def strongest(importance: Tensor, count: int) -> Tensor:
    """Indices of the `count` largest values, ascending, so that order is kept."""
    return torch.sort(torch.topk(importance, count).indices).values
