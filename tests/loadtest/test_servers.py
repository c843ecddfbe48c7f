"""A server as a process: waited for, measured, stopped. The servers here are ten-line scripts."""

from __future__ import annotations

import socket
import sys
from pathlib import Path

import pytest

from loadtest.servers import HOST, ServerFailed, ServerProcess, Watch, free_port

LISTENS = """
import socket, sys, time
block = bytearray(b"x" * 60_000_000)
with socket.create_server(("127.0.0.1", int(sys.argv[1]))) as server:
    while True:
        server.accept()[0].close()
"""
ENDS = "import sys; sys.exit('the model is missing')"
IGNORES_SIGTERM = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN);" + LISTENS


def process(tmp_path: Path, script: str, port: int) -> ServerProcess:
    def is_ready() -> bool:
        try:
            socket.create_connection((HOST, port), timeout=1).close()
        except OSError:
            return False
        return True

    return ServerProcess(
        "listener",
        [sys.executable, "-c", script, str(port)],
        port=port,
        is_ready=is_ready,
        log_path=tmp_path / "log",
    )


def test_a_server_is_waited_for_and_stopped(tmp_path: Path) -> None:
    port = free_port()
    with process(tmp_path, LISTENS, port) as server:
        assert server.address == f"127.0.0.1:{port}"
        socket.create_connection((HOST, port), timeout=1).close()
    assert server.exit_code == -15
    with pytest.raises(OSError, match="refused"):
        socket.create_connection((HOST, port), timeout=1)


def test_memory_and_cpu_of_a_running_server_are_read(tmp_path: Path) -> None:
    with process(tmp_path, LISTENS, free_port()) as server, Watch(server, every_s=0.01) as watch:
        rss_mb = server.rss_mb()
    assert rss_mb > 60
    assert watch.peak_rss_mb >= 60
    assert watch.seconds > 0
    assert watch.machine_cpu_s >= 0


def test_a_stopped_server_takes_no_memory(tmp_path: Path) -> None:
    with process(tmp_path, LISTENS, free_port()) as server:
        pass
    assert server.rss_mb() == 0
    assert server.cpu_seconds() == 0


def test_a_server_that_ends_by_itself_is_told_with_its_last_words(tmp_path: Path) -> None:
    server = process(tmp_path, ENDS, free_port())
    with pytest.raises(ServerFailed, match=r"ended with code 1[\s\S]*the model is missing"):
        server.start()


def test_a_server_that_does_not_answer_in_time_is_stopped(tmp_path: Path) -> None:
    server = process(tmp_path, "import time; time.sleep(60)", free_port())
    with pytest.raises(ServerFailed, match="did not answer within 0 s; its log is empty"):
        server.start(timeout_s=0.0)
    assert server.exit_code is not None


def test_a_server_that_ignores_sigterm_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("loadtest.servers.STOP_TIMEOUT_S", 0.1)
    with process(tmp_path, IGNORES_SIGTERM, free_port()) as server:
        pass
    assert server.exit_code == -9
