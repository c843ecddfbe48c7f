"""Engines that are kernels of ours: what they answer is known, and compute-sanitizer takes seconds
where a library's own kernels would take it minutes.

Used by `small_flow` and `streams`.
"""

from __future__ import annotations

from dataclasses import replace

from kernels.cuda.activate import FLAG_BYTES, activate
from kernels.cuda.carry_states import carry_states
from kernels.device import Device, Stream
from loadtest.gpu_check import engines
from models.device_engine import Binding, StateAddresses, StateSpec, TensorSpec
from models.device_model import DeviceModel

PLANE = (64, 64)


class RedEngine:
    """Answers the input's first channel."""

    name = "red channel"
    precision = "fp32"
    can_be_captured = True
    buckets: tuple[int, ...] = (1, 2, 4)
    states: tuple[StateSpec, ...] = ()

    def __init__(self, device: Device) -> None:
        width, height = PLANE
        self._device = device
        self.device = device.name
        self.input = TensorSpec("image", (3, height, width), "fp32")
        self.output = TensorSpec("alpha", (1, height, width), "fp32")

    def bind(self, batch: int, source: int, target: int, states: StateAddresses = ()) -> Binding:
        """See `models.device_engine`."""
        return _RedBinding(self._device, batch, source, target)

    def close(self) -> None:
        """See `models.device_engine`."""


class LateEngine(RedEngine):
    """A recurrent one: answers the first channel of the frame before, 0 where there is none."""

    name = "red channel, a frame late"
    buckets = (1,)

    def __init__(self, device: Device) -> None:
        super().__init__(device)
        width, height = PLANE
        self.states = (StateSpec("before", "now", (1, 3, height, width), "fp32"),)

    def bind(self, batch: int, source: int, target: int, states: StateAddresses = ()) -> Binding:
        """See `models.device_engine`."""
        ((read, written),) = states
        return _LateBinding(self._device, source, target, read, written)


class _RedBinding:
    def __init__(self, device: Device, batch: int, source: int, target: int) -> None:
        self._device = device
        self._addresses = (batch, source, target)
        self._flags = device.allocate(FLAG_BYTES * batch)

    def enqueue(self, stream: Stream) -> None:
        """See `models.device_engine`."""
        batch, source, target = self._addresses
        activate(
            self._device,
            stream,
            raw=source,
            target=target,
            flags=self._flags.address,
            ranges=0,
            batch=batch,
            channels=3,
            width=PLANE[0],
            height=PLANE[1],
        )


class _LateBinding:
    def __init__(self, device: Device, source: int, target: int, read: int, written: int) -> None:
        self._device = device
        self._answer = _RedBinding(device, 1, read, target)
        self._from, self._to = source, written

    def enqueue(self, stream: Stream) -> None:
        """See `models.device_engine`."""
        self._answer.enqueue(stream)
        nbytes = 4 * 3 * PLANE[0] * PLANE[1]
        carry_states(self._device, stream, source=self._from, target=self._to, nbytes=nbytes)


def model_of(engine: RedEngine, device: Device) -> DeviceModel:
    """The engine in the built-in model's place, on a plane of `PLANE`; warm."""
    manifest = engines.builtin_manifest()
    plane = replace(manifest.input, width=PLANE[0], height=PLANE[1])
    manifest = replace(manifest, input=plane)
    model = DeviceModel(manifest, engine, "no weights", device, device.new_stream())
    model.warm()
    return model
