"""What the server's tests stand on: pictures, a clock that is turned by hand, an engine that waits
for a word.
"""

from __future__ import annotations

import asyncio
import io
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mattestream.v1 import image_pb2, options_pb2, removal_pb2
from models.engine import Engine
from models.model import Model
from models.registry import Registry
from models.target import Target

PATIENCE_S = 20.0


class ManualClock:
    """Seconds that pass when told."""

    def __init__(self, now: float = 100.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds


class GateEngine:
    """A real engine whose runs wait until `open` is set; `running` counts those that wait."""

    def __init__(
        self, inner: Engine, *, max_batch: int = 1, concurrent_runs: int | None = None
    ) -> None:
        self._inner = inner
        self.max_batch = max_batch
        self.max_concurrent_runs = concurrent_runs or inner.max_concurrent_runs
        self.open = threading.Event()
        self.running = 0
        self.batches: list[int] = []
        self.error: Exception | None = None

    @property
    def name(self) -> str:
        return self._inner.name

    @property
    def device(self) -> str:
        return self._inner.device

    @property
    def precision(self) -> str:
        return self._inner.precision

    def run(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        self.running += 1
        self.batches.append(len(batch))
        if not self.open.wait(PATIENCE_S):
            raise AssertionError("the test never opened the gate")
        self.running -= 1
        if self.error is not None:
            raise self.error
        return self._inner.run(batch)

    def close(self) -> None:
        self._inner.close()


class GatedRegistry(Registry):
    """Real models behind gates, open while they load and warm; `engines` holds them by name.

    Their batches are as large as the manifest says, as on a GPU: the CPU engine itself runs one by
    one.
    """

    def __init__(self, model_dirs: tuple[Path, ...], concurrent_runs: int | None = None) -> None:
        super().__init__(model_dirs, shipped_dirs=())
        self._concurrent_runs = concurrent_runs
        self.engines: dict[str, GateEngine] = {}
        self.loads: list[str] = []
        self.may_load = threading.Event()
        self.may_load.set()

    def load(  # type: ignore[override]
        self,
        name: str,
        target: Target = Target(),  # noqa: B008
        *,
        threads: int = 1,
        max_batch: int = 0,
        on_progress: object = None,
        cancelled: object = None,
    ) -> Model:
        self.loads.append(name)
        assert self.may_load.wait(PATIENCE_S)
        model = super().load(name, target, threads=threads)
        assert isinstance(model, Model)
        engine = GateEngine(
            model.engine,
            max_batch=min(model.manifest.max_batch, max_batch or model.manifest.max_batch),
            concurrent_runs=self._concurrent_runs,
        )
        engine.open.set()
        self.engines[name] = engine
        return Model(model.manifest, engine, model.weights_sha256)


async def eventually(holds: Callable[[], bool], what: str) -> None:
    """Returns once `holds`; for facts of another thread or of the network that nobody announces."""
    async with asyncio.timeout(PATIENCE_S):
        while not holds():  # noqa: ASYNC110
            await asyncio.sleep(0.002)
    assert holds(), what


def picture(width: int = 96, height: int = 64, *, kind: str = "JPEG") -> bytes:
    """An image file, black on the left and white on the right: the tiny model finds a subject."""
    rgb = np.zeros((height, width, 3), np.uint8)
    rgb[:, width // 2 :] = 255
    buffer = io.BytesIO()
    Image.fromarray(rgb).save(buffer, kind)
    return buffer.getvalue()


def noise(width: int, height: int) -> bytes:
    """A JPEG that no encoder can make small."""
    rgb = np.random.default_rng(7).integers(0, 256, (height, width, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(rgb).save(buffer, "JPEG", quality=60)
    return buffer.getvalue()


def request(
    data: bytes | None = None, options: options_pb2.RemoveOptions | None = None
) -> removal_pb2.RemoveRequest:
    """A Remove request for one encoded image."""
    image = image_pb2.Image(encoded=picture() if data is None else data)
    return removal_pb2.RemoveRequest(image=image, options=options)


def config_message(**config: object) -> removal_pb2.RemoveStreamRequest:
    """A stream's first message."""
    return removal_pb2.RemoveStreamRequest(config=removal_pb2.StreamConfig(**config))  # type: ignore[arg-type]


def frame_message(frame_id: int, data: bytes | None = None) -> removal_pb2.RemoveStreamRequest:
    """One frame of an encoded image; its pts is ten times its id."""
    image = image_pb2.Image(encoded=picture() if data is None else data)
    return removal_pb2.RemoveStreamRequest(
        frame=removal_pb2.Frame(frame_id=frame_id, pts=frame_id * 10, image=image)
    )
