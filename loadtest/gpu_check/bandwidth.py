"""Each kernel's bytes a second beside a plain copy of as many, at three picture sizes.

Two shares are given: of a copy of the same traffic, which the aim is for, and of a copy with
1 GiB of traffic, the most this GPU moves. Small pictures cannot reach the latter, whatever runs.
Launches and copies are recorded and replayed as a graph; where one cannot be, the row says so.
"""

from __future__ import annotations

from collections.abc import Iterator

from loadtest.gpu_check.bench import Bench, Clock, CudaClock, recorded
from loadtest.gpu_check.case import Case
from loadtest.gpu_check.cases import CASES, SIZES
from loadtest.gpu_check.rows import Row, Verdict

SECTION = "bandwidth"
_LARGE = 512 << 20  # bytes copied: 1 GiB of traffic


def rows() -> Iterator[Row]:
    """One row per case and size."""
    from kernels.cupy_device import CupyDevice

    device = CupyDevice(0)
    clock = CudaClock(device)
    stream = device.new_stream()
    peak = 2 * _LARGE / clock.seconds(clock.copy_queue(_LARGE, stream), stream)
    yield Row(
        SECTION,
        "copy of 512 MiB",
        Verdict.MEASURED,
        f"{peak / 1e9:.0f} GB/s",
        "device to device, bytes read and written",
        {"bytes_per_s": peak},
    )
    copies: dict[int, float] = {}
    for number, (label, size) in enumerate(SIZES.items()):
        for case in CASES:
            if case.of_plane and number:
                continue
            nbytes = case.nbytes(size)
            if nbytes not in copies:
                queue = clock.copy_queue(max(nbytes // 2, 1), stream)
                replay = recorded(device, queue, stream) or queue
                copies[nbytes] = nbytes / clock.seconds(replay, stream)
            bench = Bench(device)
            speed, is_graph = measure(case, bench, size, clock)
            yield judge(case, label, speed, copies[nbytes], peak, is_graph=is_graph)


def measure(case: Case, bench: Bench, size: tuple[int, int], clock: Clock) -> tuple[float, bool]:
    """Bytes a second of the case, and whether it was replayed as a graph; the kernels are compiled
    before.
    """
    bench.device.load(*case.kernels)
    queue = case.prepare(bench, size)
    replay = recorded(bench.device, queue, bench.stream)
    return case.nbytes(size) / clock.seconds(replay or queue, bench.stream), replay is not None


def judge(
    case: Case, label: str, speed: float, copy: float, peak: float, *, is_graph: bool = True
) -> Row:
    """The row of a measured case.

    Args:
        case: what was measured.
        label: the picture's size in words.
        speed: bytes a second of the case.
        copy: of a copy of as many bytes.
        peak: of the large copy.
        is_graph: it was replayed as a graph.
    """
    share = speed / copy
    if case.aim is None:
        verdict, note = Verdict.MEASURED, "too small to be bound by memory"
    else:
        verdict = Verdict.PASSED if share >= case.aim else Verdict.BELOW
        note = f"{speed / 1e9:.0f} GB/s, {speed / peak:.0%} of the large copy"
    if not is_graph:
        note += "; not recorded as a graph: gaps between its launches count"
    return Row(
        SECTION,
        case.name if case.of_plane else f"{case.name}, {label}",
        verdict,
        f"{share:.0%} of a copy",
        note,
        {
            "bytes_per_s": speed,
            "share_of_copy": share,
            "share_of_large_copy": speed / peak,
            "graph": is_graph,
        },
    )
