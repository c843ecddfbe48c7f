"""The address a server listens on: which work, what is said of those that do not; size limits."""

from __future__ import annotations

import errno
import os
import socket
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from structlog.testing import capture_logs

from server.app import StartError
from server.config import Config
from server.listener import (
    LARGEST_MESSAGE_BYTES,
    largest_answer_bytes,
    shown_address,
    warn_if_exposed,
)
from tests.server.serving import new_app


async def is_serving(channel: grpc.aio.Channel) -> bool:
    reply = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
    return bool(reply.status == health_pb2.HealthCheckResponse.SERVING)


async def test_a_taken_port_is_said_in_a_sentence(model_dir: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        app, _ = new_app(model_dir, port=port)
        with pytest.raises(StartError, match=f"cannot listen on 127.0.0.1:{port}: is another"):
            await app.start()
        # The port that everyone knows comes first, and says what all three need.
        app, _ = new_app(model_dir, port=port, metrics_port=port, http_port=port)
        with pytest.raises(StartError, match="--port 0 --http-port -1 --metrics-port -1"):
            await app.start()
        app, _ = new_app(model_dir, metrics_port=port)
        with pytest.raises(StartError, match=f"cannot show metrics on 127.0.0.1:{port}"):
            await app.start()


@pytest.mark.parametrize(
    ("host", "reason"),
    [
        ("", "'' is not known as a host, choose another --host"),
        ("no-such-host.invalid", "'no-such-host.invalid' is not known as a host"),
        ("a..b", "'a..b' is not known as a host"),
        ("192.0.2.1", os.strerror(errno.EADDRNOTAVAIL)),  # of documentation, nobody's own
    ],
)
async def test_a_host_that_is_none_is_not_taken_for_a_taken_port(
    model_dir: Path, host: str, reason: str
) -> None:
    app, _ = new_app(model_dir, host=host)
    with pytest.raises(StartError) as caught:
        await app.start()
    assert reason in str(caught.value)
    assert "another server" not in str(caught.value)


async def test_a_certificate_that_tls_refuses_is_named(model_dir: Path, tmp_path: Path) -> None:
    for name in ("cert.pem", "key.pem"):
        (tmp_path / name).write_text("not PEM")
    app, _ = new_app(model_dir, tls_cert=tmp_path / "cert.pem", tls_key=tmp_path / "key.pem")
    with pytest.raises(StartError, match=r"TLS refuses .*cert\.pem and .*key\.pem"):
        await app.start()


@pytest.mark.parametrize("host", ["::1", "[::1]"])
async def test_an_ipv6_address_works_with_and_without_brackets(model_dir: Path, host: str) -> None:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        pytest.skip("this machine has no IPv6 loopback")
    app, _ = new_app(model_dir, host=host)
    async with app, grpc.aio.insecure_channel(f"[::1]:{app.port}") as channel:
        assert await is_serving(channel)


@pytest.mark.parametrize(
    ("host", "shown"),
    [("::1", "[::1]:5"), ("[::1]", "[::1]:5"), ("127.0.0.1", "127.0.0.1:5")],
)
def test_an_ipv6_address_is_shown_in_brackets(host: str, shown: str) -> None:
    assert shown_address(host, 5) == shown


async def test_the_largest_limits_that_may_be_set_let_the_server_start(model_dir: Path) -> None:
    app, _ = new_app(model_dir, max_megapixels=1000.0, max_message_mb=2047)
    assert largest_answer_bytes(app.config) == LARGEST_MESSAGE_BYTES
    async with app, grpc.aio.insecure_channel(f"127.0.0.1:{app.port}") as channel:
        assert await is_serving(channel)


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_an_open_door_is_warned_of_loudly(host: str) -> None:
    # Not a server: nothing in these tests may listen on other addresses than loopback.
    with capture_logs() as lines:
        warn_if_exposed(Config(host=host))
    warnings = [line for line in lines if line["log_level"] == "warning"]
    assert len(warnings) == (host == "0.0.0.0")
    if warnings:
        assert warnings[0]["without"] == [
            "TLS (--tls-cert, --tls-key)",
            "API keys (--api-keys-file)",
        ]
