"""A server whose engine takes as long for one image as for a batch, as a GPU's does while it is not
full: what batching across callers is worth there can be shown without a GPU.

Started by `batching`, as `python -m loadtest.flat_engine --port N`. The engine waits instead of
computing and gives every image the same answer; all around it is the real server.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from models.engine import Engine
from models.loaded import Loaded
from models.model import Model
from models.registry import Registry
from models.target import Target
from server import allocator, logs
from server.app import App
from server.config import Config
from server.until_signal import serve_until_signal


class FlatEngine:
    """Runs of one length, one at a time.

    Args:
        inner: answers the first image once; all others are given that answer.
        run_ms: of a run, however many images it has; 0: it does not wait.
        max_batch: most images in one run.
        runs: at once: a GPU's work is one queue, a CPU engine has one for each worker.
    """

    name = "flat"
    device = "cpu"  # the host's pipeline around it
    precision = "fp32"

    def __init__(self, inner: Engine, *, run_ms: float, max_batch: int, runs: int = 1) -> None:
        self._inner = inner
        self._run_s = run_ms / 1e3
        self.max_batch = max_batch
        self.max_concurrent_runs = runs
        self._answer: NDArray[np.float32] | None = None

    def run(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """The same answer for each image, after the time of one."""
        if self._answer is None:
            self._answer = self._inner.run(batch[:1])
        if self._run_s:
            time.sleep(self._run_s)  # lets the other threads run, as waiting for a GPU does
        return np.repeat(self._answer, len(batch), axis=0)

    def close(self) -> None:
        """Frees the real engine."""
        self._inner.close()


class FlatRegistry(Registry):
    """The shipped models, on flat engines."""

    def __init__(self, *, run_ms: float, max_batch: int, runs: int = 1) -> None:
        super().__init__()
        self._run_ms = run_ms
        self._flat_batch = max_batch
        self._runs = runs

    def load(
        self,
        name: str,
        target: Target = Target(),  # noqa: B008
        *,
        threads: int = 1,
        max_batch: int = 0,
        on_progress: Callable[[str, float], None] | None = None,
        cancelled: Callable[[], bool] | None = None,
    ) -> Loaded:
        """The model, its network replaced."""
        model = super().load(name, target, threads=threads)
        if not isinstance(model, Model):
            return model  # it has no network
        engine = FlatEngine(
            model.engine, run_ms=self._run_ms, max_batch=self._flat_batch, runs=self._runs
        )
        return Model(model.manifest, engine, model.weights_sha256)


def main(arguments: list[str]) -> int:
    """Serves until it is told to stop."""
    parser = argparse.ArgumentParser(prog="loadtest.flat_engine")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--run-ms", type=float, default=20.0)
    parser.add_argument("--max-batch", type=int, default=16)
    parser.add_argument("--runs", type=int, default=1, help="at once")
    parser.add_argument("--shared-memory", default="", help="prefix of names that may be used")
    options = parser.parse_args(arguments)
    config = Config(
        port=options.port,
        metrics_port=-1,
        http_port=0,
        device="cpu",
        log_level="error",
        shared_memory=(options.shared_memory,) if options.shared_memory else (),
    )
    # As `server.app.serve` does: else each frame writes a line, which takes longer than the frame.
    logs.configure(config.log_format, config.log_level)
    registry = FlatRegistry(run_ms=options.run_ms, max_batch=options.max_batch, runs=options.runs)

    async def serve() -> int:
        return await serve_until_signal(App(config, registry=registry))

    return asyncio.run(serve())


if __name__ == "__main__":
    allocator.ensure(os.environ, sys.orig_argv[1:])  # as `mattestream serve`
    sys.exit(main(sys.argv[1:]))
