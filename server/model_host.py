"""The models that are loaded: each with its batcher, its users counted, loaded once and freed when
idle.

`server.app` loads the first ones, `server.services.models` the others; `server.remover` uses them.
Lives on the event loop; whatever takes time runs in the host's own thread.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum

from mattestream.v1 import report_pb2
from models.model import Model
from models.registry import Registry
from server.batcher import Batcher
from server.replies import model_used
from server.workers import Lane, Stage, Workers


class ModelNotLoaded(Exception):
    """Known, but not loaded."""


class ModelLoading(Exception):
    """Being loaded or unloaded right now."""


class DefaultModelStays(Exception):
    """The default model cannot be unloaded."""


class State(StrEnum):
    """Where a model stands that is not merely known."""

    LOADING = "loading"
    READY = "ready"
    UNLOADING = "unloading"


@dataclass(slots=True, eq=False)
class Hosted:
    """A loaded model and what goes with it."""

    model: Model
    batcher: Batcher
    used: report_pb2.ModelUsed  # as every report names it
    own_workers: Workers | None  # threads of an engine that does not share the cores
    users: int = 0
    idle: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass(slots=True, eq=False)
class _Slot:
    state: State
    task: asyncio.Task[Hosted] | asyncio.Task[None]
    hosted: Hosted | None = None


class ModelHost:
    """Loads, lends and unloads models by name.

    Args:
        registry: knows the manifests and reads the weights.
        workers: the threads that CPU engines run on.
        default: the model used where a request names none.
        device: "auto", "cpu" or "cuda", see `models.registry`.
        max_batch: most images in one run; 0: the engine's own limit.
        on_serving: told (name, True) when a model is warm and (name, False) before it goes.
        on_batch: told (name, images) for every run.
    """

    def __init__(
        self,
        registry: Registry,
        workers: Workers,
        *,
        default: str,
        device: str = "auto",
        max_batch: int = 0,
        on_serving: Callable[[str, bool], Awaitable[None]],
        on_batch: Callable[[str, int], None] = lambda name, images: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.registry = registry
        self.default = default
        self._workers = workers
        self._device = device
        self._max_batch = max_batch
        self._on_serving = on_serving
        self._on_batch = on_batch
        self._clock = clock
        self._slots: dict[str, _Slot] = {}
        self._loader = Workers(
            1, name="loader"
        )  # one load at a time: it takes all the disk there is

    def start(self) -> None:
        """Starts the loading thread."""
        self._loader.start()

    async def close(self) -> None:
        """Unloads everything, the default model included; nobody may use a model any more."""
        for name, slot in list(self._slots.items()):
            if slot.state is State.LOADING:
                await asyncio.wait({slot.task})
            if name in self._slots:
                await self._begin_unload(name)
        await asyncio.to_thread(self._loader.close)

    def state(self, name: str) -> tuple[State | None, Hosted | None]:
        """Where `name` stands, None when it is not loaded; and, once ready, the loaded model."""
        slot = self._slots.get(name)
        return (slot.state, slot.hosted) if slot else (None, None)

    @contextmanager
    def use(self, name: str | None) -> Iterator[Hosted]:
        """The model for as long as the block lasts; unloading waits for it.

        Args:
            name: None: the default model.

        Raises:
            ModelNotFound: there is none of that name.
            ModelNotLoaded, ModelLoading: there is, but it cannot serve now.
        """
        name = name or self.default
        slot = self._slots.get(name)
        if slot is None:
            self.registry.manifest(name)
            raise ModelNotLoaded(
                f"model '{name}' is not loaded: load it with LoadModel, or start the server with "
                f"--load {name}"
            )
        if slot.state is not State.READY or slot.hosted is None:
            raise ModelLoading(f"model '{name}' is {slot.state}: try again in a moment")
        hosted = slot.hosted
        hosted.users += 1
        hosted.idle.clear()
        try:
            yield hosted
        finally:
            hosted.users -= 1
            if hosted.users == 0:
                hosted.idle.set()

    async def load(self, name: str) -> Hosted:
        """The model, loaded and warm. However many ask at once, it is loaded once.

        Raises:
            ModelError: see `models.errors`.
        """
        while (slot := self._slots.get(name)) is not None:
            if slot.state is State.UNLOADING:
                await asyncio.wait({slot.task})
            elif slot.hosted is not None:
                return slot.hosted
            else:
                await asyncio.wait({slot.task})
                slot.task.result()
        self.registry.manifest(name)
        task = asyncio.create_task(self._load(name))
        self._slots[name] = _Slot(State.LOADING, task)
        # Not awaited itself: a caller that gives up must not stop the load for those who wait with
        # it.
        await asyncio.wait({task})
        return task.result()

    async def unload(self, name: str) -> None:
        """Returns when the model's work is done and it is freed; at once when it is not loaded.

        Raises:
            ModelNotFound: there is none of that name.
            DefaultModelStays: it is the server's default.
        """
        self.registry.manifest(name)
        if name == self.default:
            raise DefaultModelStays(
                f"model '{name}' is the server's default and stays loaded: start the server with "
                "another --model"
            )
        while (slot := self._slots.get(name)) is not None:
            if slot.state is State.READY:
                await self._begin_unload(name)
            else:
                await asyncio.wait({slot.task})

    async def _begin_unload(self, name: str) -> None:
        slot = self._slots[name]
        slot.state = State.UNLOADING
        task = asyncio.create_task(self._unload(name, slot.hosted))
        slot.task = task
        await asyncio.wait({task})
        task.result()

    async def _load(self, name: str) -> Hosted:
        try:
            model = await self._loader.lane(Stage.OPEN).run(self._load_blocking, name)
        except BaseException:
            del self._slots[name]
            raise
        hosted = self._hosted(name, model)
        slot = self._slots[name]
        slot.hosted, slot.state = hosted, State.READY
        await self._on_serving(name, True)
        return hosted

    def _load_blocking(self, name: str) -> Model:
        model = self.registry.load(
            name,
            device=self._device,
            threads=self._workers.threads,
            max_batch=self._max_batch,
        )
        try:
            model.warm()
        except BaseException:
            model.close()
            raise
        return model

    def _hosted(self, name: str, model: Model) -> Hosted:
        engine = model.engine
        own_workers: Workers | None = None
        lane: Lane = self._workers.lane(Stage.RUN)
        if engine.device != "cpu":
            # The device does the work: threads that only wait for it must not take the codecs'
            # place.
            own_workers = Workers(engine.max_concurrent_runs, name=f"engine-{name}")
            own_workers.start()
            lane = own_workers.lane(Stage.RUN)
        batcher = Batcher(
            model.run,
            lane,
            max_batch=engine.max_batch,
            max_concurrent_runs=engine.max_concurrent_runs,
            on_batch=lambda images: self._on_batch(name, images),
            clock=self._clock,
        )
        return Hosted(model, batcher, model_used(model), own_workers)

    async def _unload(self, name: str, hosted: Hosted | None) -> None:
        await self._on_serving(name, False)
        if hosted is not None:
            while hosted.users:
                await hosted.idle.wait()
            await hosted.batcher.close()
            await self._loader.lane(Stage.OPEN).run(_free, hosted)
        del self._slots[name]


def _free(hosted: Hosted) -> None:
    hosted.model.close()
    if hosted.own_workers is not None:
        hosted.own_workers.close()
