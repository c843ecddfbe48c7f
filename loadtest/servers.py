"""A server as a process: started on a free loopback port, watched from outside, stopped.

Called by every program in `loadtest`. What is known of one server's command line, readiness and
environment stands here and nowhere else: `mattestream_server` and `rembg_server` at the end.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from types import TracebackType

import psutil

from loadtest.report import MB, ROOT
from mattestream import Client, MattestreamError

HOST = "127.0.0.1"
START_TIMEOUT_S = 180.0  # rembg's first start compiles its libraries: 50 s on two busy cores
STOP_TIMEOUT_S = 30.0
POLL_S = 0.2
_FEW_PORTS = {"MATTESTREAM_METRICS_PORT": "-1", "MATTESTREAM_HTTP_PORT": "0"}
SCAN_EVERY_S = 1.0  # looking for children reads all of /proc: 5 ms, too dear for every sample


class ServerFailed(Exception):
    """A server did not start, or ended by itself; the message holds the tail of its log."""


class ServerProcess:
    """One server, from `start` to `stop`; as a context manager it never outlives a run."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        port: int,
        is_ready: Callable[[], bool],
        log_path: Path,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.name = name
        self.port = port
        self.exit_code: int | None = None  # after `stop`
        self._command = list(command)
        self._is_ready = is_ready
        self._log_path = log_path
        self._environment = {**os.environ, **(environment or {})}
        self._process: subprocess.Popen[bytes] | None = None
        self._root: psutil.Process | None = None
        self._known: list[psutil.Process] = []
        self._scanned_at = float("-inf")

    @property
    def address(self) -> str:
        """Host and port."""
        return f"{HOST}:{self.port}"

    def start(self, timeout_s: float = START_TIMEOUT_S) -> None:
        """Starts the process and waits until it answers.

        Raises:
            ServerFailed: it ended, or did not answer in time.
        """
        with self._log_path.open("wb") as log:
            self._process = subprocess.Popen(
                self._command,
                cwd=ROOT,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self._root = psutil.Process(self._process.pid)
        self._known = [self._root]
        give_up = time.monotonic() + timeout_s
        while not self._is_ready():
            if self._process.poll() is not None:
                raise ServerFailed(
                    f"{self.name} ended with code {self._process.returncode}{self._tail()}"
                )
            if time.monotonic() > give_up:
                self.stop()
                raise ServerFailed(
                    f"{self.name} did not answer within {timeout_s:.0f} s{self._tail()}"
                )
            time.sleep(POLL_S)

    def stop(self) -> None:
        """Asks the process to end (SIGTERM), then makes it end; its code lies in `exit_code`."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self.exit_code = self._process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self.exit_code = self._process.wait()
        self._process = None

    @property
    def pid(self) -> int:
        """Of the process, while it runs."""
        assert self._process is not None
        return self._process.pid

    def cpu_seconds(self) -> float:
        """CPU time of the process and its living children so far, user and system."""
        seconds = 0.0
        for process in self._processes():
            try:
                times = process.cpu_times()
            except psutil.NoSuchProcess:
                continue
            seconds += times.user + times.system
        return seconds

    def rss_mb(self) -> float:
        """Resident memory of the process and its children, MB; 0 once it has ended."""
        total = 0
        for process in self._processes():
            try:
                total += process.memory_info().rss
            except psutil.NoSuchProcess:
                continue
        return total / MB

    def _processes(self) -> list[psutil.Process]:
        now = time.monotonic()
        if self._root is not None and now - self._scanned_at > SCAN_EVERY_S:
            self._scanned_at = now
            try:
                self._known = [self._root, *self._root.children(recursive=True)]
            except psutil.NoSuchProcess:
                self._known = []
        return self._known

    def _tail(self) -> str:
        lines = self._log_path.read_text(encoding="utf-8", errors="replace").splitlines()[-15:]
        return "; its log ends:\n  " + "\n  ".join(lines) if lines else "; its log is empty"

    def __enter__(self) -> ServerProcess:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()


class Watch:
    """What a server and the machine spent while a `with` block ran.

    Memory is sampled by a thread, since a peak between two requests would else go unseen.
    """

    def __init__(self, server: ServerProcess, *, every_s: float = 0.05) -> None:
        self.peak_rss_mb = 0.0
        self.cpu_s = 0.0  # the server's
        self.machine_cpu_s = 0.0  # everyone's, with what the host took away (steal)
        self.seconds = 0.0
        self._server = server
        self._every_s = every_s
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._sample, name="watch", daemon=True)

    def __enter__(self) -> Watch:
        self._thread.start()
        self._began = (time.perf_counter(), self._server.cpu_seconds(), _machine_cpu_seconds())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        began, cpu_s, machine_cpu_s = self._began
        self.seconds = time.perf_counter() - began
        self.cpu_s = self._server.cpu_seconds() - cpu_s
        self.machine_cpu_s = _machine_cpu_seconds() - machine_cpu_s
        self._done.set()
        self._thread.join()

    def _sample(self) -> None:
        while True:
            self.peak_rss_mb = max(self.peak_rss_mb, self._server.rss_mb())
            if self._done.wait(self._every_s):
                return


def _machine_cpu_seconds() -> float:
    times = psutil.cpu_times()
    busy = times.user + times.system  # guest time is inside `user`
    return float(
        busy + sum(getattr(times, name, 0.0) for name in ("nice", "irq", "softirq", "steal"))
    )


def free_port() -> int:
    """A loopback port that nothing listens on just now."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def mattestream_server(
    work: Path,
    *,
    name: str = "mattestream",
    arguments: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
) -> ServerProcess:
    """Our server, as `mattestream serve` starts it, not started yet; without the ports that could
    be taken, metrics and HTTP, unless `environment` opens them.

    Args:
        work: folder for its log.
        name: of the server and of its log.
        arguments: further flags of `mattestream serve`.
        environment: further variables.
    """
    port = free_port()
    command = [str(Path(sys.executable).with_name("mattestream")), "serve", "--port", str(port)]
    return ServerProcess(
        name,
        [*command, *arguments],
        port=port,
        is_ready=lambda: _grpc_serves(f"{HOST}:{port}"),
        log_path=work / f"{name}.log",
        environment={**_FEW_PORTS, **(environment or {})},
    )


def flat_server(
    work: Path, *, run_ms: float, max_batch: int, runs: int = 1, shared_memory: str = ""
) -> ServerProcess:
    """Our server on an engine whose runs cost the same however full they are, not started yet.

    Args:
        work: folder for its log.
        run_ms: of each run.
        max_batch: images in one.
        runs: at once.
        shared_memory: prefix of names that callers may use; "" for none.
    """
    port, name = free_port(), f"flat-{max_batch}"
    command = [sys.executable, "-m", "loadtest.flat_engine", "--port", str(port)]
    engine = ["--run-ms", str(run_ms), "--max-batch", str(max_batch), "--runs", str(runs)]
    return ServerProcess(
        name,
        [*command, *engine, "--shared-memory", shared_memory],
        port=port,
        is_ready=lambda: _grpc_serves(f"{HOST}:{port}"),
        log_path=work / f"{name}.log",
    )


def rembg_server(
    venv: Path, home: Path, work: Path, *, environment: Mapping[str, str] | None = None
) -> ServerProcess:
    """The HTTP server of rembg with its own defaults, not started yet.

    Args:
        venv: an environment with `rembg[cpu,cli]`.
        home: REMBG_HOME; rembg opens only ONNX files that lie inside it.
        work: folder for its log.
        environment: further variables, such as OMP_NUM_THREADS.
    """
    port = free_port()
    command = [str(venv / "bin" / "rembg"), "s", "--host", HOST, "--port", str(port)]
    offline = {
        "REMBG_HOME": str(home),
        "BROWSER": "true",  # the program /bin/true: it would else try to open a browser
        "GRADIO_ANALYTICS_ENABLED": "False",
        "MODEL_CHECKSUM_DISABLED": "1",
    }
    return ServerProcess(
        "rembg",
        [*command, "--log_level", "error", "--no-ui"],
        port=port,
        is_ready=lambda: _http_answers(HOST, port, "/api"),
        log_path=work / "rembg.log",
        environment={**offline, **(environment or {})},
    )


def _grpc_serves(address: str) -> bool:
    """True when the health service says SERVING."""
    with Client(address) as client:
        try:
            client.wait_ready(timeout_s=2)
        except MattestreamError:
            return False
    return True


def _http_answers(host: str, port: int, path: str) -> bool:
    """True when a GET is answered with success."""
    connection = HTTPConnection(host, port, timeout=2)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == HTTPStatus.OK
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()
