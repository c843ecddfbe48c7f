"""A TensorRT whose builder is TensorRT-RTX's real one and whose runtime is ONNX Runtime on the CPU.

TensorRT-RTX builds without a GPU and cannot run. Everything between a plan and its alphas is tested
with this in place of its `Runtime`: it runs the ONNX file that the plan was built from, between the
host addresses of the tests' device, and refuses what a context refuses: an unknown batch, a missing
address, the default stream.
"""

from __future__ import annotations

import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from models.tensorrt_library import TensorRT

ELEMENTS = {"tensor(float)": ("FLOAT", np.float32), "tensor(float16)": ("HALF", np.float16)}


class FakeTensorRT:
    """Makes libraries whose plans run the files that were built into them.

    Attributes:
        refuse: how many plans the next runtimes refuse, as a real one refuses a stale plan.
        builds: precision by precision, what was built.
        spoil: what is done to a network's output before anybody sees it.
        contexts: all execution contexts, in the order they were made.
    """

    def __init__(self, real: TensorRT) -> None:
        self.refuse = 0
        self.builds: list[Path] = []
        self.spoil: Callable[[Any], Any] = lambda output: output
        self.contexts: list[FakeContext] = []
        self._real = real.module
        self._files: dict[bytes, Path] = {}
        module = types.SimpleNamespace(**vars(real.module))
        module.OnnxParser = self._parser
        module.Runtime = lambda logger: types.SimpleNamespace(deserialize_cuda_engine=self._load)
        self.library = TensorRT(module, real.name, real.version, real.logger, real.words)

    def _parser(self, network: Any, logger: Any) -> Any:
        parser = self._real.OnnxParser(network, logger)

        def parse(data: bytes, path: str) -> bool:
            self.builds.append(Path(path))
            return bool(parser.parse(data, path))

        return types.SimpleNamespace(parse=parse, real=parser)

    def _load(self, plan: bytes) -> FakeEngine | None:
        if self.refuse:
            self.refuse -= 1
            return None
        # The first plan of these bytes is of the file parsed last.
        path = self._files.setdefault(plan, self.builds[-1] if self.builds else Path())
        return FakeEngine(self, path)


class FakeEngine:
    """As much of an ICudaEngine as is used."""

    def __init__(self, fake: FakeTensorRT, path: Path) -> None:
        self.fake = fake
        self.session = onnxruntime.InferenceSession(path)
        self.tensors = {
            each.name: each for each in (*self.session.get_inputs(), *self.session.get_outputs())
        }
        self.num_io_tensors = len(self.tensors)
        self.inputs = [each.name for each in self.session.get_inputs()]
        self._modes = fake.library.module.TensorIOMode

    def get_tensor_name(self, index: int) -> str:
        return list(self.tensors)[index]

    def get_tensor_mode(self, name: str) -> Any:
        return self._modes.INPUT if name in self.inputs else self._modes.OUTPUT

    def get_tensor_dtype(self, name: str) -> Any:
        return types.SimpleNamespace(name=ELEMENTS[self.tensors[name].type][0])

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return tuple(size if isinstance(size, int) else -1 for size in self.tensors[name].shape)

    def create_execution_context(self, strategy: Any) -> FakeContext:
        context = FakeContext(self)
        self.fake.contexts.append(context)
        return context


class FakeContext:
    """As much of an IExecutionContext as is used."""

    def __init__(self, engine: FakeEngine) -> None:
        self._engine = engine
        self._addresses: dict[str, int] = {}
        self._shapes: dict[str, tuple[int, ...]] = {}
        self.profile = -1

    def set_optimization_profile_async(self, profile: int, stream: int) -> bool:
        self.profile = profile
        return stream != 0

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        self._shapes[name] = shape
        return self.profile >= 0

    def set_tensor_address(self, name: str, address: int) -> bool:
        self._addresses[name] = address
        return address % 256 == 0

    def infer_shapes(self) -> list[str]:
        return [name for name in self._engine.tensors if name not in self._addresses]

    def execute_async_v3(self, stream: int) -> bool:
        engine = self._engine
        if stream == 0 or len(self._addresses) < len(engine.tensors):
            return False
        feed = {
            name: at(self._addresses[name], shape, ELEMENTS[engine.tensors[name].type][1])
            for name, shape in self._shapes.items()
        }
        outputs = [name for name in engine.tensors if name not in engine.inputs]
        for name, raw in zip(outputs, engine.session.run(outputs, feed), strict=True):
            at(self._addresses[name], raw.shape, raw.dtype)[:] = engine.fake.spoil(raw)
        return True


def at(address: int, shape: tuple[int, ...], element: Any) -> Any:
    """The array that lies at a host address."""
    import ctypes

    nbytes = int(np.prod(shape)) * np.dtype(element).itemsize
    room = (ctypes.c_uint8 * nbytes).from_address(address)
    return np.frombuffer(room, element).reshape(shape)
