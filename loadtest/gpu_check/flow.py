"""One frame's way through the server's GPU pipeline: graphs, copies, memory.

graph    a replay gives the bytes that plain launches give, at every batch size, every time
copies   one up and one down for a frame, of as many bytes as the frame and its result have; of a
         frame that is on the device none but the report's
memory   1,000 frames take not one block more
streams  what a stream remembers on the device, in `streams`
"""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kernels.transfer import Copies
from loadtest.gpu_check import engines
from loadtest.gpu_check.bench import Bench
from loadtest.gpu_check.rows import Row, Verdict, passed_if
from loadtest.gpu_check.sections import skipped
from models.device_model import DeviceModel

JPEG_NOTE = engines.stand_in_for_jpeg()  # before anything of server.codecs is imported

from server.codecs.encode import Encoded  # noqa: E402
from server.codecs.header import Limits  # noqa: E402
from server.cuda_memory.leases import Lease, Leases  # noqa: E402
from server.cuda_memory.ranges import DeviceSource, OpenRange  # noqa: E402
from server.device_pipeline import DevicePipeline  # noqa: E402
from server.job import Format, Options, Output, PixelFormat, RawSource  # noqa: E402
from server.pipeline import Outcome, remove_one  # noqa: E402

SECTION = "flow"
FRAMES = 1000
LIMITS = Limits(max_megapixels=50, max_side_px=16384)
ALPHA = Options(output=Output.ALPHA, format=Format.RAW)
REPLAYS = 20
_NOISE = 1 << 16
_FREE_MEMORY_SLACK = 1 << 20  # bytes that others on the GPU may take meanwhile
RESULT_SLACK = 4096  # bytes of a result's header, which holds its statistics


@dataclass(slots=True)
class Flow:
    """The pipeline as the server has it, and what it told of its runs."""

    model: DeviceModel
    pipeline: DevicePipeline = field(init=False)
    graphs: list[bool] = field(default_factory=list)  # of every run: was it a replay?

    def __post_init__(self) -> None:
        self.pipeline = DevicePipeline(self.model, LIMITS, on_launch=self.graphs.append)

    def together(self, sources: Sequence[RawSource]) -> list[bytes]:
        """The alphas of several frames that go through the engine in one batch."""
        with ExitStack() as seats:
            opened = [
                self.pipeline.open(source, ALPHA, seats.enter_context(self.pipeline.seat()))
                for source in sources
            ]
            answers = self.pipeline.run(opened)
            return [
                _data(self.pipeline.close(one, answer, ALPHA))
                for one, answer in zip(opened, answers, strict=True)
            ]

    def one(self, source: RawSource) -> tuple[bytes, Copies]:
        """The alpha of a frame by itself, and what was copied for it."""
        outcome = remove_one(self.pipeline, source, ALPHA).outcome
        return _data(outcome), outcome.copies


def _data(outcome: Outcome) -> bytes:
    assert isinstance(outcome.encoded, Encoded)  # raw alphas are bytes
    return bytes(outcome.encoded.data)


def rows() -> Iterator[Row]:
    """On the first engine that can run here."""
    with tempfile.TemporaryDirectory(prefix="mattestream-plans-") as folder:
        reasons = []
        for candidate in engines.candidates(Path(folder)):
            if candidate.missing:
                reasons.append(candidate.missing)
                continue
            model = candidate.open()
            yield from check(model, free_memory=_free_memory)
            break
        else:
            yield skipped(SECTION, "flow", f"no engine can run here: {'; '.join(reasons)}")
    from kernels.cupy_device import CupyDevice
    from loadtest.gpu_check import streams  # which has this file's flow under it

    yield from streams.check(CupyDevice(0))


def check(
    model: DeviceModel,
    *,
    size: tuple[int, int] = (1920, 1080),
    frames: int = FRAMES,
    free_memory: Callable[[], int] = lambda: 0,
) -> Iterator[Row]:
    """The three checks.

    Args:
        model: warm.
        size: columns and rows of the frames, both even.
        frames: for the check of memory.
        free_memory: bytes that the device has left.
    """
    captured = Flow(model)
    yield from check_graphs(captured, Flow(engines.uncaptured(model)), size)
    yield from check_copies(captured, size)
    yield check_in_place(captured, size)
    yield from check_memory(captured, size, frames, free_memory)


def check_graphs(captured: Flow, plain: Flow, size: tuple[int, int]) -> Iterator[Row]:
    """Rows for batches of 1 and 3 (padded to 4), and for many replays."""
    name = captured.model.engine.name
    if not captured.model.engine.can_be_captured:
        yield skipped(
            SECTION, "graph replay", f"{name} cannot be recorded; another engine is needed"
        )
        return
    some = [frame(size, PixelFormat.NV12, seed) for seed in range(3)]
    for count in sorted({1, min(3, captured.model.max_batch)}):
        batch = some[:count]
        captured.graphs.clear()
        plain.graphs.clear()
        same = captured.together(batch) == plain.together(batch)
        told = (captured.graphs, plain.graphs)
        yield passed_if(
            same and told == ([True], [False]),
            SECTION,
            f"graph replay = plain, batch {count}",
            name,
            f"bytes are {'equal' if same else 'different'}; replays told: {told}",
        )
    first = captured.together(some[:1])
    different = 0
    for turn in range(REPLAYS):
        captured.together([some[1 + turn % 2]])
        different += captured.together(some[:1]) != first
    yield passed_if(
        different == 0,
        SECTION,
        f"{REPLAYS} replays are alike",
        name,
        f"{different} of them gave other bytes than the first",
    )


def check_copies(flow: Flow, size: tuple[int, int]) -> Iterator[Row]:
    """A row per layout of the frame."""
    for pixel_format in (PixelFormat.RGB8, PixelFormat.NV12):
        source = frame(size, pixel_format)
        alpha, copies = flow.one(source)
        up, down = copies.host_to_device, copies.device_to_host
        exact = copies.host_to_device_bytes == len(source.data)
        extra = copies.device_to_host_bytes - len(alpha)
        yield passed_if(
            (up, down) == (1, 1) and exact and 0 <= extra <= RESULT_SLACK,
            SECTION,
            f"copies of a frame, {pixel_format.name}",
            f"{up} in, {down} out",
            f"{copies.host_to_device_bytes} bytes up for a frame of {len(source.data)}, "
            f"{copies.device_to_host_bytes} down for an alpha of {len(alpha)}",
        )


def check_in_place(flow: Flow, size: tuple[int, int]) -> Row:
    """A frame that lies in device memory, at an odd address, and its alpha beside it."""
    source = frame(size, PixelFormat.RGB8)
    expected, _ = flow.one(source)
    bench = Bench(flow.model.device)
    came = bench.filled(np.frombuffer(b"\0" + bytes(source.data), np.uint8))
    goes = bench.empty(len(expected) + 1)
    layout = replace(source, data=b"")
    lease = Lease(Leases(), (0, b""), flow.model.device.allocate(1))  # never closed
    with flow.pipeline.seat() as seat:
        there = OpenRange(lease, came + 1, len(source.data))
        opened = flow.pipeline.open(DeviceSource(there, layout), ALPHA, seat)
        opened.deliver_to(OpenRange(lease, goes + 1, len(expected)))
        (answer,) = flow.pipeline.run([opened])
        copies = flow.pipeline.close(opened, answer, ALPHA).copies
    same = bench.bytes_of(goes + 1, len(expected)).tobytes() == expected
    pixels = copies.host_to_device_bytes + max(0, copies.device_to_host_bytes - RESULT_SLACK)
    return passed_if(
        same and pixels == 0 and copies.device_to_device == 2,
        SECTION,
        "a frame that is on the device",
        f"{copies.host_to_device} in, {copies.device_to_host_bytes} bytes out, "
        f"{copies.device_to_device} on it",
        f"the alpha is {'equal' if same else 'another'}",
    )


def check_memory(
    flow: Flow, size: tuple[int, int], frames: int, free_memory: Callable[[], int]
) -> Iterator[Row]:
    """One row: blocks of memory that the frames took, and what the driver says is gone."""
    sources = [frame(size, PixelFormat.NV12, seed) for seed in range(4)]
    for source in sources * 4:  # every slot has been used
        flow.one(source)
    device = flow.model.device
    blocks, free = device.allocations, free_memory()
    for source in itertools.islice(itertools.cycle(sources), frames):
        flow.one(source)
    more, gone = device.allocations - blocks, free - free_memory()
    yield passed_if(
        more == 0 and gone <= _FREE_MEMORY_SLACK,
        SECTION,
        f"memory taken by {frames} frames",
        f"{more} blocks, {gone} bytes",
        "the steady state may take none",
    )
    replayed = sum(flow.graphs) / len(flow.graphs)
    yield Row(SECTION, "runs that were replays", Verdict.MEASURED, f"{replayed:.0%}", JPEG_NOTE)


def frame(size: tuple[int, int], pixel_format: PixelFormat, seed: int = 0) -> RawSource:
    """A raw frame of noise; both sides even."""
    width, height = size
    nbytes = width * height * 3 // (2 if pixel_format is PixelFormat.NV12 else 1)
    noise: NDArray[np.uint8] = np.random.default_rng(seed).integers(0, 256, _NOISE, np.uint8)
    return RawSource(np.resize(noise, nbytes).tobytes(), pixel_format, width, height)


def _free_memory() -> int:
    import cupy

    return int(cupy.cuda.runtime.memGetInfo()[0])
