"""A server that is killed in the middle of a batch, as the kernel or a power cut does it."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from loadtest.servers import free_port
from tests.server.fakes import picture

PICTURES = 30
WAIT_S = 120


@contextmanager
def server(folder: Path, log: Path) -> Iterator[tuple[httpx.Client, subprocess.Popen[bytes]]]:
    """A server of its own process with the built-in model, and a client of it."""
    port = free_port()
    options = ["--port", "0", "--http-port", str(port), "--metrics-port", "-1", "--device", "cpu"]
    command = [sys.executable, "-m", "mattestream", "serve", *options, "--batch-dir", str(folder)]
    base = f"http://127.0.0.1:{port}"
    with (
        log.open("ab") as lines,
        subprocess.Popen(command, stdout=lines, stderr=lines) as process,
        httpx.Client(base_url=base, timeout=30, trust_env=False) as client,
    ):
        try:
            until(lambda: is_ready(client) or process.poll() is not None)
            assert process.poll() is None, log.read_text()
            yield client, process
        finally:
            process.kill()


def is_ready(client: httpx.Client) -> bool:
    try:
        return client.get("/readyz").status_code == 200
    except httpx.TransportError:
        return False


def until(is_so: Any) -> None:
    """Returns when it is so; a process of its own can only be asked again and again."""
    end = time.monotonic() + WAIT_S
    while not is_so():
        assert time.monotonic() < end, "it did not come to that in time"
        time.sleep(0.01)


@pytest.mark.slow
def test_a_batch_whose_server_is_killed_loses_nothing(tmp_path: Path) -> None:
    folder, log = tmp_path / "batches", tmp_path / "log"
    files = [("images", (f"{number}.jpg", picture(640, 480))) for number in range(PICTURES)]
    with server(folder, log) as (client, process):
        batch = client.post("/v1/batches", files=files).json()["id"]
        until(lambda: client.get(f"/v1/batches/{batch}").json()["done"] >= 3)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    made = list((folder / batch / "out").iterdir())
    assert 3 <= len(made) < PICTURES  # it was in the middle
    with server(folder, log) as (client, _):
        state: dict[str, Any] = client.get(f"/v1/batches/{batch}").json()
        assert state["done"] >= 3  # and does not begin anew
        until(lambda: client.get(f"/v1/batches/{batch}").json()["state"] == "done")
        assert client.get(f"/v1/batches/{batch}").json()["failed"] == 0
        results = client.get(f"/v1/batches/{batch}/results").content
    with zipfile.ZipFile(io.BytesIO(results)) as archive:
        assert archive.testzip() is None
        assert sorted(archive.namelist()) == sorted(f"{n}.png" for n in range(PICTURES))
