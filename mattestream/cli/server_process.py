"""A real server in a process of its own, for as long as a `with` lasts. Used by the demo."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from types import TracebackType
from typing import IO, Self

from mattestream.client import Client
from mattestream.errors import MattestreamError

LOG_LINES = 20


class ServerFailed(Exception):
    """The server did not start or stop as it should; the text ends with its last log lines."""


class ServerProcess:
    """`mattestream serve` on a free port of 127.0.0.1; started by `with`, stopped by SIGTERM.

    Args:
        flags: further flags of `mattestream serve`.
        start_s: longest wait until it serves.
        stop_s: longest wait until it has ended.
    """

    def __init__(
        self, flags: Sequence[str] = (), *, start_s: float = 60.0, stop_s: float = 30.0
    ) -> None:
        self._flags = flags
        self._start_s = start_s
        self._stop_s = stop_s
        self._process: subprocess.Popen[bytes] | None = None
        self._log: IO[bytes] | None = None
        self.address = ""
        self.exit_code: int | None = None

    def __enter__(self) -> Self:
        self.address = f"127.0.0.1:{_free_port()}"
        # A file, not a pipe: a pipe that nobody reads would stop the server when it is full.
        self._log = tempfile.TemporaryFile()
        command = [sys.executable, "-m", "mattestream", "serve", "--metrics-port", "-1"]
        command += ["--http-port", "0"]
        host, _, port = self.address.partition(":")
        command += ["--host", host, "--port", port, *self._flags]
        self._process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
            command, stdin=subprocess.DEVNULL, stdout=self._log, stderr=self._log
        )
        try:
            self._wait_ready()
        except BaseException:
            self._end(signal.SIGKILL)
            self._log.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stops the server and checks that it ended well.

        Raises:
            ServerFailed: it did not end in time, or with another exit code than 0.
        """
        try:
            self.exit_code = self._end(signal.SIGTERM)
            if self.exit_code and error is None:
                raise self._failed(f"the server ended with exit code {self.exit_code}")
        finally:
            if self._log:
                self._log.close()

    def _wait_ready(self) -> None:
        with Client(self.address) as client:
            waited_s = 0.0
            while True:
                try:
                    client.wait_ready(1.0)
                except MattestreamError as error:
                    waited_s += 1.0
                    if self._process is not None and self._process.poll() is not None:
                        code = self._process.returncode
                        raise self._failed(f"the server ended with exit code {code}") from error
                    if waited_s >= self._start_s:
                        raise self._failed(
                            f"the server was not ready within {self._start_s:g} s"
                        ) from error
                else:
                    return

    def _end(self, how: signal.Signals) -> int:
        """The exit code after the signal; killed when it takes too long."""
        process = self._process
        if process is None:
            return 0
        process.send_signal(how)
        try:
            return process.wait(self._stop_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise self._failed(f"the server did not stop within {self._stop_s:g} s") from None

    def _failed(self, what: str) -> ServerFailed:
        lines: list[str] = []
        if self._log is not None:
            self._log.seek(0)
            lines = self._log.read().decode("utf-8", "replace").splitlines()[-LOG_LINES:]
        return ServerFailed("\n".join([f"{what}; its last log lines:", *lines]))


def _free_port() -> int:
    """A port that was free a moment ago; the server says so and ends should it be taken since."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
