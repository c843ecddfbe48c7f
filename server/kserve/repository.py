"""Which models there are and in what state; loading and unloading them, both faces at once.

Called by `server.kserve.service`; a thin face of `server.model_host`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from mattestream.kserve.v2 import control_pb2
from server.kserve.errors import NotSupported, WrongRequest
from server.kserve.names import Face, faces_of, manifest_of
from server.model_host import ModelHost, State

READY, UNAVAILABLE = "READY", "UNAVAILABLE"
_STATES = {State.LOADING: "LOADING", State.READY: READY, State.UNLOADING: "UNLOADING"}

Parameters = control_pb2.RepositoryModelLoadRequest | control_pb2.RepositoryModelUnloadRequest


async def index(
    host: ModelHost, request: control_pb2.RepositoryIndexRequest
) -> control_pb2.RepositoryIndexResponse:
    """Every model by name, both faces; only those that are ready when the request says so."""
    _check_repository(request.repository_name)
    response = control_pb2.RepositoryIndexResponse()
    for name in await asyncio.to_thread(host.registry.names):
        state, _ = host.state(name)
        shown, reason = _STATES.get(state, UNAVAILABLE) if state else UNAVAILABLE, ""
        if request.ready and shown != READY:
            continue
        if state is None:
            reason = await asyncio.to_thread(host.registry.availability, name)
            reason = reason or "not loaded: load it with RepositoryModelLoad"
        for face in faces_of(host.registry.manifest(name)):
            response.models.add(name=face.name, version=face.version, state=shown, reason=reason)
    return response


async def load(host: ModelHost, request: control_pb2.RepositoryModelLoadRequest) -> None:
    """Returns when the model is loaded and warm, with all of its faces.

    Raises:
        WrongRequest, NotSupported: the request makes no sense.
        ModelError: see `models.errors`.
    """
    model = _model(host, request)
    for name in request.parameters:
        raise NotSupported(
            f"parameter '{name}' of a load is not taken: a model's manifest lies on the server, "
            "change it there"
        )
    await host.load(model)


async def unload(host: ModelHost, request: control_pb2.RepositoryModelUnloadRequest) -> None:
    """Returns when the model is freed, with all of its faces.

    Raises:
        WrongRequest, NotSupported: the request makes no sense.
        ModelNotFound, DefaultModelStays: see `server.model_host`.
    """
    model = _model(host, request)
    for name in request.parameters:
        if name != "unload_dependents":
            raise NotSupported(f"parameter '{name}' of an unload is not taken: leave it out")
    await host.unload(model)


def loaded(host: ModelHost) -> Iterator[Face]:
    """The faces of every model that is ready."""
    for name in host.registry.names():
        if host.state(name)[0] is State.READY:
            yield from faces_of(host.registry.manifest(name))


def _model(host: ModelHost, request: Parameters) -> str:
    _check_repository(request.repository_name)
    if not request.model_name:
        raise WrongRequest("model_name is empty: give a model's name, as RepositoryIndex lists it")
    return manifest_of(host, request.model_name).name


def _check_repository(name: str) -> None:
    if name:
        raise WrongRequest(
            f"there is no repository '{name[:100]}': there is one, leave repository_name empty"
        )
