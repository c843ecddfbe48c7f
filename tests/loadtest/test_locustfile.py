"""Locust's users against a real server, headless and with the page, as the file's head says."""

from __future__ import annotations

import csv
import importlib.util
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from loadtest.servers import ServerProcess, free_port, mattestream_server

# Looked for, not imported: Locust makes the standard library of its process gevent's.
if importlib.util.find_spec("locust") is None:
    pytest.skip("locust comes with the extras dev and bench", allow_module_level=True)
ROOT = Path(__file__).resolve().parents[2]
LOCUST = [str(Path(sys.executable).with_name("locust")), "-f", "loadtest/locustfile.py"]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server that lets its callers name shared memory."""
    work = tmp_path_factory.mktemp("server")
    settings = {"MATTESTREAM_SHARED_MEMORY": "mattestream-"}
    with mattestream_server(work, environment=settings) as running:
        yield running


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore"}


@pytest.mark.slow
def test_a_headless_run_of_every_user_ends_without_a_failure(
    server: ServerProcess, tmp_path: Path
) -> None:
    rows, _ = headless(server, tmp_path, users=4)
    assert int(rows["Aggregated"]["Failure Count"]) == 0
    assert int(rows["Remove 1080p"]["Request Count"]) > 0
    assert int(rows["RemoveStream 720p"]["Request Count"]) > 0
    assert int(rows["RemoveStream 720p, shared memory"]["Request Count"]) > 0
    assert any(name in rows for name in ("Remove 480p, alpha", "Remove 1080p, white JPEG"))


@pytest.mark.slow
def test_a_server_that_allows_no_shared_memory_is_left_in_peace(tmp_path: Path) -> None:
    with mattestream_server(tmp_path) as server:
        rows, said = headless(server, tmp_path, "SharedMemoryUser", "StreamUser", users=2)
    assert int(rows["Aggregated"]["Failure Count"]) == 0
    assert "RemoveStream 720p, shared memory" not in rows
    assert int(rows["RemoveStream 720p"]["Request Count"]) > 0
    assert "SharedMemoryUser sends nothing: shared memory is off on this server" in said


def headless(
    server: ServerProcess, folder: Path, *names: str, users: int
) -> tuple[dict[str, dict[str, str]], str]:
    """The rows of Locust's table by their names, and what it wrote to its log."""
    arguments = ["--host", server.address, "--headless", "-u", str(users), "-r", str(users)]
    patience = ("--stop-timeout", "20")
    done = subprocess.run(
        [*LOCUST, *arguments, "-t", "6s", "--csv", str(folder / "run"), *patience, *names],
        check=False,
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    with (folder / "run_stats.csv").open() as file:
        return {row["Name"]: row for row in csv.DictReader(file)}, done.stderr


@pytest.mark.slow
def test_the_page_opens_on_loopback(server: ServerProcess) -> None:
    port = free_port()
    arguments = ["--host", server.address, "--web-host", "127.0.0.1", "--web-port", str(port)]
    process = subprocess.Popen(
        [*LOCUST, *arguments],
        cwd=ROOT,
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        assert "Locust" in answer_of(f"http://127.0.0.1:{port}/", process)
    finally:
        process.terminate()
        process.wait(30)


def answer_of(url: str, process: subprocess.Popen[bytes]) -> str:
    """The page, as soon as it is served."""
    for _ in range(300):
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                text: str = answer.read().decode()
                return text
        except OSError:
            assert process.poll() is None, "locust ended by itself"
            time.sleep(0.1)  # another process's start has no event to wait for
    raise AssertionError("no page within 30 s")
