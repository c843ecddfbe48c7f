"""API keys and TLS over the wire, and the files they come from."""

from __future__ import annotations

import subprocess
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from mattestream.v1 import models_pb2, removal_pb2_grpc
from server.app import StartError
from server.auth import ApiKeys, NotAuthenticated
from server.config_key import ConfigError
from tests.server.fakes import config_message, request
from tests.server.serving import Serve, new_app

KEY = "0123456789abcdef"
OTHER = "fedcba9876543210"


@pytest.fixture
def keys_file(tmp_path: Path) -> Path:
    path = tmp_path / "keys"
    path.write_text(f"# team a\n{KEY}\n\n{OTHER}\n")
    return path


def test_without_keys_everyone_may_call() -> None:
    ApiKeys().check(())
    assert not ApiKeys()


@pytest.mark.parametrize(
    "metadata",
    [
        (("x-api-key", KEY),),
        (("x-api-key", OTHER),),
        (("authorization", f"Bearer {KEY}"),),
        (("authorization", f"bearer {KEY}"),),
    ],
)
def test_a_known_key_passes_in_either_place(
    keys_file: Path, metadata: tuple[tuple[str, str], ...]
) -> None:
    ApiKeys.read(keys_file).check(metadata)


@pytest.mark.parametrize(
    ("metadata", "sentence"),
    [
        ((), "needs an API key"),
        ((("authorization", f"Basic {KEY}"),), "needs an API key"),
        ((("x-api-key", KEY[:-1]),), "not one this server knows"),
        ((("x-api-key", "# team a"),), "not one this server knows"),
        ((("x-api-key", ""),), "not one this server knows"),
    ],
)
def test_anything_else_does_not(
    keys_file: Path, metadata: tuple[tuple[str, str], ...], sentence: str
) -> None:
    with pytest.raises(NotAuthenticated, match=sentence):
        ApiKeys.read(keys_file).check(metadata)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [("", "holds no key"), ("# only words\n", "holds no key"), ("short\n", "has 5 characters")],
)
def test_a_file_of_no_use_ends_the_start(tmp_path: Path, text: str, sentence: str) -> None:
    path = tmp_path / "keys"
    path.write_text(text)
    with pytest.raises(ConfigError, match=sentence):
        ApiKeys.read(path)
    with pytest.raises(ConfigError, match="cannot read"):
        ApiKeys.read(tmp_path / "absent")


async def test_calls_need_a_key_and_health_does_not(serve: Serve, keys_file: Path) -> None:
    async with serve(api_keys_file=keys_file) as served:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await served.removal.Remove(request())
        assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
        with pytest.raises(grpc.aio.AioRpcError):
            await served.models.ListModels(models_pb2.ListModelsRequest())
        stream = served.removal.RemoveStream()
        assert await stream.code() is grpc.StatusCode.UNAUTHENTICATED
        await served.removal.Remove(request(), metadata=(("x-api-key", KEY),))
        stream = served.removal.RemoveStream(metadata=(("x-api-key", KEY),))
        await stream.write(config_message())
        assert (await stream.read()).WhichOneof("message") == "started"
        await stream.done_writing()
        health = health_pb2_grpc.HealthStub(served.channel)
        await health.Check(health_pb2.HealthCheckRequest())


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A self-signed certificate for localhost and its key."""
    folder = tmp_path_factory.mktemp("tls")
    cert, key = folder / "cert.pem", folder / "key.pem"
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
    ]
    command += ["-nodes", "-keyout", str(key), "-out", str(cert), "-days", "2"]
    command += ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except FileNotFoundError:
        pytest.skip("openssl is not installed, and the test makes its certificate with it")
    return cert, key


async def test_with_a_certificate_the_server_speaks_tls(
    serve: Serve, certificate: tuple[Path, Path]
) -> None:
    cert, key = certificate
    async with serve(tls_cert=cert, tls_key=key) as served:
        credentials = grpc.ssl_channel_credentials(cert.read_bytes())
        address = f"127.0.0.1:{served.app.port}"
        options = (("grpc.ssl_target_name_override", "localhost"),)
        async with grpc.aio.secure_channel(address, credentials, options) as channel:
            reply = await removal_pb2_grpc.BackgroundRemovalServiceStub(channel).Remove(request())
        assert reply.result.width == 96
        with pytest.raises(grpc.aio.AioRpcError):
            await served.removal.Remove(request())  # in the clear


async def test_a_certificate_that_cannot_be_read_is_named(model_dir: Path, tmp_path: Path) -> None:
    app, _ = new_app(model_dir, tls_cert=tmp_path / "no.pem", tls_key=tmp_path / "no.key")
    with pytest.raises(StartError, match=r"cannot read .*no\.key: No such file"):
        await app.start()
    (tmp_path / "no.pem").write_text("rubbish")
    (tmp_path / "no.key").write_text("rubbish")
    app, _ = new_app(model_dir, tls_cert=tmp_path / "no.pem", tls_key=tmp_path / "no.key")
    with pytest.raises(StartError, match="TLS"):
        await app.start()
