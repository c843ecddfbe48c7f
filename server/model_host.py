"""The models that are loaded: each with its batcher, its users counted, loaded once and freed when
idle.

`server.app` loads the first ones, `server.services.models` the others; `server.remover` uses them.
Lives on the event loop; whatever takes time runs in the host's own thread.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum

from kernels.device import Device
from server.replica import Replica
from server.replica_loader import ReplicaLoader
from server.streams.memory import StreamMemory
from server.workers import Stage, Workers


class ModelNotLoaded(Exception):
    """Known, but not loaded."""


class ModelLoading(Exception):
    """Being loaded or unloaded right now."""


class DefaultModelStays(Exception):
    """The default model cannot be unloaded."""


class NotOnThatGpu(Exception):
    """The request's pictures lie on a GPU that the model does not run on."""


class State(StrEnum):
    """Where a model stands that is not merely known."""

    LOADING = "loading"
    READY = "ready"
    UNLOADING = "unloading"


@dataclass(slots=True, eq=False)
class Hosted:
    """A loaded model: one replica for each device it is on."""

    replicas: tuple[Replica, ...]
    users: int = 0
    idle: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def first(self) -> Replica:
        """The replica that stands for all: they differ in their device alone."""
        return self.replicas[0]

    @property
    def is_lost(self) -> bool:
        """True when no replica can work any more."""
        return all(replica.is_lost for replica in self.replicas)

    @contextmanager
    def used(
        self, *, gpu: int | None = None, memory: StreamMemory | None = None
    ) -> Iterator[Replica]:
        """The replica with the fewest users, one more for as long as the block lasts; for a frame
        of a stream that remembers, the one where its memory lies.

        A lost one fails at once and would look idle: it gets no image while another lives.

        Args:
            gpu: the one that it must run on; None: whichever.
            memory: of the stream that it is for, where it remembers something.

        Raises:
            NotOnThatGpu: none does.
        """
        fitting = self.replicas if gpu is None else self._on(gpu)
        if memory is None:
            replica = min(fitting, key=lambda each: (each.is_lost, each.users))
        else:
            replica = self._home_of(memory, fitting)
        self.users += 1
        replica.users += 1
        self.idle.clear()
        try:
            yield replica
        finally:
            replica.users -= 1
            self.users -= 1
            if self.users == 0:
                self.idle.set()

    def _on(self, gpu: int) -> list[Replica]:
        there = [each for each in self.replicas if each.gpu and each.gpu.index == gpu]
        if not there:
            used = self.first.used.name
            found = [str(each.gpu.index) for each in self.replicas if each.gpu]
            where = f"GPU {', '.join(found)}" if found else "the CPU"
            raise NotOnThatGpu(
                f"the request names memory of GPU {gpu}, but model '{used}' of this server runs on "
                f"{where}: send the bytes in the message, or name memory of a GPU that it runs on"
            )
        return there

    def _home_of(self, memory: StreamMemory, fitting: Sequence[Replica]) -> Replica:
        """Where a stream is at home; of a new one, where the fewest are: all may be idle when it
        begins, and they will be busy together. One whose frames come from another GPU moves there
        and begins anew.
        """
        for home in fitting:
            if home is memory.home and not home.is_lost:
                return home
        home = min(fitting, key=lambda each: (each.is_lost, len(each.streams), each.users))
        for each in self.replicas:
            each.streams.discard(memory)
        home.streams.add(memory)
        memory.home = home
        return home


@dataclass(slots=True, eq=False)
class _Slot:
    state: State
    task: asyncio.Task[Hosted] | asyncio.Task[None]
    hosted: Hosted | None = None


class ModelHost:
    """Loads, lends and unloads models by name.

    Args:
        loader: makes replicas of models.
        default: the model used where a request names none.
        on_serving: told (name, True) when a model is warm and (name, False) before it goes.
    """

    def __init__(
        self,
        loader: ReplicaLoader,
        *,
        default: str,
        on_serving: Callable[[str, bool], Awaitable[None]],
    ) -> None:
        self.registry = loader.registry
        self.default = default
        self._loader = loader
        self._on_serving = on_serving
        self._slots: dict[str, _Slot] = {}
        # One load at a time: it takes all the disk there is.
        self._loading = Workers(1, name="loader")

    def start(self) -> None:
        """Starts the loading thread."""
        self._loading.start()

    async def close(self) -> None:
        """Unloads everything, the default model included; nobody may use a model any more. A load
        under way ends at its next step.
        """
        self._loader.stop()
        for name, slot in list(self._slots.items()):
            if slot.state is State.LOADING:
                await asyncio.wait({slot.task})
            if name in self._slots:
                await self._begin_unload(name)
        await asyncio.to_thread(self._loading.close)

    def state(self, name: str) -> tuple[State | None, Hosted | None]:
        """Where `name` stands, None when it is not loaded; and, once ready, the loaded model."""
        slot = self._slots.get(name)
        return (slot.state, slot.hosted) if slot else (None, None)

    @property
    def has_gpu(self) -> bool:
        """True when a loaded model runs on one."""
        return bool(self._gpus())

    def device(self, gpu: int) -> Device:
        """GPU number `gpu`, on which a loaded model runs.

        Raises:
            NotOnThatGpu: none does.
        """
        known = self._gpus()
        if gpu not in known:
            where = f"GPU {', '.join(map(str, sorted(known)))}" if known else "the CPU"
            raise NotOnThatGpu(
                f"the request names memory of GPU {gpu}, but the models of this server run on "
                f"{where}: send the bytes in the message, or name memory of a GPU in use"
            )
        return known[gpu]

    def _gpus(self) -> dict[int, Device]:
        loaded = [slot.hosted for slot in self._slots.values() if slot.hosted is not None]
        found = [replica.gpu for hosted in loaded for replica in hosted.replicas]
        return {device.index: device for device in found if device is not None}

    @contextmanager
    def use(
        self,
        name: str | None,
        *,
        gpu: int | None = None,
        memory: StreamMemory | None = None,
    ) -> Iterator[Replica]:
        """A replica of the model for as long as the block lasts; unloading waits for it.

        Args:
            name: None: the default model.
            gpu: the one that the request's pictures lie on; None: on none.
            memory: of the stream that it is for, where it remembers something.

        Raises:
            NotOnThatGpu: the model does not run there.
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
        with slot.hosted.used(gpu=gpu, memory=memory) as replica:
            yield replica

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
            replicas = await self._loading.lane(Stage.OPEN).run(self._loader.load, name)
        except BaseException:
            del self._slots[name]
            raise
        hosted = Hosted(replicas)
        slot = self._slots[name]
        slot.hosted, slot.state = hosted, State.READY
        await self._on_serving(name, True)
        return hosted

    async def _unload(self, name: str, hosted: Hosted | None) -> None:
        try:
            await self._on_serving(name, False)
            if hosted is not None:
                while hosted.users:
                    await hosted.idle.wait()
                for replica in hosted.replicas:
                    await replica.batcher.close()
                    await replica.tensors.close()
                    await self._loading.lane(Stage.OPEN).run(self._loader.free, name, replica)
        finally:
            del self._slots[name]
