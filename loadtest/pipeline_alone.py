"""The stages of a stream's frames and nothing else, flat out: what a server without a wire would do
on this machine.

Called by `streams`, beside `engine_alone`: what lies between the two is decoding, resizing and
finishing, which share the cores with the network on a CPU; what lies below is gRPC and the hops
between threads.
"""

from __future__ import annotations

import threading
import time

import cv2
import numpy as np
from numpy.typing import NDArray

from loadtest.photos import jpeg
from models.model import Model
from models.registry import Registry
from server.codecs.header import Limits
from server.host_pipeline import HostPipeline
from server.job import (
    EncodedSource,
    Format,
    Options,
    Output,
    PixelFormat,
    RawSource,
    Refine,
    Source,
)
from server.machine import usable_cores
from server.pipeline import remove_one

ALPHA = Options(output=Output.ALPHA, format=Format.RAW, refine=Refine.OFF)  # as `stream_load` asks


class PipelineAlone:
    """The host's pipeline on as many threads as there are cores, in this process.

    Args:
        registry: where the model is found.
        name: of the model.
    """

    def __init__(self, registry: Registry, name: str) -> None:
        cv2.setNumThreads(1)  # as in the server
        self._threads = usable_cores()
        model = registry.load(name, threads=self._threads)
        assert isinstance(model, Model)  # networks that answer at once, as all of this program's
        self._pipeline = HostPipeline(model, Limits(max_megapixels=50, max_side_px=16384))

    def per_s(self, source: Source, seconds: float) -> float:
        """Frames per second, all threads together; each begins one at least.

        Args:
            source: the frame.
            seconds: how long.
        """
        counts = [0] * self._threads
        began = time.perf_counter()

        def run(index: int) -> None:
            while not counts[index] or time.perf_counter() < began + seconds:
                remove_one(self._pipeline, source, ALPHA)
                counts[index] += 1

        threads = [threading.Thread(target=run, args=(i,)) for i in range(self._threads)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return sum(counts) / (time.perf_counter() - began)


def source_of(kind: str, pixels: NDArray[np.uint8]) -> Source:
    """The frame (H, W, 3) as the pipeline gets it, whose pixels travel as `kind` says."""
    if kind == "jpeg":
        return EncodedSource(jpeg(pixels))
    height, width = pixels.shape[:2]
    return RawSource(pixels.tobytes(), PixelFormat.RGB8, width, height)
