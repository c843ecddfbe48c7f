"""Models on the emulated device: ONNX Runtime's own binding code on host addresses, queued and
recorded like a GPU's work.

Used by the tests of models and of the server: `EmulatedRegistry` gives a real server whose models
run the GPU's path from end to end on this CPU.
"""

from __future__ import annotations

import threading
from pathlib import Path

from kernels.device import Stream
from models import weights
from models.device_engine import Binding, StateAddresses, StateSpec, TensorSpec
from models.device_loading import assemble, batch_sizes
from models.device_model import DeviceModel
from models.errors import EngineFailed
from models.fixed_graph import fixed_twin
from models.onnx_device_engine import OnnxDeviceEngine, Provider
from models.registry import Registry
from models.target import Target
from tests.fakes.emulated_device import EmulatedDevice

PATIENCE_S = 20.0


class EmulatedEngine:
    """An `OnnxDeviceEngine` whose runs wait in the stream like a GPU's, and may be recorded.

    Attributes:
        is_open: cleared, runs wait until it is set: for tests of what goes on meanwhile, which
            load it with `record=False`, since a graph's replay asks nobody.
        running: runs that wait at `is_open` now.
        bound: batch sizes of the bindings that were enqueued, plainly or into a graph.
        refuses: enqueueing raises while it is True.
    """

    def __init__(
        self, inner: OnnxDeviceEngine, device: EmulatedDevice, *, record: bool = True
    ) -> None:
        self.can_be_captured = record
        self._inner = inner
        self._device = device
        self.name = inner.name
        self.device = inner.device
        self.precision = inner.precision
        self.buckets = inner.buckets
        self.input: TensorSpec = inner.input
        self.output: TensorSpec = inner.output
        self.states: tuple[StateSpec, ...] = inner.states
        self.is_open = threading.Event()
        self.is_open.set()
        self.running = 0
        self.bound: list[int] = []
        self.refuses = False
        self.is_closed = False

    def bind(self, batch: int, source: int, target: int, states: StateAddresses = ()) -> Binding:
        """See `models.device_engine`."""
        return _Binding(self, batch, self._inner.bind(batch, source, target, states))

    def close(self) -> None:
        """See `models.device_engine`."""
        self.is_closed = True
        self._inner.close()

    def queue(self, batch: int, inner: Binding, stream: Stream) -> None:
        """Puts one run into the stream."""
        if self.refuses:
            raise EngineFailed("the test's engine refuses")
        self.bound.append(batch)
        self.running += 1
        assert self.is_open.wait(PATIENCE_S), "the test never opened the engine"
        self.running -= 1
        self._device.run_or_record(stream, lambda: inner.enqueue(stream))  # type: ignore[arg-type]


class _Binding:
    def __init__(self, engine: EmulatedEngine, batch: int, inner: Binding) -> None:
        self._engine = engine
        self._batch = batch
        self._inner = inner

    def enqueue(self, stream: Stream) -> None:
        self._engine.queue(self._batch, self._inner, stream)


class EmulatedRegistry(Registry):
    """Real models on an emulated device; `engines` and `loaded` hold them by name.

    Args:
        model_dirs: folders of manifests.
        device: shared by all models; None: one of their own.
        late: the device runs queued work only when it is waited for.
        record: the engine may be recorded in graphs.
    """

    def __init__(
        self,
        model_dirs: tuple[Path, ...],
        device: EmulatedDevice | None = None,
        *,
        late: bool = False,
        record: bool = True,
    ) -> None:
        super().__init__(model_dirs, shipped_dirs=())
        self._device = device
        self._late = late
        self._record = record
        self.engines: dict[str, EmulatedEngine] = {}
        self.loaded: dict[str, DeviceModel] = {}

    def load(  # type: ignore[override]
        self,
        name: str,
        target: Target = Target(),  # noqa: B008
        *,
        threads: int = 1,
        max_batch: int = 0,
        on_progress: object = None,
        cancelled: object = None,
    ) -> DeviceModel:
        """The model on the emulated device, whatever the target is."""
        manifest = self.manifest(name)
        original = weights.verified_weights(manifest, self.cache_dir)
        manifest, found = fixed_twin(manifest, original, manifest.path.parent / "cache")
        device = self._device or EmulatedDevice(target.index or 0, late=self._late)
        device.use()
        stream = device.new_stream()
        inner = OnnxDeviceEngine(
            found.path,
            manifest,
            device,
            stream,
            Provider.host(),
            buckets=batch_sizes(manifest.max_batch, max_batch),
        )
        engine = EmulatedEngine(inner, device, record=self._record)
        model = assemble(manifest, engine, original.sha256, device, stream)
        self.engines[name], self.loaded[name] = engine, model
        return model
