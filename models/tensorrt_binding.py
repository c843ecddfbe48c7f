"""A TensorRT execution context bound to one batch size and fixed addresses.

Made by `models.tensorrt_engine`, run by `models.device_model`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kernels.device import Device, Stream
from models.errors import EngineFailed
from models.tensorrt_library import TensorRT

Bound = tuple[int, tuple[int, ...]]  # device address; shape with the batch, () for an output


class TensorRTBinding:
    """See `models.device_engine.Binding` for the contract.

    Each binding has an execution context and scratch memory of its own, so that bindings may run at
    the same time on different streams. One block of scratch memory for all of them would save the
    smaller batches' share, but nothing here can prove that no two of them overlap.
    """

    def __init__(
        self,
        library: TensorRT,
        engine: Any,
        device: Device,
        profile: int,
        tensors: Mapping[str, Bound],
    ) -> None:
        """Makes the context and fixes everything but the stream.

        Args:
            library: what made the engine.
            engine: an ICudaEngine.
            device: where it is.
            profile: number of the optimisation profile of this batch size.
            tensors: every input and output by name.

        Raises:
            EngineFailed: the library refuses.
        """
        self._library = library
        self._context = engine.create_execution_context(
            library.module.ExecutionContextAllocationStrategy.STATIC
        )
        if self._context is None:
            raise self._failed("has no room for another execution context")
        stream = device.new_stream()  # not the default one, which would stop all others
        if not self._context.set_optimization_profile_async(profile, stream.handle):
            raise self._failed(f"refuses profile {profile}")
        device.synchronize(stream)  # the profile must be in place before another stream runs it
        for name, (address, shape) in tensors.items():
            if shape and not self._context.set_input_shape(name, shape):
                raise self._failed(f"refuses the shape {shape} of '{name}'")
            if not self._context.set_tensor_address(name, address):
                raise self._failed(f"refuses the address of '{name}'")
        if missing := self._context.infer_shapes():
            raise self._failed(f"still misses {', '.join(missing)}")

    def enqueue(self, stream: Stream) -> None:
        """Queues one run on `stream`, which is not the default one; the host does not wait.

        Raises:
            EngineFailed: the library reported an error, or the engine is closed.
        """
        if self._context is None:
            raise EngineFailed("the engine was closed before this run began")
        if not self._context.execute_async_v3(stream.handle):
            raise self._failed("failed in a run")

    def close(self) -> None:
        """Frees the context; may be called twice."""
        self._context = None

    def _failed(self, what: str) -> EngineFailed:
        return EngineFailed(f"{self._library.title} {what}: {self._library.words.take()}")
