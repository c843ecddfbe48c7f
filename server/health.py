"""grpc.health.v1 for the server, its main service and every model: SERVING only when warm.

Built by `server.app`; `server.model_host` reports models as they come and go.
"""

from __future__ import annotations

import grpc
from grpc_health.v1 import (  # type: ignore[import-untyped]
    health_pb2,
    health_pb2_grpc,
)
from grpc_health.v1.health import aio as health_aio  # type: ignore[import-untyped]

from mattestream.v1 import removal_pb2
from server.kserve import names

REMOVAL_SERVICE = removal_pb2.DESCRIPTOR.services_by_name["BackgroundRemovalService"].full_name
SERVICE_NAME = health_pb2.DESCRIPTOR.services_by_name["Health"].full_name


class Health:
    """The health service. "", the removal service and Triton's follow the whole server,
    "models/NAME" one model.

    Attributes:
        is_serving: what the whole server answers now.
    """

    def __init__(self) -> None:
        self.is_serving = False
        self._servicer = health_aio.HealthServicer()

    def register(self, server: grpc.aio.Server) -> None:
        """Adds the service to `server`."""
        health_pb2_grpc.add_HealthServicer_to_server(self._servicer, server)

    async def set_server(self, is_serving: bool) -> None:
        """What load balancers ask for."""
        self.is_serving = is_serving
        await self._set("", is_serving)
        await self._set(REMOVAL_SERVICE, is_serving)
        await self._set(names.SERVICE, is_serving)

    async def set_model(self, name: str, is_serving: bool) -> None:
        """Told by the model host."""
        await self._set(f"models/{name}", is_serving)

    async def shut_down(self) -> None:
        """NOT_SERVING for every name, for good."""
        self.is_serving = False
        await self._servicer.enter_graceful_shutdown()

    async def _set(self, service: str, is_serving: bool) -> None:
        status = health_pb2.HealthCheckResponse.ServingStatus
        await self._servicer.set(service, status.SERVING if is_serving else status.NOT_SERVING)
