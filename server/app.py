"""The server as one object: builds every part, starts, drains, stops.

`mattestream serve` calls `serve`; tests write `async with App(config) as app` and talk to
`app.port`.
"""

from __future__ import annotations

import asyncio
import math
import sys
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING

import cv2
import grpc
import structlog

from mattestream import __version__
from models.errors import ModelNotFound
from models.registry import Registry
from models.target import Target
from server import logs
from server.admission import Admission
from server.auth import ApiKeys
from server.catalogue import open_registry, targets
from server.codecs.header import Limits
from server.config import MEBIBYTE, Config
from server.config_key import ConfigError
from server.cuda_memory.door import CudaMemory
from server.device_losses import DeviceLosses
from server.health import Health
from server.interceptors import CallInterceptor
from server.kserve.answers import Answers
from server.kserve.cuda_regions import CudaRegions
from server.kserve.pipeline_face import PipelineFace
from server.kserve.regions import RegisteredMemory
from server.kserve.service import InferenceService
from server.kserve.shared_regions import SharedRegions
from server.kserve.streams import InferenceStreams
from server.kserve.tensor_face import TensorFace
from server.listener import (
    StartError,
    bind,
    forget_unix_socket,
    new_server,
    shown_address,
    warn_if_exposed,
)
from server.metrics import Metrics, MetricsServer
from server.model_host import ModelHost
from server.remover import Remover
from server.replica_loader import Observers, ReplicaLoader
from server.services.models import ModelsService
from server.services.removal import RemovalService
from server.shared_memory.door import SharedMemory
from server.shared_memory.policy import Policy
from server.shutdown import Gate
from server.subjects.prompter import Prompter
from server.subjects.segmenter import Segmenter
from server.until_signal import serve_until_signal
from server.workers import Stage, Workers

if TYPE_CHECKING:
    from server.gateway.addresses import Network
    from server.gateway.http_door import HttpDoor

# Streams are told to end when this share of the drain is over, so that they end with a status and
# not a cut.
STREAMS_SHARE = 0.75
SWITCH_S = 0.001
LAST_WORDS_S = 2.0  # for answers that are written but not yet delivered


class App:
    """A server. The constructor only builds; `start` or `async with` acts.

    Args:
        config: every setting.
        registry: the models; None: those that `config` names.
        clock: seconds; a test passes its own.
        reachable: networks that pictures may be fetched from though they are not public: a test's
            loopback.

    Raises:
        ConfigError: the API keys' file is not usable.
    """

    def __init__(
        self,
        config: Config,
        *,
        registry: Registry | None = None,
        clock: Callable[[], float] = time.monotonic,
        reachable: Sequence[Network] = (),
    ) -> None:
        self.config = config
        self.metrics = Metrics()
        self.health = Health()
        self.losses = DeviceLosses(self.health)
        self.gate = Gate()
        self.workers = Workers(config.worker_threads)
        self.admission = Admission(
            config.max_requests,
            config.inflight_bytes,
            threads=config.worker_threads,
            clock=clock,
        )
        self._loader = ReplicaLoader(
            registry or open_registry(config),
            self.workers,
            config,
            self._find_targets,
            Observers(self.metrics.batch_ran, self.metrics.device_ran, self.losses.told),
            clock=clock,
        )
        self.host = ModelHost(self._loader, default=config.model, on_serving=self._model_serves)
        limits = Limits(max_megapixels=config.max_megapixels, max_side_px=config.max_side_px)
        self.prompter = Prompter(
            self.host.registry,
            default=config.prompt_model,
            max_bytes=config.feature_cache_mb * MEBIBYTE,
        )
        self.remover = Remover(
            limits,
            self.host,
            self.workers,
            self.admission,
            self.metrics,
            prompter=self.prompter,
            clock=clock,
        )
        self.shared_memory = SharedMemory(
            Policy(config.shared_memory), max_encoded_bytes=config.max_message_mb * MEBIBYTE
        )
        self.cuda_memory = CudaMemory(is_on=config.cuda_shared_memory)
        self.segmenter = Segmenter(
            self.remover,
            self.prompter,
            self.admission,
            self.workers.lane(Stage.FINISH),
            self.metrics,
            clock=clock,
        )
        self.removal = RemovalService(
            self.remover,
            self.host,
            self.admission,
            self.metrics,
            config,
            segmenter=self.segmenter,
            shared_memory=self.shared_memory,
            cuda_memory=self.cuda_memory,
            clock=clock,
        )
        regions = RegisteredMemory(
            SharedRegions(self.shared_memory), CudaRegions(self.cuda_memory, self.host)
        )
        self.inference = InferenceService(
            self.host,
            self.gate,
            self.health,
            config,
            answers=Answers(
                self.host,
                TensorFace(self.workers, self.admission, self.remover.costs, self.metrics),
                PipelineFace(self.remover, self.shared_memory, self.workers),
                regions,
                clock=clock,
            ),
            regions=regions,
            streams=InferenceStreams(config, self.admission, self.metrics),
        )
        self.metrics.watch(self.admission, self.prompter.seen)
        api_keys = ApiKeys.read(config.api_keys_file)
        self._interceptor = CallInterceptor(
            self.gate,
            api_keys,
            self.metrics,
            self.admission,
            costs=self.remover.costs,
            clock=clock,
        )
        self._models = ModelsService(self.host)
        self.http = self._http_door(api_keys, reachable, clock) if config.http_port else None
        self._metrics_server = MetricsServer(
            self.metrics, config.metrics_host, max(0, config.metrics_port)
        )
        self._server: grpc.aio.Server | None = None
        self._port = 0
        self._log = structlog.get_logger("server")

    @property
    def port(self) -> int:
        """Port of the gRPC server, once started."""
        return self._port

    @property
    def metrics_port(self) -> int:
        """Port of the metrics, once started; -1 when they are off."""
        return -1 if self.config.metrics_port < 0 else self._metrics_server.port

    async def start(self) -> None:
        """Listens, loads the models, and is SERVING when this returns.

        Raises:
            StartError: a port or a folder cannot be had, or TLS files not read.
            ModelError: a model that the config names cannot be loaded.
        """
        self.losses.start(self.host)
        # A worker in Python code keeps the interpreter's lock for so long while the event loop
        # waits for it: with the 5 ms of the default, refusals under load took longer than that.
        sys.setswitchinterval(SWITCH_S)
        # OpenCV's own threads would fight with the workers for the same cores.
        cv2.setNumThreads(1)
        warn_if_exposed(self.config)
        problems = await asyncio.to_thread(self.host.registry.problems)
        for problem in problems:
            self._log.warning("model problem", problem=problem)
        self.workers.start()
        self.host.start()
        try:
            await self._listen()
            names = (self.config.model, *self.config.load, *self.host.registry.ready_made())
            for name in dict.fromkeys(names):
                await self.host.load(name)
            if self.http is not None:
                await self.http.start_batches()
        except BaseException as error:
            await self.stop()
            if isinstance(error, ModelNotFound) and problems:
                # The wanted manifest may be one of those that could not be read.
                raise ModelNotFound("; ".join([str(error), *problems])) from error
            raise
        await self.health.set_server(True)
        self._log.info(
            "ready",
            address=shown_address(self.config.host, self.port),
            http="off" if self.http is None else self.http.address,
            metrics=self._metrics_address(),
            models=[self.config.model, *self.config.load],
            threads=self.config.worker_threads,
            version=__version__,
        )

    async def drain(self) -> bool:
        """Refuses new work, lets what is under way finish, stops. True when nothing had to be cut
        off.
        """
        started_at = time.monotonic()
        self._log.info("draining", calls=self.gate.calls, drain_s=self.config.drain_s)
        await self.health.shut_down()
        self.gate.close()
        if self.http is not None:
            await self.http.stop_batches()
        is_empty = await self.gate.wait_empty(self.config.drain_s * STREAMS_SHARE)
        if not is_empty:
            self.removal.streams.close()
            self.inference.streams.close()
            is_empty = await self.gate.wait_empty(self.config.drain_s * (1 - STREAMS_SHARE))
        cut = self.gate.calls
        await self.stop(grace_s=LAST_WORDS_S if is_empty else 0)
        self._log.info("stopped", calls_cut=cut, drained_s=round(time.monotonic() - started_at, 2))
        return is_empty

    async def stop(self, *, grace_s: float = 0) -> None:
        """Stops at once and frees everything; calls under way are cancelled after `grace_s`
        seconds.
        """
        self.gate.close()
        if self.http is not None:
            await self.http.stop()
        if self._server is not None:
            await self._server.stop(grace_s)
            # The handlers of cancelled calls wait for their threads; nothing may be freed under
            # them.
            await self.gate.wait_empty(math.inf)
            self._server = None
        forget_unix_socket(self.config)
        await self.host.close()
        await asyncio.to_thread(self.workers.close)
        self.prompter.close()
        await self.inference.regions.close()
        self.shared_memory.regions.close()
        await asyncio.to_thread(self._metrics_server.close)

    async def __aenter__(self) -> App:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.stop()

    async def _listen(self) -> None:
        """The ports are open when this returns; health says NOT_SERVING."""
        await self.health.set_server(False)
        server = new_server(
            self.config,
            self._interceptor,
            removal=self.removal,
            models=self._models,
            inference=self.inference,
            health_service=self.health,
        )
        self._port = bind(server, self.config)
        await server.start()
        self._server = server
        if self.config.metrics_port >= 0:
            try:
                self._metrics_server.start()
            except OSError as error:
                raise StartError(
                    f"cannot show metrics on {self.config.metrics_host}:{self.config.metrics_port} "
                    f"({error.strerror}): choose another --metrics-port, or -1 for none"
                ) from error
        if self.http is not None:
            await self.http.start()

    def _http_door(
        self, api_keys: ApiKeys, reachable: Sequence[Network], clock: Callable[[], float]
    ) -> HttpDoor:
        # Its libraries are imported here, by the servers that open it.
        from server.gateway.door import Door
        from server.gateway.http_door import HttpDoor

        return HttpDoor(
            Door(
                self.remover,
                self.config.default_deadline_s,
                segmenter=self.segmenter,
                clock=clock,
            ),
            gate=self.gate,
            api_keys=api_keys,
            metrics=self.metrics,
            list_models=self._models.list_models,
            is_ready=lambda: self.health.is_serving,
            config=self.config,
            reachable=reachable,
            clock=clock,
        )

    async def _model_serves(self, name: str, is_serving: bool) -> None:
        self.metrics.model_serves(name, is_serving)
        await self.health.set_model(name, is_serving)
        if not is_serving:
            self.inference.statistics.forget(name)
        hosted = self.host.state(name)[1]
        if not is_serving or hosted is None:
            self._log.info("model unloading", model=name)
            return
        engine = hosted.first.model.engine
        self._log.info(
            "model loaded",
            model=name,
            devices=[replica.used.device for replica in hosted.replicas],
            engine=engine.name,
            precision=engine.precision,
        )

    def _find_targets(self) -> tuple[Target, ...]:
        """Where models run; what "auto" chose is said in the log."""
        found = targets(self.config)
        devices = [target.device for target in found]
        why = {"why": found[0].why} if found[0].why else {}
        self._log.info("devices", devices=devices, engine=found[0].engine, **why)
        return found

    def _metrics_address(self) -> str:
        if self.metrics_port < 0:
            return "off"
        return f"http://{shown_address(self.config.metrics_host, self.metrics_port)}/metrics"


def serve(config: Config) -> int:
    """Runs a server until a signal, with the process's logs set up. Returns the exit code.

    Raises:
        ConfigError, StartError, ModelError: the server cannot start; one sentence says why.
    """
    logs.configure(config.log_format, config.log_level)
    return asyncio.run(_serve(config))


async def _serve(config: Config) -> int:
    return await serve_until_signal(App(config))


__all__ = ["App", "ConfigError", "StartError", "serve"]
