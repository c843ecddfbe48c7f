"""What an engine on a GPU can do: run a batch that already lies in device memory.

Implemented by `models.tensorrt_engine` and `models.onnx_device_engine`, driven by
`models.device_model`. `models.engine` is its sibling for batches in host memory.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Literal, Protocol

from kernels.device import Stream

Element = Literal["fp32", "fp16"]
StateElement = Literal["fp32", "fp16", "int32", "int64"]
BYTES_OF: Mapping[StateElement, int] = {"fp32": 4, "fp16": 2, "int32": 4, "int64": 8}
StateAddresses = Sequence[tuple[int, int]]  # device addresses: read from, written to


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """A tensor without its batch axis."""

    name: str
    shape: tuple[int, ...]  # in elements, the batch axis left out
    element: Element

    @property
    def nbytes(self) -> int:
        """Bytes of one image's share."""
        return BYTES_OF[self.element] * prod(self.shape)


@dataclass(frozen=True, slots=True)
class StateSpec:
    """A tensor that a recurrent network hands from one frame of a stream to the next."""

    input: str
    output: str
    shape: tuple[int, ...]  # in elements, of one stream: all of its axes
    element: StateElement

    @property
    def nbytes(self) -> int:
        """Bytes of one stream's."""
        return BYTES_OF[self.element] * prod(self.shape)


class Binding(Protocol):
    """A network bound to fixed addresses and one batch size. Used by one thread at a time."""

    def enqueue(self, stream: Stream) -> None:
        """Queues one run on `stream`; the host does not wait.

        Raises:
            EngineFailed: the library reported an error.
        """


class DeviceEngine(Protocol):
    """A network loaded on one GPU."""

    @property
    def name(self) -> str:
        """Library and version, as in the report: "tensorrt 11.4.0.106"."""

    @property
    def device(self) -> str:
        """Where it runs, as `kernels.device.Device.name` says: "cuda:0 NVIDIA H200"."""

    @property
    def precision(self) -> str:
        """What it computes in: "fp32", "fp16"."""

    @property
    def buckets(self) -> tuple[int, ...]:
        """Batch sizes it can be bound to, ascending; a batch in between is padded."""

    @property
    def can_be_captured(self) -> bool:
        """True when `Binding.enqueue` may be recorded in a graph."""

    @property
    def input(self) -> TensorSpec:
        """What a batch is written into: (3, H, W) or (H, W, 3), as the manifest's layout says."""

    @property
    def output(self) -> TensorSpec:
        """What comes out: the axes of the manifest's output layout without N."""

    @property
    def states(self) -> tuple[StateSpec, ...]:
        """What a recurrent network is handed from frame to frame; it has the one bucket 1."""

    def bind(self, batch: int, source: int, target: int, states: StateAddresses = ()) -> Binding:
        """The network for `batch` images between two device addresses.

        Args:
            batch: one of `buckets`.
            source: address of batch x `input`, contiguous.
            target: address of batch x `output`, contiguous.
            states: of each of `states`, in their order; the two do not overlap.

        Raises:
            EngineFailed: the library refuses.
        """

    def close(self) -> None:
        """Frees what the engine holds; no binding is used any more."""
