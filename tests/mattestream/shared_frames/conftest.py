"""A prefix of its own for each test, and a server that allows it."""

from __future__ import annotations

import secrets
from collections.abc import Iterator

import pytest

from mattestream import Client
from mattestream.cli.server_process import ServerProcess
from tests.fakes.tiny_onnx import write_tiny_model
from tests.mattestream.shared_frames.rings import (
    left_of,
)


@pytest.fixture
def prefix() -> Iterator[str]:
    """One of this test's own, and nothing left under it."""
    made = f"mstest-{secrets.token_hex(4)}-"
    yield made
    assert left_of(made) == []


@pytest.fixture(scope="session")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server in a process of its own that allows the tests' prefixes."""
    folder = tmp_path_factory.mktemp("models")
    write_tiny_model(folder, "tiny")
    flags = ["--model", "tiny", "--model-dir", str(folder), "--threads", "2"]
    with ServerProcess([*flags, "--shared-memory", "mstest-"]) as server:
        yield server.address


@pytest.fixture
def client(address: str) -> Iterator[Client]:
    with Client(address) as made:
        yield made
