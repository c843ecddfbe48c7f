"""The load as a process of its own that warms up, says "ready", and runs when it is told "go".

Used by `callers` and `open_loop`: so that a program can read the server's clocks around exactly the
requests that count, and the load's own work is not the program's.
"""

from __future__ import annotations

import subprocess
import sys
from types import TracebackType

from loadtest.report import ROOT

END_TIMEOUT_S = 120.0


class LoadFailed(Exception):
    """The load process ended without a result; the message holds what it said."""


class LoadProcess:
    """`python -m MODULE`, ready when this returns; as a context manager it never outlives a run.

    Args:
        module: reads one line of JSON, prints "ready", waits for "go", prints one line of JSON.
        spec: that line.

    Raises:
        LoadFailed: it did not get ready.
    """

    def __init__(self, module: str, spec: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", module],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._say(spec)
        answer = self._hear()
        if answer != "ready":
            self._end()
            raise LoadFailed(f"{module} is not ready: {answer or 'see the trace above'}")

    def go(self) -> str:
        """Lets it loose; its result's line.

        Raises:
            LoadFailed: the process ended before it was done.
        """
        self._say("go")
        answer = self._hear()
        if not answer:
            raise LoadFailed("the load ended without a result: see the trace above")
        return answer

    def _say(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()

    def _hear(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def _end(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait(END_TIMEOUT_S)

    def __enter__(self) -> LoadProcess:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._end()
