"""The gRPC server as the network sees it: its services, limits, keepalive, address, TLS, and who
can reach it.

Made by `server.app`, which owns its life.
"""

from __future__ import annotations

import errno
import os
import socket
from contextlib import suppress
from pathlib import Path

import grpc
import structlog
from grpc_health.v1 import health_pb2  # type: ignore[import-untyped]
from grpc_reflection.v1alpha import reflection, reflection_pb2

from mattestream.v1 import models_pb2, models_pb2_grpc, removal_pb2, removal_pb2_grpc
from server import health
from server.config import MEBIBYTE, Config
from server.health import Health
from server.interceptors import CallInterceptor
from server.kserve import names, wiring
from server.kserve.service import InferenceService
from server.services.models import ModelsService
from server.services.removal import RemovalService

# Protobuf's and gRPC's own limit.
LARGEST_MESSAGE_BYTES = 2**31 - 1
UNIX_PATH_BYTES = 107  # of sockaddr_un on Linux, its final zero apart
MODELS_SERVICE = models_pb2.DESCRIPTOR.services_by_name["ModelsService"].full_name


class StartError(Exception):
    """The server cannot start; one sentence says why."""


def new_server(
    config: Config,
    interceptor: CallInterceptor,
    *,
    removal: RemovalService,
    models: ModelsService,
    inference: InferenceService,
    health_service: Health,
) -> grpc.aio.Server:
    """A server with all services and limits, not bound to a port yet."""
    server = grpc.aio.server(
        interceptors=[interceptor],
        maximum_concurrent_rpcs=config.max_calls,
        options=(
            ("grpc.max_receive_message_length", config.max_message_mb * MEBIBYTE),
            ("grpc.max_send_message_length", largest_answer_bytes(config)),
            # Without it a second server on the same port would silently share its callers.
            ("grpc.so_reuseport", 0),
            ("grpc.optimization_target", "throughput"),
            # Finds callers that vanished without a word, sooner than NATs forget idle connections.
            ("grpc.keepalive_time_ms", 60_000),
            ("grpc.keepalive_timeout_ms", 20_000),
            ("grpc.http2.max_pings_without_data", 0),
            ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
        ),
    )
    removal_pb2_grpc.add_BackgroundRemovalServiceServicer_to_server(removal, server)
    models_pb2_grpc.add_ModelsServiceServicer_to_server(models, server)
    wiring.add_to(server, inference)
    health_service.register(server)
    reflection.enable_server_reflection(
        (
            health.REMOVAL_SERVICE,
            MODELS_SERVICE,
            names.SERVICE,
            health.SERVICE_NAME,
            reflection.SERVICE_NAME,
        ),
        server,
        pool=wiring.described_with(
            removal_pb2.DESCRIPTOR,
            models_pb2.DESCRIPTOR,
            health_pb2.DESCRIPTOR,
            reflection_pb2.DESCRIPTOR,
        ),
    )
    return server


def bind(server: grpc.aio.Server, config: Config) -> int:
    """The port that `server` now holds; it listens once started.

    Raises:
        StartError: the address is taken, or TLS files cannot be used.
    """
    address = shown_address(config.host, config.port)
    credentials = _credentials(config)
    try:
        if credentials is None:
            port = server.add_insecure_port(address)
        else:
            port = server.add_secure_port(address, credentials)
    except RuntimeError as error:
        # gRPC gives the same error for everything.
        raise StartError(f"cannot listen on {address}: {_what_is_wrong(config)}") from error
    if config.unix_socket is not None:
        _bind_unix(server, config.unix_socket)
    return port


def forget_unix_socket(config: Config) -> None:
    """Takes the socket's file away once the server has ended; gRPC leaves some behind."""
    path = config.unix_socket
    if path is not None and path.is_socket() and not _answers(path):
        with suppress(OSError):
            path.unlink()


def _bind_unix(server: grpc.aio.Server, path: Path) -> None:
    where = f"cannot listen on unix:{path}"
    if len(os.fsencode(path)) > UNIX_PATH_BYTES:
        raise StartError(
            f"{where}: the path is {len(os.fsencode(path))} bytes, a socket's may have "
            f"{UNIX_PATH_BYTES}: choose a shorter --unix-socket"
        )
    if path.exists() and not path.is_socket():
        raise StartError(f"{where}: something else is there, choose another --unix-socket")
    if path.is_socket():
        if _answers(path):
            # gRPC would take the name away from it without a word.
            raise StartError(f"{where}: another server listens there, choose another --unix-socket")
        path.unlink(missing_ok=True)  # of a server that was killed
    before = os.umask(0o177)  # whoever may connect may name shared memory: the owner alone
    try:
        server.add_insecure_port(f"unix:{path}")
    except RuntimeError as error:
        raise StartError(
            f"{where}: its folder must be there and be writable, or choose another --unix-socket"
        ) from error
    finally:
        os.umask(before)


def _answers(path: Path) -> bool:
    """True when a server listens on the socket."""
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            return False
    return True


def shown_address(host: str, port: int) -> str:
    """Host and port as one text; an IPv6 address stands in brackets."""
    return f"[{host}]:{port}" if ":" in host and not host.startswith("[") else f"{host}:{port}"


def warn_if_exposed(config: Config) -> None:
    """A loud line in the log when other machines can reach a server without TLS or without keys."""
    missing = [
        what
        for what, is_set in (
            ("TLS (--tls-cert, --tls-key)", config.tls_cert),
            ("API keys (--api-keys-file)", config.api_keys_file),
        )
        if not is_set
    ]
    if (config.is_exposed or config.is_http_exposed) and missing:
        structlog.get_logger("server").warning(
            "other machines can reach this server",
            address=config.host if config.is_exposed else config.http_host,
            without=missing,
            advice="set what is missing, or listen on 127.0.0.1",
        )


def largest_answer_bytes(config: Config) -> int:
    """Bytes of the largest answer: raw RGBA of the largest image, and room for a noisy PNG; never
    more than a message can hold.
    """
    wanted = int(config.max_megapixels * 1e6 * 4 * 1.01) + 4 * MEBIBYTE
    return min(wanted, LARGEST_MESSAGE_BYTES)


def _what_is_wrong(config: Config) -> str:
    """Why gRPC could not listen, and what to do: found by asking the system for the same port."""
    try:
        found = socket.getaddrinfo(config.host.strip("[]"), config.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return f"{config.host!r} is not known as a host, choose another --host"
    family, kind, _, _, address = found[0]
    try:
        with socket.socket(family, kind) as probe:
            # As gRPC does, so that connections of a server that has just ended do no harm.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            probe.listen()
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            return (
                "is another server running there? Choose another --port or --host; one beside it "
                "starts with --port 0 --http-port -1 --metrics-port -1"
            )
        return f"{error.strerror}, choose another --port or --host"
    if config.tls_cert is not None:
        return (
            f"TLS refuses {config.tls_cert} and {config.tls_key}, check that they belong together"
        )
    return "gRPC does not say why, choose another --port or --host"


def _credentials(config: Config) -> grpc.ServerCredentials | None:
    if config.tls_cert is None or config.tls_key is None:
        return None
    try:
        pair = (config.tls_key.read_bytes(), config.tls_cert.read_bytes())
    except OSError as error:
        raise StartError(f"cannot read {error.filename}: {error.strerror}") from error
    return grpc.ssl_server_credentials([pair])
