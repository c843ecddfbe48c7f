"""The server's pipeline on tiny frames, for compute-sanitizer to watch: graphs, the streams of
upload, computing and download, and slots that frames of several sizes use one after another.

compute-sanitizer --tool memcheck python -m loadtest.gpu_check.small_flow
"""

from __future__ import annotations

from dataclasses import replace

from kernels.cuda.activate import FLAG_BYTES, activate
from kernels.device import Device, Stream
from loadtest.gpu_check import engines
from loadtest.gpu_check.flow import Flow, frame
from loadtest.gpu_check.latency import throughput
from models.device_engine import Binding, StateAddresses, StateSpec, TensorSpec
from models.device_model import DeviceModel
from server.job import PixelFormat

SIZES = ((64, 48), (48, 64), (2, 2), (130, 66), (64, 48))
PLANE = (64, 64)
_ROUNDS = 3


class RedEngine:
    """Answers the input's first channel, by a kernel of ours: a library's own would take the
    sanitizer minutes.
    """

    name = "red channel"
    precision = "fp32"
    can_be_captured = True
    buckets = (1, 2, 4)
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


def run(device: Device) -> int:
    """Batches of every size, then as many callers at once as there are batches in flight.

    How many runs that were, all of them replays.
    """
    manifest = engines.builtin_manifest()
    plane = replace(manifest.input, width=PLANE[0], height=PLANE[1])
    manifest = replace(manifest, input=plane)
    model = DeviceModel(manifest, RedEngine(device), "no weights", device, device.new_stream())
    model.warm()
    flow = Flow(model)
    for _ in range(_ROUNDS):
        for size in SIZES:
            for pixel_format in (PixelFormat.RGB8, PixelFormat.NV12):
                sources = [frame(size, pixel_format, seed) for seed in range(3)]
                flow.together(sources[:1])
                flow.together(sources)
    throughput(flow, SIZES[0], _ROUNDS)
    if not all(flow.graphs):
        raise RuntimeError(f"{flow.graphs.count(False)} of {len(flow.graphs)} runs were no replays")
    model.close()
    return len(flow.graphs)


def main() -> None:
    """On the first GPU."""
    from kernels.cupy_device import CupyDevice

    print(f"{run(CupyDevice(0))} runs done", flush=True)


if __name__ == "__main__":
    main()
