"""How both clients open their channel: limits, retries, keepalive, TLS, the key. No I/O here."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

import grpc

from mattestream.errors import InvalidRequest
from mattestream.values import whole

DEFAULT_ADDRESS = "127.0.0.1:50051"
DEFAULT_TIMEOUT_S = 60.0
# A 64 MP cut-out as raw RGBA is 256 MB; grpc's own limit of 4 MB refuses even a raw 1080p frame.
DEFAULT_MAX_MESSAGE_MIB = 288

API_KEY_KEY = "x-api-key"
# grpc refuses other values with "Invalid metadata", and long ones as if the server were full.
_SENDABLE = re.compile(r"(?! )[\x20-\x7e]{1,4096}(?<! )")

# grpc takes a missing port for 443, and one beyond 65535 modulo 65536.
_HOST_AND_PORT = re.compile(r"(?P<host>[^\s/:\[\]]+|\[[0-9A-Fa-f:.%a-z]+\]):(?P<port>\d{1,5})")
# Of grpc's own kinds of address these are the ones that a client can reach a server by.
_SCHEMES = ("unix:", "unix-abstract:", "dns:", "ipv4:", "ipv6:", "vsock:", "xds:")
_MAX_MESSAGE_MIB = 2047  # protobuf's own limit is 2 GiB

_SERVICE = "mattestream.v1.BackgroundRemovalService"
_MODELS = "mattestream.v1.ModelsService"

# Both codes mean "nothing was done": UNAVAILABLE came before the work, RESOURCE_EXHAUSTED instead
# of it, with the server's own pause (grpc-retry-pushback-ms). Five is the most that grpc allows.
_RETRY = {
    "maxAttempts": 5,
    "initialBackoff": "0.1s",
    "maxBackoff": "2s",
    "backoffMultiplier": 2,
    "retryableStatusCodes": ["UNAVAILABLE", "RESOURCE_EXHAUSTED"],
}
# A stream is opened again only while nothing has come back; a full server is the caller's to see.
_RETRY_OPENING = {**_RETRY, "maxAttempts": 3, "retryableStatusCodes": ["UNAVAILABLE"]}

SERVICE_CONFIG = {
    "methodConfig": [
        {
            "name": [
                {"service": _SERVICE, "method": "Remove"},
                {"service": _SERVICE, "method": "Segment"},
                {"service": _MODELS},
            ],
            "retryPolicy": _RETRY,
        },
        {
            "name": [{"service": _SERVICE, "method": "RemoveStream"}],
            "retryPolicy": _RETRY_OPENING,
        },
    ],
    # Half the tokens gone stops retrying: a server that is down is not hammered by its callers.
    "retryThrottling": {"maxTokens": 100, "tokenRatio": 0.5},
}


@dataclass(frozen=True, slots=True)
class Tls:
    """How the server proves who it is, and the client too where the server asks (mTLS). All PEM."""

    root_certificates: bytes | None = None  # None: the system's
    private_key: bytes | None = None
    certificate_chain: bytes | None = None
    server_name: str | None = None  # name in the certificate, where it is not the address's

    def __post_init__(self) -> None:
        for name in ("root_certificates", "private_key", "certificate_chain"):
            value = getattr(self, name)
            if value is not None and not (isinstance(value, bytes) and b"-----BEGIN " in value):
                # The value itself stays out of messages: it may be a key.
                raise InvalidRequest(
                    f"{name} is {type(value).__name__} that is no PEM: give the bytes of the file, "
                    "as Path('ca.pem').read_bytes() has them"
                )

    def credentials(self) -> grpc.ChannelCredentials:
        """The same in the form that grpc takes."""
        return grpc.ssl_channel_credentials(
            self.root_certificates, self.private_key, self.certificate_chain
        )


@dataclass(frozen=True, slots=True)
class Connection:
    """Everything that opening a channel needs."""

    address: str = DEFAULT_ADDRESS
    api_key: str | None = None
    tls: Tls | None = None
    max_message_mib: int = DEFAULT_MAX_MESSAGE_MIB
    retries: bool = True

    @property
    def max_message_bytes(self) -> int:
        """Largest request or reply, in bytes."""
        return self.max_message_mib * 1024 * 1024

    def metadata(self) -> tuple[tuple[str, str], ...]:
        """What every call carries."""
        return ((API_KEY_KEY, self.api_key),) if self.api_key else ()

    def options(self) -> list[tuple[str, Any]]:
        """Channel arguments, explicit where grpc's default would surprise."""
        options: list[tuple[str, Any]] = [
            ("grpc.max_send_message_length", self.max_message_bytes),
            ("grpc.max_receive_message_length", self.max_message_bytes),
            ("grpc.enable_retries", int(self.retries)),
            # grpc keeps 256 KiB of a call for a retry and silently commits above that: most photos.
            ("grpc.per_rpc_retry_buffer_size", self.max_message_bytes),
            # The first pause is a second otherwise: too long for a server that is just starting.
            ("grpc.initial_reconnect_backoff_ms", 100),
            ("grpc.min_reconnect_backoff_ms", 100),
            ("grpc.max_reconnect_backoff_ms", 5_000),
            ("grpc.keepalive_time_ms", 60_000),
            ("grpc.keepalive_timeout_ms", 20_000),
        ]
        if self.retries:
            options.append(("grpc.service_config", json.dumps(SERVICE_CONFIG)))
        if self.tls and self.tls.server_name:
            options.append(("grpc.ssl_target_name_override", self.tls.server_name))
        return options


def connection(
    address: str, *, api_key: str | None, tls: Tls | bool, max_message_mib: int, retries: bool
) -> Connection:
    """The settings of a client's constructor as one value; `tls=True` means the system's roots.

    Raises:
        InvalidRequest: the address is none, the limit is no message's, or the key is nothing that a
            header can carry.
    """
    _check_address(address)
    whole("max_message_mib", max_message_mib, 1, _MAX_MESSAGE_MIB, f"from 1 to {_MAX_MESSAGE_MIB}")
    if api_key and not _SENDABLE.fullmatch(api_key):
        # The key itself stays out of messages and logs.
        raise InvalidRequest(
            f"the API key ({len(api_key)} characters) cannot be sent: it may have up to 4096 "
            "printable ASCII characters, without spaces or a line end around them"
        )
    return Connection(
        address=address,
        api_key=api_key,
        tls=(Tls() if tls is True else tls or None),
        max_message_mib=max_message_mib,
        retries=retries,
    )


def _check_address(address: str) -> None:
    if isinstance(address, str):
        if address.startswith(_SCHEMES):
            return
        found = _HOST_AND_PORT.fullmatch(address)
        if found and 0 < int(found["port"]) <= 65535:
            return
    raise InvalidRequest(
        f"address is {address!r}: give host:port, as in {DEFAULT_ADDRESS}, or unix:/path (a gRPC "
        "address has no http:// before it)"
    )
