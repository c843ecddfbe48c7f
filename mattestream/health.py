"""As much of grpc.health.v1 as a client needs; the health package is a dependency of servers only.

The two messages have one field each and have been frozen for years, so they are read and written by
hand: HealthCheckRequest {string service = 1}, HealthCheckResponse {ServingStatus status = 1}.
Called by `wait_ready` of both clients.
"""

from __future__ import annotations

from mattestream.errors import InvalidRequest

WATCH = "/grpc.health.v1.Health/Watch"
SERVING = 1
SERVICE_UNKNOWN = 3
_STATUS_FIELD = 0x08  # field 1, varint
_SERVICE_FIELD = 0x0A  # field 1, length-delimited
_MAX_NAME_BYTES = 127  # the length of a longer one would need a second byte


def service_name(model: str | None) -> str:
    """The health service of a model, or the server's own, which is the empty name.

    Raises:
        InvalidRequest: the name is too long for `write_request`, and for any model.
    """
    name = f"models/{model}" if model else ""
    if len(name.encode()) > _MAX_NAME_BYTES:
        raise InvalidRequest(f"the model's name has {len(name) - 7} characters: up to 120 can be")
    return name


def write_request(service: str) -> bytes:
    """HealthCheckRequest on the wire, for a name that `service_name` gave."""
    name = service.encode()
    return bytes((_SERVICE_FIELD, len(name))) + name if name else b""


def read_status(response: bytes) -> int:
    """The status: 0 unknown, 1 serving, 2 not serving, 3 no such service."""
    if len(response) >= 2 and response[0] == _STATUS_FIELD:
        return response[1]
    return 0  # proto3 leaves a zero out
