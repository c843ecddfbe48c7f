"""A network in PyTorch that keeps the contract of `models.device_engine`, for `gpu_check` alone.

The server never imports torch. Here it lets graphs, copies and latencies be checked on a machine
that has PyTorch and no TensorRT. It runs on the stream and between the addresses that it is given,
as the others do; its weights are random, so its alphas mean nothing.
"""

from __future__ import annotations

import importlib
from typing import Any

from kernels.device import Stream
from models.device_engine import Binding, StateAddresses, StateSpec, TensorSpec
from models.manifest import Manifest

BUCKETS = (1, 2, 4)
_WIDTHS = (32, 64, 128)  # channels, halving the sides each time
_SEED = 5


class AtAddress:
    """Memory that another library owns, as PyTorch takes it without a copy."""

    def __init__(self, address: int, shape: tuple[int, ...]) -> None:
        self.__cuda_array_interface__ = {
            "shape": shape,
            "typestr": "<f4",
            "data": (address, False),
            "strides": None,
            "version": 3,
        }


class TorchEngine:
    """A small U-shaped network: 3.4 GFLOP at 320 x 320.

    May be recorded in a graph: after the first run of each batch size the allocator of PyTorch has
    what that size needs and asks the driver for nothing. What a replay works on is memory that
    PyTorch thinks is free, so nothing else of PyTorch may run in the process.
    """

    can_be_captured = True
    precision = "fp32"
    buckets = BUCKETS
    states: tuple[StateSpec, ...] = ()

    def __init__(self, manifest: Manifest, device_name: str) -> None:
        """Makes the network on the first GPU.

        Args:
            manifest: with an NCHW input and an NCHW output of one channel, activation "none".
            device_name: as reports name it.

        Raises:
            ImportError: PyTorch is not installed.
        """
        self._torch: Any = importlib.import_module("torch")
        wanted = manifest.input
        self.name = f"torch {self._torch.__version__}"
        self.device = device_name
        self.input = TensorSpec(wanted.tensor or "image", (3, wanted.height, wanted.width), "fp32")
        self.output = TensorSpec("alpha", (1, wanted.height, wanted.width), "fp32")
        self._torch.backends.cudnn.benchmark = False
        self._torch.backends.cudnn.deterministic = True  # a replay is compared bit by bit
        self._torch.manual_seed(_SEED)
        self.network = _network(self._torch).to("cuda:0").eval()

    def bind(self, batch: int, source: int, target: int, states: StateAddresses = ()) -> Binding:
        """See `models.device_engine`."""
        return _TorchBinding(self, batch, source, target)

    def view(self, address: int, batch: int, spec: TensorSpec) -> Any:
        """A tensor over memory at `address`."""
        return self._torch.as_tensor(AtAddress(address, (batch, *spec.shape)), device="cuda:0")

    def on(self, stream: Stream) -> Any:
        """A context in which PyTorch queues on `stream`."""
        return self._torch.cuda.stream(self._torch.cuda.ExternalStream(stream.handle, "cuda:0"))

    def without_gradients(self) -> Any:
        """A context in which nothing is kept for training."""
        return self._torch.inference_mode()

    def close(self) -> None:
        """See `models.device_engine`."""
        self.network = None
        self._torch.cuda.empty_cache()


class _TorchBinding:
    def __init__(self, engine: TorchEngine, batch: int, source: int, target: int) -> None:
        self._engine = engine
        self._source = engine.view(source, batch, engine.input)
        self._target = engine.view(target, batch, engine.output)

    def enqueue(self, stream: Stream) -> None:
        """See `models.device_engine`."""
        with self._engine.on(stream), self._engine.without_gradients():
            self._target.copy_(self._engine.network(self._source))


def _network(torch: Any) -> Any:
    """Convolutions down to an eighth and up again, ending in 0..1."""
    nn = torch.nn
    layers: list[Any] = []
    channels = 3
    for width in _WIDTHS:
        layers += [nn.Conv2d(channels, width, 3, stride=2, padding=1), nn.ReLU()]
        channels = width
    for width in (*_WIDTHS[-2::-1], 16):
        layers += [nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False)]
        layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()]
        channels = width
    layers += [nn.Conv2d(channels, 1, 1), nn.Sigmoid()]
    return nn.Sequential(*layers)
