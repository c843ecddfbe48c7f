"""GRPCInferenceService: a method for each call of the protocol.

Put on the wire by `server.kserve.wiring`. As with our own services errors are only raised here, and
`server.interceptors` ends the call with them.
"""

from __future__ import annotations

from typing import Any

import grpc

from mattestream import __version__
from mattestream.kserve.v2 import (
    control_pb2,
    infer_pb2,
    model_config_pb2,
    service_pb2,
    service_pb2_grpc,
    statistics_pb2,
)
from models.errors import ModelNotFound
from server.calls import current_call
from server.config import Config
from server.health import Health
from server.kserve import describe, repository, settings
from server.kserve.answers import Answers
from server.kserve.errors import VersionUnknown
from server.kserve.names import Face, find_face, is_ready, serving
from server.kserve.regions import RegisteredMemory
from server.kserve.streams import InferenceStreams, Requests, allowed_seconds
from server.model_host import ModelHost
from server.shutdown import Gate

Context = grpc.aio.ServicerContext[Any, Any]

EXTENSIONS = (
    "binary_tensor_data",
    "parameters",
    "statistics",
    "model_configuration",
    "model_repository",
    "schedule_policy",
    "trace",
    "logging",
)
SYSTEM_SHARED_MEMORY, CUDA_SHARED_MEMORY = "system_shared_memory", "cuda_shared_memory"


class InferenceService(service_pb2_grpc.GRPCInferenceServiceServicer):
    """Models as networks and as pipelines."""

    def __init__(
        self,
        host: ModelHost,
        gate: Gate,
        health: Health,
        config: Config,
        *,
        answers: Answers,
        regions: RegisteredMemory,
        streams: InferenceStreams,
    ) -> None:
        self.regions = regions
        self.streams = streams
        self.statistics = answers.statistics
        self._host = host
        self._gate = gate
        self._health = health
        self._config = config
        self._answers = answers

    async def ServerLive(  # noqa: N802
        self, request: service_pb2.ServerLiveRequest, context: Context
    ) -> service_pb2.ServerLiveResponse:
        """Yes."""
        return service_pb2.ServerLiveResponse(live=True)

    async def ServerReady(  # noqa: N802
        self, request: service_pb2.ServerReadyRequest, context: Context
    ) -> service_pb2.ServerReadyResponse:
        """Whether it takes work and can do it."""
        ready = self._gate.is_open and self._health.is_serving
        return service_pb2.ServerReadyResponse(ready=ready)

    async def ModelReady(  # noqa: N802
        self, request: service_pb2.ModelReadyRequest, context: Context
    ) -> service_pb2.ModelReadyResponse:
        """Whether a model is loaded and warm; one that is not there is not ready, as in Triton."""
        try:
            face = find_face(self._host, request.name, request.version)
        except (ModelNotFound, VersionUnknown):
            return service_pb2.ModelReadyResponse(ready=False)
        return service_pb2.ModelReadyResponse(ready=is_ready(self._host, face.manifest.name))

    async def ServerMetadata(  # noqa: N802
        self, request: service_pb2.ServerMetadataRequest, context: Context
    ) -> service_pb2.ServerMetadataResponse:
        """What this server is and has."""
        extensions = [*EXTENSIONS]
        if self.regions.system.is_on:
            extensions.append(SYSTEM_SHARED_MEMORY)
        if self.regions.cuda.is_on:
            extensions.append(CUDA_SHARED_MEMORY)
        return service_pb2.ServerMetadataResponse(
            name="mattestream", version=__version__, extensions=extensions
        )

    async def ModelMetadata(  # noqa: N802
        self, request: service_pb2.ModelMetadataRequest, context: Context
    ) -> service_pb2.ModelMetadataResponse:
        """A model's tensors."""
        face = self._find(request.name, request.version)
        with serving(self._host, face) as replica:
            return describe.metadata(face, replica)

    async def ModelConfig(  # noqa: N802
        self, request: service_pb2.ModelConfigRequest, context: Context
    ) -> service_pb2.ModelConfigResponse:
        """The same in Triton's terms."""
        face = self._find(request.name, request.version)
        with serving(self._host, face) as replica:
            config: model_config_pb2.ModelConfig = describe.config(face, replica)
        return service_pb2.ModelConfigResponse(config=config)

    async def ModelStatistics(  # noqa: N802
        self, request: statistics_pb2.ModelStatisticsRequest, context: Context
    ) -> statistics_pb2.ModelStatisticsResponse:
        """What models have done."""
        response = statistics_pb2.ModelStatisticsResponse()
        if request.name:
            face = self._find(request.name, request.version)
            with serving(self._host, face):
                faces = [face]
        else:
            faces = list(repository.loaded(self._host))
        for face in faces:
            _, hosted = self._host.state(face.manifest.name)
            if hosted is not None:
                response.model_stats.append(self.statistics.message(face, hosted.replicas))
        return response

    async def ModelInfer(  # noqa: N802
        self, request: infer_pb2.ModelInferRequest, context: Context
    ) -> infer_pb2.ModelInferResponse:
        """One request."""
        allowed_s = allowed_seconds(context, self._config.default_deadline_s)
        response = infer_pb2.ModelInferResponse()
        asked = await self._answers.infer(request, response, context.peer(), allowed_s, waits=False)
        # The answer takes memory until the client has it.
        context.add_done_callback(lambda ctx: asked.release())  # type: ignore[arg-type]
        return response

    # A coroutine that writes, not a generator: cancelled, it cleans up at once.
    async def ModelStreamInfer(  # type: ignore[override]  # noqa: N802
        self, request_iterator: Requests, context: Context
    ) -> None:
        """Many requests, answered in their order."""
        await self.streams.serve(request_iterator, context, self._answers.infer)

    async def RepositoryIndex(  # noqa: N802
        self, request: control_pb2.RepositoryIndexRequest, context: Context
    ) -> control_pb2.RepositoryIndexResponse:
        """All models."""
        return await repository.index(self._host, request)

    async def RepositoryModelLoad(  # noqa: N802
        self, request: control_pb2.RepositoryModelLoadRequest, context: Context
    ) -> control_pb2.RepositoryModelLoadResponse:
        """Loads one."""
        current_call().fields["model"] = request.model_name
        await repository.load(self._host, request)
        return control_pb2.RepositoryModelLoadResponse()

    async def RepositoryModelUnload(  # noqa: N802
        self, request: control_pb2.RepositoryModelUnloadRequest, context: Context
    ) -> control_pb2.RepositoryModelUnloadResponse:
        """Unloads one."""
        current_call().fields["model"] = request.model_name
        await repository.unload(self._host, request)
        return control_pb2.RepositoryModelUnloadResponse()

    async def SystemSharedMemoryStatus(  # noqa: N802
        self, request: control_pb2.SystemSharedMemoryStatusRequest, context: Context
    ) -> control_pb2.SystemSharedMemoryStatusResponse:
        """The caller's regions."""
        response = control_pb2.SystemSharedMemoryStatusResponse()
        call = current_call()
        for each in self.regions.system.status(call.owner, context.peer(), request.name):
            status = response.regions[each.name]
            status.name, status.key = each.name, each.key
            status.offset, status.byte_size = each.offset, each.nbytes
        return response

    async def SystemSharedMemoryRegister(  # noqa: N802
        self, request: control_pb2.SystemSharedMemoryRegisterRequest, context: Context
    ) -> control_pb2.SystemSharedMemoryRegisterResponse:
        """One more."""
        self.regions.register_system(current_call().owner, context.peer(), request)
        return control_pb2.SystemSharedMemoryRegisterResponse()

    async def SystemSharedMemoryUnregister(  # noqa: N802
        self, request: control_pb2.SystemSharedMemoryUnregisterRequest, context: Context
    ) -> control_pb2.SystemSharedMemoryUnregisterResponse:
        """One less, or none."""
        self.regions.system.unregister(current_call().owner, context.peer(), request.name)
        return control_pb2.SystemSharedMemoryUnregisterResponse()

    async def CudaSharedMemoryStatus(  # noqa: N802
        self, request: control_pb2.CudaSharedMemoryStatusRequest, context: Context
    ) -> control_pb2.CudaSharedMemoryStatusResponse:
        """The caller's regions."""
        response = control_pb2.CudaSharedMemoryStatusResponse()
        call = current_call()
        for each in self.regions.cuda.status(call.owner, context.peer(), request.name):
            status = response.regions[each.name]
            status.name, status.byte_size = each.name, each.nbytes
            status.device_id = each.device.index
        return response

    async def CudaSharedMemoryRegister(  # noqa: N802
        self, request: control_pb2.CudaSharedMemoryRegisterRequest, context: Context
    ) -> control_pb2.CudaSharedMemoryRegisterResponse:
        """One more."""
        await self.regions.register_cuda(current_call().owner, context.peer(), request)
        return control_pb2.CudaSharedMemoryRegisterResponse()

    async def CudaSharedMemoryUnregister(  # noqa: N802
        self, request: control_pb2.CudaSharedMemoryUnregisterRequest, context: Context
    ) -> control_pb2.CudaSharedMemoryUnregisterResponse:
        """One less, or none."""
        await self.regions.cuda.unregister(current_call().owner, context.peer(), request.name)
        return control_pb2.CudaSharedMemoryUnregisterResponse()

    async def TraceSetting(  # noqa: N802
        self, request: control_pb2.TraceSettingRequest, context: Context
    ) -> control_pb2.TraceSettingResponse:
        """How requests are traced."""
        if request.model_name:
            self._find(request.model_name)
        return settings.trace_settings(request)

    async def LogSettings(  # noqa: N802
        self, request: control_pb2.LogSettingsRequest, context: Context
    ) -> control_pb2.LogSettingsResponse:
        """How the server logs."""
        return settings.log_settings(request, self._config.log_level)

    def _find(self, name: str, version: str = "") -> Face:
        current_call().fields["model"] = name[:100]
        return find_face(self._host, name, version)
