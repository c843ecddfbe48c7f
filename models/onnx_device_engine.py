"""Runs a network with ONNX Runtime on a GPU, between addresses and on a stream that are given to
it.

Made by `models.device_loading`, driven by `models.device_model`. With the CPU provider and the
tests' device in place of a GPU, the same code binds host addresses and runs for real.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kernels.device import Device, Stream
from models import onnx_session
from models.device_engine import StateAddresses, StateElement, StateSpec, TensorSpec
from models.errors import EngineFailed, ManifestError
from models.manifest import Manifest
from models.onnx_session import CPU, CUDA, Network

ELEMENTS = {"fp32": np.float32, "fp16": np.float16, "int32": np.int32, "int64": np.int64}
_STATES: Mapping[str, StateElement] = {
    "tensor(float)": "fp32",
    "tensor(float16)": "fp16",
    "tensor(int32)": "int32",
    "tensor(int64)": "int64",
}


@dataclass(frozen=True, slots=True)
class Provider:
    """What runs the network.

    Attributes:
        name: as ONNX Runtime calls it.
        device_type: of the addresses that are bound: "cuda" or "cpu".
        index: of the device.
    """

    name: str
    device_type: str
    index: int = 0

    @classmethod
    def cuda(cls, index: int) -> Provider:
        """The GPU of that number."""
        return cls(CUDA, "cuda", index)

    @classmethod
    def host(cls) -> Provider:
        """The CPU, for a device whose memory is the host's."""
        return cls(CPU, "cpu")


class OnnxDeviceEngine:
    """A network in an ONNX Runtime session; see `models.device_engine` for the contract."""

    # Its first runs allocate and choose algorithms, and nothing documents when it is done with
    # that: recorded in a graph, such a run would be replayed on memory it gave back.
    can_be_captured = False

    def __init__(
        self,
        path: Path,
        manifest: Manifest,
        device: Device,
        stream: Stream,
        provider: Provider,
        *,
        buckets: Sequence[int],
    ) -> None:
        """Reads the weights, checks the graph and runs it once to learn its output's shape.

        Args:
            path: the ONNX file; of a recurrent network its twin, see `models.fixed_graph`.
            manifest: what it should be.
            device: where the addresses lie.
            stream: the only stream that it will run on.
            provider: what runs it.
            buckets: batch sizes, ascending.

        Raises:
            EngineFailed: ONNX Runtime refuses the file, or the run fails.
            ManifestError: the graph is not what the manifest says, or neither fp32 nor fp16.
            DeviceNotAvailable: the provider cannot be opened.
        """
        self._provider = provider
        self._stream = stream
        shape = manifest.input.shape
        self._networks = _opened(
            path, manifest, provider, _options(provider, stream), buckets=buckets, shape=shape
        )
        first = self._networks[buckets[0]]
        element = first.precision
        self.name = onnx_session.NAME
        self.device = device.name
        self.precision = str(element)
        self.buckets = tuple(buckets)
        self.input = TensorSpec(first.source.name, shape, element)
        self.states = _states_of(first, manifest)
        self.output = self._probed(device)

    def bind(
        self, batch: int, source: int, target: int, states: StateAddresses = ()
    ) -> OnnxBinding:
        """The network for `batch` images between two addresses; see `DeviceEngine.bind`.

        Raises:
            EngineFailed: ONNX Runtime refuses the addresses.
        """
        io = self._bound_input(batch, source)
        spec = self.output
        self._bind(io.bind_output, spec.name, spec.element, (batch, *spec.shape), target)
        for state, (read, written) in zip(self.states, states, strict=True):
            self._bind(io.bind_input, state.input, state.element, state.shape, read)
            self._bind(io.bind_output, state.output, state.element, state.shape, written)
        return OnnxBinding(self._networks[batch].session, io, self._stream)

    def close(self) -> None:
        """Lets go of the sessions; no binding is used any more. May be called twice."""
        self._networks = {}

    def _bound_input(self, batch: int, source: int) -> Any:
        io, spec = self._networks[batch].session.io_binding(), self.input
        self._bind(io.bind_input, spec.name, spec.element, (batch, *spec.shape), source)
        return io

    def _bind(
        self,
        bind: Callable[..., None],
        name: str,
        element: StateElement,
        shape: tuple[int, ...],
        address: int,
    ) -> None:
        provider = self._provider
        bind(name, provider.device_type, provider.index, ELEMENTS[element], shape, address)

    def _probed(self, device: Device) -> TensorSpec:
        """The output, as one run on zeros gives it: graphs rarely declare all of their sides."""
        first = self.buckets[0]
        source = device.allocate(first * self.input.nbytes)
        device.clear(source.address, source.nbytes, self._stream)
        io = self._bound_input(first, source.address)
        given = [device.allocate(state.nbytes) for state in self.states]
        for state, memory in zip(self.states, given, strict=True):
            device.clear(memory.address, memory.nbytes, self._stream)
            self._bind(io.bind_input, state.input, state.element, state.shape, memory.address)
        network = self._networks[first]
        target = network.target
        io.bind_output(target.name, self._provider.device_type, self._provider.index)
        OnnxBinding(network.session, io, self._stream).enqueue(self._stream)
        device.synchronize(self._stream)
        (value,) = io.get_outputs()
        return TensorSpec(
            target.name, tuple(value.shape())[1:], onnx_session.PRECISIONS[target.type]
        )


def _states_of(network: Network, manifest: Manifest) -> tuple[StateSpec, ...]:
    """What the network is handed from frame to frame, as `models.fixed_graph` has fixed it."""
    if problems := [
        f"the graph's input '{state.input}' is a {kind}; allowed for states are "
        f"{', '.join(_STATES)}"
        for state in manifest.states
        if (kind := network.types[state.input]) not in _STATES
    ]:
        raise ManifestError(manifest.path, problems)
    return tuple(
        StateSpec(state.input, state.output, state.shape, _STATES[network.types[state.input]])
        for state in manifest.states
    )


def _opened(
    path: Path,
    manifest: Manifest,
    provider: Provider,
    options: dict[str, str],
    *,
    buckets: Sequence[int],
    shape: tuple[int, ...],
) -> dict[int, Network]:
    """A network for each batch size: one session for all, or one each where that is refused.

    A graph that computes with its own sides (Shape, Gather, Concat) has nodes that the CUDA
    provider leaves to the CPU, which we do not allow. With every side fixed they fold away.
    """
    try:
        whole = onnx_session.open_network(
            path, manifest, provider=provider.name, provider_options=options
        )
    except EngineFailed as refused:
        try:
            return {
                bucket: onnx_session.open_network(
                    path,
                    manifest,
                    provider=provider.name,
                    provider_options=options,
                    input_shape=(bucket, *shape),
                )
                for bucket in buckets
            }
        except EngineFailed:
            raise refused from None
    return dict.fromkeys(buckets, whole)


class OnnxBinding:
    """A session bound to fixed addresses."""

    def __init__(self, session: Any, io: Any, stream: Stream) -> None:
        self._session = session
        self._io = io
        self._stream = stream
        # Without this key every run would end by waiting for the device.
        self._options = onnx_session.run_options(disable_synchronize_execution_providers="1")

    def enqueue(self, stream: Stream) -> None:
        """Queues one run on the stream that the session was opened with.

        Raises:
            EngineFailed: ONNX Runtime reported an error, or it is another stream.
        """
        if stream.handle != self._stream.handle:
            raise EngineFailed("an ONNX Runtime session runs on the stream it was opened with")
        try:
            self._session.run_with_iobinding(self._io, self._options)
        except Exception as error:  # ONNX Runtime's classes share no base of their own
            raise EngineFailed(
                f"{onnx_session.NAME} failed in a run: {onnx_session.words(error)}"
            ) from error


def _options(provider: Provider, stream: Stream) -> dict[str, str]:
    if provider.name != CUDA:
        return {}
    return {
        "device_id": str(provider.index),
        "user_compute_stream": str(stream.handle),
        "use_tf32": "0",  # fp32 is what the report says
        # The exhaustive search takes seconds for each bucket; the heuristic is near it.
        "cudnn_conv_algo_search": "HEURISTIC",
    }
