"""What is shared with others: memory with other processes, by CUDA IPC and under the copy engine;
streams with PyCUDA; JPEG decoded on the device. Libraries that are absent are rows that say so.
"""

from __future__ import annotations

import importlib
import os
import time
from collections.abc import Callable, Iterator
from functools import partial
from multiprocessing import shared_memory
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kernels.cuda import levels
from kernels.page_lock import CupyRegistrar, PageLockRefused, PageLocks, PycudaRegistrar, Registrar
from loadtest.gpu_check import engines, ipc
from loadtest.gpu_check.bench import Bench, disc
from loadtest.gpu_check.rows import Row, Verdict, passed_if
from loadtest.gpu_check.sections import skipped

SECTION = "sharing"
_BYTES = 8 << 20
_ROUNDS = 40
_NEAR = 6  # levels of 255 by which two JPEG decoders may differ: other inverse transforms
_JPEG_SIDE = 256


def rows() -> Iterator[Row]:
    """Page-locking, PyCUDA, JPEG, CUDA IPC."""
    from kernels.cupy_device import CupyDevice

    device = CupyDevice(0)
    import cupy

    yield check_page_lock(CupyRegistrar(cupy, 0), device)
    yield time_host_copies(CupyRegistrar(cupy, 0), device)
    driver, reason = _pycuda()
    if driver is None:
        yield skipped(SECTION, "PyCUDA's stream, shared", reason)
        yield skipped(SECTION, "page-locked by PyCUDA", reason)
    else:
        yield from check_pycuda(driver, device)
    yield check_jpeg(device)
    yield from ipc.rows(device)  # last: what a handle does to the driver is seen here first


def check_page_lock(registrar: Registrar, device: Any) -> Row:
    """A block that is locked, copied out of, unlocked and unmapped; the driver refuses it twice."""
    name = f"page-locked by {registrar.name}"
    block = shared_memory.SharedMemory(create=True, size=_BYTES)
    try:
        memory: NDArray[np.uint8] = np.ndarray(_BYTES, np.uint8, block.buf)
        memory[:] = np.resize(np.arange(251, dtype=np.uint8), _BYTES)
        expected = memory.copy()
        bench = Bench(device)
        target = bench.empty(_BYTES)
        with PageLocks(registrar).lock(memory) as owner:
            refused = _refuses_again(registrar, memory)
            device.copy_in(owner.array.ctypes.data, target, _BYTES, bench.stream)
            same = bool((bench.bytes_of(target, _BYTES) == expected).all())
        del memory, owner
        block.close()  # BufferError while anything holds it
    finally:
        block.unlink()
    return passed_if(
        same and refused,
        SECTION,
        name,
        "8 MiB",
        f"bytes are {'equal' if same else 'different'}; a second lock was "
        f"{'refused' if refused else 'accepted'}",
    )


def time_host_copies(registrar: Registrar, device: Any) -> Row:
    """A frame from shared memory to the device: read into page-locked memory, as the server does,
    and out of a mapping that is page-locked itself, which a caller could make fatal
    (docs/decisions/0016).
    """
    block = shared_memory.SharedMemory(create=True, size=_BYTES)
    fd = os.open(f"/dev/shm/{block.name}", os.O_RDONLY)
    try:
        memory: NDArray[np.uint8] = np.ndarray(_BYTES, np.uint8, block.buf)
        memory[:] = 7
        bench = Bench(device)
        target, staged = bench.empty(_BYTES), device.allocate_host(_BYTES)

        def up(source: NDArray[np.uint8]) -> None:
            device.copy_in(source.ctypes.data, target, _BYTES, bench.stream)
            device.synchronize(bench.stream)

        def read() -> None:
            os.preadv(fd, [staged.array.data], 0)
            up(staged.array)

        with PageLocks(registrar).lock(memory) as owner:
            read_ms, locked_ms = _median_ms(read), _median_ms(partial(up, owner.array))
        del memory, owner
        block.close()
    finally:
        os.close(fd)
        block.unlink()
    return Row(
        SECTION,
        "8 MiB of shared memory to the device",
        Verdict.MEASURED,
        f"{read_ms:.2f} ms read, {locked_ms:.2f} ms page-locked in place",
        data={"read_ms": read_ms, "locked_ms": locked_ms},
    )


def _median_ms(action: Callable[[], None]) -> float:
    taken = []
    for _ in range(_ROUNDS):
        started = time.perf_counter()
        action()
        taken.append((time.perf_counter() - started) * 1e3)
    return median(taken)


def check_pycuda(driver: Any, device: Any) -> Iterator[Row]:
    """PyCUDA makes a stream in the primary context, CuPy adopts it, both queue on it."""
    registrar = PycudaRegistrar(driver, _version(), 0)
    context = driver.Device(0).retain_primary_context()  # never make_context: see docs/gpu.md
    context.push()
    try:
        made = _Foreign(driver.Stream(1))  # non-blocking
        stream = device.adopt(made)
        bench = Bench(device)
        width, height = 640, 480
        alpha = bench.alpha((width, height))
        target = bench.empty(width * height)
        levels.levels(
            device, stream, alpha=alpha, target=target, width=width, height=height, white=0.5
        )
        found = driver.pagelocked_empty(width * height, np.uint8)
        driver.memcpy_dtoh_async(found, target, made.stream)
        made.stream.synchronize()
        expected = levels.levels_table(0.0, 0.5)[disc((width, height))].reshape(-1)
        yield passed_if(
            bool((found == expected).all()),
            SECTION,
            "PyCUDA's stream, shared",
            registrar.name,
            "PyCUDA copied out other bytes than CuPy's launch on its stream should have made",
        )
        del stream, made
    finally:
        context.pop()
    yield check_page_lock(registrar, device)


def check_jpeg(device: Any) -> Row:
    """Pixels of nvImageCodec beside libjpeg-turbo's."""
    name = "JPEG decoded on the device"
    if sentence := engines.stand_in_for_jpeg():
        return skipped(SECTION, name, sentence)
    import simplejpeg

    from server.codecs.nv_jpeg import NvJpegDecoder, NvJpegUnavailable

    try:
        decoder = NvJpegDecoder(0)
    except NvJpegUnavailable as error:
        return skipped(SECTION, name, str(error))
    side = _JPEG_SIDE
    ramp = np.linspace(0, 255, side).astype(np.uint8)
    pixels = np.stack([np.tile(ramp, (side, 1)), np.tile(ramp[:, None], (1, side))] * 2, -1)[
        ..., :3
    ]
    data = simplejpeg.encode_jpeg(np.ascontiguousarray(pixels), quality=92, colorspace="RGB")
    bench = Bench(device)
    decoded = decoder.decode(data, bench.stream)
    if decoded is None:
        return passed_if(False, SECTION, name, decoder.name, "a plain JPEG came back as None")
    raw = bench.bytes_of(decoded.address, decoded.stride * side)
    found = raw.reshape(side, decoded.stride)[:, : 3 * side].reshape(side, side, 3)
    ours = simplejpeg.decode_jpeg(data, "RGB")
    off = int(np.abs(found.astype(int) - ours.astype(int)).max())
    return passed_if(
        off <= _NEAR, SECTION, name, f"{off} levels at most", f"allowed are {_NEAR} of 255"
    )


class _Foreign:
    """PyCUDA's stream as CuPy adopts one."""

    def __init__(self, stream: Any) -> None:
        self.stream = stream

    def __cuda_stream__(self) -> tuple[int, int]:
        return (0, self.stream.handle)


def _pycuda() -> tuple[Any, str]:
    try:
        driver = importlib.import_module("pycuda.driver")
        driver.init()
    except Exception as error:  # ImportError, or its own when the driver does not answer
        return None, f"PyCUDA cannot be used here: {error}"
    return driver, ""


def _version() -> str:
    return str(importlib.import_module("pycuda").VERSION_TEXT)


def _refuses_again(registrar: Registrar, memory: NDArray[np.uint8]) -> bool:
    """True when the driver does not lock pages twice, as `PageLocks` counts on."""
    try:
        PageLocks(registrar).lock(memory).close()
    except PageLockRefused:
        return True
    return False
