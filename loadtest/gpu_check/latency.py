"""How long a frame takes in the server's pipeline, with each engine that can run here, and how long
its engine takes alone. Raw pixels in, raw alpha out, no wire and no codec.
"""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from loadtest.figures import percentile
from loadtest.gpu_check import engines
from loadtest.gpu_check.bench import Bench, Clock, CudaClock
from loadtest.gpu_check.flow import JPEG_NOTE, Flow, frame
from loadtest.gpu_check.rows import Row, Verdict
from loadtest.gpu_check.sections import skipped
from models.device_model import DeviceModel
from server.job import PixelFormat

SECTION = "latency"
SIZES = {"720p": (1280, 720), "1080p": (1920, 1080), "4K": (3840, 2160)}
FORMATS = (PixelFormat.RGB8, PixelFormat.NV12)
FRAMES = 60
WARM_FRAMES = 5
AIMED_AT = ("1080p", PixelFormat.NV12)
AIM_MS = 3.0  # p50
THROUGHPUT_AIM = 0.95  # of the engine alone


def rows() -> Iterator[Row]:
    """Per engine: alone, then each size and layout, then frames a second."""
    with tempfile.TemporaryDirectory(prefix="mattestream-plans-") as folder:
        for candidate in engines.candidates(Path(folder)):
            if candidate.missing:
                yield skipped(SECTION, candidate.name, candidate.missing)
                continue
            try:
                model = candidate.open()
                yield from measure(model, CudaClock(model.device))
                model.close()
            except Exception as error:  # the other engines can still be measured
                note = f"{type(error).__name__}: {error}"
                yield Row(SECTION, candidate.name, Verdict.FAILED, note=note)


def measure(
    model: DeviceModel,
    clock: Clock,
    *,
    sizes: dict[str, tuple[int, int]] = SIZES,
    frames: int = FRAMES,
) -> Iterator[Row]:
    """Rows of one model.

    Args:
        model: warm.
        clock: for the engine alone.
        sizes: of the frames, both sides even.
        frames: that the percentiles are of.
    """
    name = model.engine.name
    alone_s = engine_alone(model, clock)
    yield Row(
        SECTION,
        f"{name}, engine alone",
        Verdict.MEASURED,
        f"{alone_s * 1e3:.2f} ms",
        f"{model.engine.precision}, batch 1",
        {"ms": alone_s * 1e3},
    )
    for label, size in sizes.items():
        for pixel_format in FORMATS:
            flow = Flow(model)
            times_ms = timed(flow, size, pixel_format, frames)
            yield judge(name, label, pixel_format, times_ms)
            flow.pipeline.free()
    label, size = list(sizes.items())[min(1, len(sizes) - 1)]
    per_s = throughput(Flow(model), size, frames)
    share = per_s * alone_s
    yield Row(
        SECTION,
        f"{name}, {label} NV12, batch 1",
        Verdict.PASSED if share >= THROUGHPUT_AIM else Verdict.BELOW,
        f"{per_s:.0f} frames/s",
        f"{share:.0%} of the engine alone, {model.max_concurrent_runs} callers",
        {"frames_per_s": per_s, "share_of_engine": share},
    )


def engine_alone(model: DeviceModel, clock: Clock) -> float:
    """Seconds that the engine takes for one image between two buffers, by itself."""
    bench = Bench(model.device)
    source = bench.random(model.engine.input.nbytes)
    target = bench.empty(model.engine.output.nbytes)
    device, stream = model.device, model.stream  # the only one that every engine runs on
    device.clear(source, model.engine.input.nbytes, stream)  # noise may be no numbers
    binding = model.engine.bind(1, source, target)
    binding.enqueue(stream)
    device.synchronize(stream)
    if not model.engine.can_be_captured:
        return clock.seconds(lambda: binding.enqueue(stream), stream)
    graph = device.capture(stream, lambda: binding.enqueue(stream))
    return clock.seconds(lambda: graph.launch(stream), stream)


def timed(flow: Flow, size: tuple[int, int], pixel_format: PixelFormat, frames: int) -> list[float]:
    """Milliseconds from raw frame to raw alpha, one caller."""
    sources = [frame(size, pixel_format, seed) for seed in range(4)]
    times_ms = []
    for turn in range(frames + WARM_FRAMES):
        started = time.perf_counter()
        flow.one(sources[turn % len(sources)])
        if turn >= WARM_FRAMES:
            times_ms.append((time.perf_counter() - started) * 1e3)
    return times_ms


def throughput(flow: Flow, size: tuple[int, int], frames: int) -> float:
    """Frames a second of as many callers as the model runs batches at once."""
    callers = flow.model.max_concurrent_runs
    source = frame(size, PixelFormat.NV12)
    gate = threading.Barrier(callers + 1)
    wrong: list[Exception] = []

    def call() -> None:
        flow.model.device.use()
        try:
            flow.one(source)
        except Exception as error:
            wrong.append(error)
        gate.wait()
        try:
            for _ in range(frames):
                flow.one(source)
        except Exception as error:
            wrong.append(error)

    threads = [threading.Thread(target=call) for _ in range(callers)]
    for thread in threads:
        thread.start()
    gate.wait()
    started = time.perf_counter()
    for thread in threads:
        thread.join()
    elapsed_s = time.perf_counter() - started
    if wrong:
        raise wrong[0]
    return callers * frames / elapsed_s


def judge(engine: str, label: str, pixel_format: PixelFormat, times_ms: Sequence[float]) -> Row:
    """The row of one size and layout; one of them has an aim."""
    p50, p95 = percentile(times_ms, 50), percentile(times_ms, 95)
    verdict, note = Verdict.MEASURED, JPEG_NOTE
    if (label, pixel_format) == AIMED_AT:
        verdict = Verdict.PASSED if p50 < AIM_MS else Verdict.BELOW
        note = f"aim: p50 under {AIM_MS:g} ms"
    return Row(
        SECTION,
        f"{engine}, {label} {pixel_format.name}",
        verdict,
        f"p50 {p50:.2f} ms, p95 {p95:.2f}",
        note,
        {"p50_ms": p50, "p95_ms": p95, "frames": len(times_ms)},
    )
