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
    """A server with its defaults."""
    work = tmp_path_factory.mktemp("server")
    with mattestream_server(work) as running:
        yield running


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore"}


@pytest.mark.slow
def test_a_headless_run_of_every_user_ends_without_a_failure(
    server: ServerProcess, tmp_path: Path
) -> None:
    arguments = ["--host", server.address, "--headless", "-u", "3", "-r", "3", "-t", "6s"]
    done = subprocess.run(
        [*LOCUST, *arguments, "--csv", str(tmp_path / "run"), "--stop-timeout", "20"],
        check=False,
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    with (tmp_path / "run_stats.csv").open() as file:
        rows = {row["Name"]: row for row in csv.DictReader(file)}
    assert int(rows["Aggregated"]["Failure Count"]) == 0
    assert int(rows["Remove 1080p"]["Request Count"]) > 0
    assert int(rows["RemoveStream 720p"]["Request Count"]) > 0
    assert any(name in rows for name in ("Remove 480p, alpha", "Remove 1080p, white JPEG"))


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
