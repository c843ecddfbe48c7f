"""ModelsService: which models there are, loading and unloading them.

A thin face of `server.model_host`; manifests and files are looked at in a thread.
"""

from __future__ import annotations

import asyncio
from typing import Any

import grpc

from mattestream.v1 import models_pb2, models_pb2_grpc
from models.manifest import Manifest
from server.calls import current_call
from server.model_host import Hosted, ModelHost, State
from server.option_rules import InvalidOption

Context = grpc.aio.ServicerContext[Any, Any]

_STATES = {
    State.LOADING: models_pb2.MODEL_STATE_LOADING,
    State.READY: models_pb2.MODEL_STATE_READY,
    State.UNLOADING: models_pb2.MODEL_STATE_UNLOADING,
}


class ModelsService(models_pb2_grpc.ModelsServiceServicer):
    """Lists, loads and unloads."""

    def __init__(self, host: ModelHost) -> None:
        self._host = host

    async def ListModels(  # noqa: N802
        self, request: models_pb2.ListModelsRequest, context: Context
    ) -> models_pb2.ListModelsResponse:
        """Every model, by name."""
        return await self.list_models()

    async def list_models(self) -> models_pb2.ListModelsResponse:
        """The same, for callers without a wire's context."""
        names = await asyncio.to_thread(self._host.registry.names)
        return models_pb2.ListModelsResponse(models=[await self._describe(name) for name in names])

    async def GetModel(  # noqa: N802
        self, request: models_pb2.GetModelRequest, context: Context
    ) -> models_pb2.GetModelResponse:
        """One model."""
        return models_pb2.GetModelResponse(model=await self._describe(_name(request.name)))

    async def LoadModel(  # noqa: N802
        self, request: models_pb2.LoadModelRequest, context: Context
    ) -> models_pb2.LoadModelResponse:
        """One model, now loaded and warm."""
        name = _name(request.name)
        await self._host.load(name)
        return models_pb2.LoadModelResponse(model=await self._describe(name))

    async def UnloadModel(  # noqa: N802
        self, request: models_pb2.UnloadModelRequest, context: Context
    ) -> models_pb2.UnloadModelResponse:
        """One model, now freed."""
        name = _name(request.name)
        await self._host.unload(name)
        return models_pb2.UnloadModelResponse(model=await self._describe(name))

    async def _describe(self, name: str) -> models_pb2.Model:
        registry = self._host.registry
        manifest = registry.manifest(name)
        state, hosted = self._host.state(name)
        message = _of_manifest(manifest, is_default=name == self._host.default)
        if state is None:
            message.reason = await asyncio.to_thread(registry.availability, name)
            message.state = (
                models_pb2.MODEL_STATE_UNAVAILABLE
                if message.reason
                else models_pb2.MODEL_STATE_AVAILABLE
            )
        else:
            message.state = _STATES[state]
        if hosted is not None:
            _add_engine(message, hosted)
        return message


def _of_manifest(manifest: Manifest, *, is_default: bool) -> models_pb2.Model:
    return models_pb2.Model(
        name=manifest.name,
        version=manifest.version,
        description=manifest.description,
        license=manifest.license,
        commercial_use=manifest.commercial_use,
        weights_sha256=manifest.weights.sha256 or "",
        input_width=manifest.input.width,
        input_height=manifest.input.height,
        max_batch=manifest.max_batch,
        is_default=is_default,
    )


def _add_engine(message: models_pb2.Model, hosted: Hosted) -> None:
    replica = hosted.first
    engine = replica.model.engine
    message.engine = engine.name
    message.device = engine.device
    message.max_batch = replica.batcher.max_batch
    message.weights_sha256 = replica.model.weights_sha256


def _name(name: str) -> str:
    current_call().fields["model"] = name
    if not name:
        raise InvalidOption("name is empty: give a model's name, as ListModels lists them")
    return name
