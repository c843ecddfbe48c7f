"""Loads a model onto every device that the server was given; all of it blocks, minutes where
TensorRT has to build.

Made by `server.app`; `server.model_host` calls `load` in its loading thread.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import structlog

from kernels.device import DeviceError
from models.errors import EngineFailed
from models.registry import Registry
from models.target import Target
from server.codecs.header import Limits
from server.config import MEBIBYTE, Config
from server.replica import Replica, make_replica
from server.workers import Workers

PROGRESS_EVERY_S = 10.0  # a builder reports hundreds of steps a second


@dataclass(frozen=True, slots=True)
class Observers:
    """Who is told what, all with the model's name first.

    Attributes:
        batch: the number of images of a run.
        launch: whether a run on a GPU was the replay of a graph.
        lost: a replica whose device does nothing any more, and the error; from another thread.
    """

    batch: Callable[[str, int], None] = lambda name, images: None
    launch: Callable[[str, bool], None] = lambda name, is_graph: None
    lost: Callable[[str, Replica, DeviceError], None] = lambda name, replica, error: None


class ReplicaLoader:
    """Knows the devices and what replicas are made of.

    Args:
        registry: knows the manifests and reads the weights.
        workers: the threads that CPU engines run on.
        config: limits, batch size and settings of GPUs.
        find_targets: the devices, and the engine on each; asked once, at the first load, because
            looking for GPUs takes time.
        observers: who is told what.
        clock: seconds.
    """

    def __init__(
        self,
        registry: Registry,
        workers: Workers,
        config: Config,
        find_targets: Callable[[], tuple[Target, ...]],
        observers: Observers,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.registry = registry
        self._workers = workers
        self._config = config
        self._limits = Limits(config.max_megapixels, config.max_side_px)
        self._find_targets = cache(find_targets)
        self._observers = observers
        self._clock = clock
        self._stopping = threading.Event()
        self._told_at = -PROGRESS_EVERY_S
        self._log = structlog.get_logger("server")

    def stop(self) -> None:
        """Ends a load that is under way at its next step; those to come end at once."""
        self._stopping.set()

    def load(self, name: str) -> tuple[Replica, ...]:
        """The model on every device, warm; once, on the CPU, where it has no network.

        Raises:
            ModelError: it cannot be had; what was loaded of it is freed.
        """
        replicas: list[Replica] = []
        has_network = self.registry.manifest(name).has_network
        try:
            for target in self._find_targets() if has_network else (Target(),):
                replicas.append(self._on(target, name))  # noqa: PERF401 - those made are freed
        except BaseException:
            for replica in replicas:
                self.free(name, replica)
            raise
        return tuple(replicas)

    def free(self, name: str, replica: Replica) -> None:
        """Frees a replica; what a sick device refuses is logged, and the rest goes on."""
        try:
            replica.free()
        except DeviceError as error:
            self._log.warning("device error", model=name, doing="freeing", error=str(error))

    def _on(self, target: Target, name: str) -> Replica:
        try:
            model = self.registry.load(
                name,
                target,
                threads=self._workers.threads,
                max_batch=self._config.max_batch,
                on_progress=lambda what, share: self._progressed(name, what, share),
                cancelled=self._stopping.is_set,
            )
            try:
                model.warm()
                replica = make_replica(
                    model,
                    target,
                    self._workers,
                    self._limits,
                    gpu_jpeg=self._config.gpu_jpeg,
                    slot_bytes=self._config.gpu_slot_mb * MEBIBYTE,
                    on_batch=lambda images: self._observers.batch(name, images),
                    on_launch=lambda is_graph: self._observers.launch(name, is_graph),
                    on_lost=lambda error: self._observers.lost(name, replica, error),
                    clock=self._clock,
                )
            except BaseException:
                model.close()
                raise
        except DeviceError as error:
            raise EngineFailed(f"model '{name}' on {target.device}: {error}") from error
        return replica

    def _progressed(self, name: str, what: str, share: float) -> None:
        now = self._clock()
        if now - self._told_at >= PROGRESS_EVERY_S:
            self._told_at = now
            self._log.info("model loading", model=name, step=what, done=f"{share:.0%}")
