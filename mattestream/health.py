"""As much of grpc.health.v1 as a client needs; the health package is a dependency of servers only.

The two messages have one field each and have been frozen for years, so they are read and written by
hand: HealthCheckRequest {string service = 1}, HealthCheckResponse {ServingStatus status = 1}.
Called by `wait_ready` of both clients.
"""

from __future__ import annotations

WATCH = "/grpc.health.v1.Health/Watch"
SERVING = 1
SERVICE_UNKNOWN = 3
_STATUS_FIELD = 0x08  # field 1, varint
_SERVICE_FIELD = 0x0A  # field 1, length-delimited


def service_name(model: str | None) -> str:
    """The health service of a model, or the server's own, which is the empty name."""
    return f"models/{model}" if model else ""


def write_request(service: str) -> bytes:
    """HealthCheckRequest on the wire.

    Raises:
        ValueError: the name is 128 bytes or longer; its length would need a second byte.
    """
    name = service.encode()
    if len(name) > 127:
        raise ValueError(f"service name of {len(name)} bytes, up to 127 are allowed")
    return bytes((_SERVICE_FIELD, len(name))) + name if name else b""


def read_status(response: bytes) -> int:
    """The status: 0 unknown, 1 serving, 2 not serving, 3 no such service."""
    if len(response) >= 2 and response[0] == _STATUS_FIELD:
        return response[1]
    return 0  # proto3 leaves a zero out
