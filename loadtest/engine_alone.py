"""The network and nothing else, flat out: the limit of every server that runs it on this machine.

Called by `compare_rembg` and `streams`.
"""

from __future__ import annotations

import threading
import time

import numpy as np

from models.model import Model
from models.registry import Registry
from server.machine import usable_cores


class EngineAlone:
    """The network on kept tensors, on as many threads as there are cores.

    Args:
        registry: where the model is found.
        name: of the model.
    """

    def __init__(self, registry: Registry, name: str) -> None:
        self._threads = usable_cores()
        model = registry.load(name, threads=self._threads)
        assert isinstance(model, Model)  # networks that answer at once, as all of this program's
        self._engine = model.engine
        wants = model.manifest.input
        shape = (
            (1, 3, wants.height, wants.width)
            if wants.layout == "NCHW"
            else (1, wants.height, wants.width, 3)
        )
        self._tensor = np.random.default_rng(1).random(shape, np.float32)

    def per_s(self, seconds: float) -> float:
        """Runs per second, all threads together."""
        counts = [0] * self._threads
        ends = time.perf_counter() + seconds

        def run(index: int) -> None:
            while time.perf_counter() < ends:
                self._engine.run(self._tensor)
                counts[index] += 1

        threads = [threading.Thread(target=run, args=(i,)) for i in range(self._threads)]
        began = time.perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return sum(counts) / (time.perf_counter() - began)
