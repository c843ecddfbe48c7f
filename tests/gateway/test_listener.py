"""The port: taken, free, closed, with TLS, beside gRPC; signals stay the server's own."""

from __future__ import annotations

import asyncio
import signal
import socket
import ssl
import subprocess
import sys
from pathlib import Path

import grpc
import httpx
import pytest

from mattestream.v1 import removal_pb2_grpc
from server.app import StartError
from server.gateway import connection
from tests.gateway.serving import Open
from tests.server.fakes import picture, request
from tests.server.serving import new_app


async def test_a_taken_port_ends_the_start_with_what_to_do(model_dir: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        app, _ = new_app(model_dir, http_port=port)
        with pytest.raises(StartError, match=f"HTTP on 127.0.0.1:{port}.*another --http-port.*0 f"):
            await app.start()


async def test_an_unknown_host_ends_the_start(model_dir: Path) -> None:
    app, _ = new_app(model_dir, http_port=-1, http_host="no.such.host.invalid")
    with pytest.raises(StartError, match="choose another --http-host"):
        await app.start()


async def test_port_0_closes_the_door_and_imports_nothing_of_it(model_dir: Path) -> None:
    code = """
import sys
from server.app import App
from server.config import Config
assert App(Config(http_port=0)).http is None
heavy = {"starlette", "uvicorn", "python_multipart", "h11"} & set(sys.modules)
assert not heavy, heavy
"""
    await asyncio.to_thread(subprocess.run, [sys.executable, "-c", code], check=True)


async def test_both_doors_are_open_and_close(open_gateway: Open) -> None:
    handlers = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    async with open_gateway(port=True) as it:
        port = it.http.port
        over_http = await it.client.post("/v1/remove", files={"image": ("a.jpg", picture())})
        async with grpc.aio.insecure_channel(f"127.0.0.1:{it.app.port}") as channel:
            stub: removal_pb2_grpc.BackgroundRemovalServiceAsyncStub
            stub = removal_pb2_grpc.BackgroundRemovalServiceStub(channel)
            over_grpc = await stub.Remove(request())
        assert over_http.content == over_grpc.result.encoded.data
        assert handlers == (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT))
    with socket.socket() as again:
        again.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        again.bind(("127.0.0.1", port))


@pytest.mark.parametrize("sent", [b"", b"GET /healthz HTTP/1.1\r\nX: y"])
async def test_a_head_that_does_not_end_is_given_up(
    open_gateway: Open, monkeypatch: pytest.MonkeyPatch, sent: bytes
) -> None:
    monkeypatch.setattr(connection, "HEAD_PATIENCE_S", 0.05)
    async with open_gateway(port=True) as it:
        reader, writer = await asyncio.open_connection("127.0.0.1", it.http.port)
        writer.write(sent)
        assert await reader.read() == b""
        writer.close()
        await writer.wait_closed()


async def test_a_request_that_takes_its_time_is_not(
    open_gateway: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "HEAD_PATIENCE_S", 0.05)
    async with open_gateway(port=True) as it:
        reader, writer = await asyncio.open_connection("127.0.0.1", it.http.port)
        head = b"POST /v1.0/removebg HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        writer.write(head + b"Content-Length: 2\r\n\r\n{")
        silent, late = await asyncio.open_connection("127.0.0.1", it.http.port)
        assert await silent.read() == b""  # later than this one's head
        writer.write(b"}")
        assert b" 400 " in await reader.readuntil(b"\r\n")
        for each in (late, writer):
            each.close()
            await each.wait_closed()


async def test_tls_is_the_same_as_over_grpc(open_gateway: Open, tmp_path: Path) -> None:
    key, cert = tmp_path / "key.pem", tmp_path / "cert.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1"]
    command += ["-keyout", str(key), "-out", str(cert), "-subj", "/CN=localhost"]
    command += ["-addext", "subjectAltName=IP:127.0.0.1"]
    await asyncio.to_thread(subprocess.run, command, check=True, capture_output=True)
    async with open_gateway(port=True, tls_cert=cert, tls_key=key) as it:
        trusted = ssl.create_default_context(cafile=str(cert))
        url = f"https://127.0.0.1:{it.http.port}/healthz"
        async with httpx.AsyncClient(verify=trusted, trust_env=False) as client:
            assert (await client.get(url)).status_code == 200


async def test_broken_tls_files_end_the_start(model_dir: Path, tmp_path: Path) -> None:
    for name in ("key.pem", "cert.pem"):
        (tmp_path / name).write_text("nonsense")
    settings = {"tls_cert": tmp_path / "cert.pem", "tls_key": tmp_path / "key.pem"}
    app, _ = new_app(model_dir, http_port=-1, **settings)
    with pytest.raises(StartError, match="TLS"):
        await app.start()
