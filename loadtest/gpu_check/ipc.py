"""CUDA IPC between two processes for real: what CI can only emulate.

opened    another process's memory opens, is as large as it is, holds its bytes, takes ours
refused   made-up handles, our own, and those of a process that is gone; the device goes on
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from kernels.device import Device, DeviceError, HandleRefused
from loadtest.gpu_check import ipc_owner
from loadtest.gpu_check.bench import Bench
from loadtest.gpu_check.rows import Row, Verdict, passed_if
from loadtest.gpu_check.sections import ROOT

SECTION = "sharing"
_PATIENCE_S = 20.0  # for the other process to import CuPy and to answer


class Owner(Protocol):
    """The other process."""

    def ask(self) -> dict[str, Any]:
        """Its next line: first where its memory is, then what lies in it.

        Raises:
            RuntimeError: it said nothing, and why.
        """


@contextmanager
def other_process() -> Iterator[Owner]:
    """`ipc_owner`, running; ended with the block."""
    process = subprocess.Popen(
        [sys.executable, "-m", ipc_owner.__name__],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield _Process(process)
    finally:
        process.kill()
        process.communicate()


class _Process:
    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self._is_first = True

    def ask(self) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        if not self._is_first:
            self._process.stdin.write("look\n")
            self._process.stdin.flush()
        self._is_first = False
        late = threading.Timer(_PATIENCE_S, self._process.kill)
        late.start()
        line = self._process.stdout.readline()
        late.cancel()
        if not line:
            self._process.kill()
            words = " ".join(self._process.stderr.read().split())[-300:]
            raise RuntimeError(f"the other process ended, or said nothing for 20 s: {words}")
        told: dict[str, Any] = json.loads(line)
        return told


def rows(device: Device) -> Iterator[Row]:
    """The checks on a GPU; what keeps them from being made is a failed row."""
    try:
        yield from check_ipc(device, own_handle=own_handle)
    except (DeviceError, RuntimeError) as error:
        yield Row(SECTION, "CUDA IPC", Verdict.FAILED, note=str(error))


def check_ipc(
    device: Device,
    start: Callable[[], Any] = other_process,
    own_handle: Callable[[], bytes | None] = lambda: None,
) -> Iterator[Row]:
    """The two rows.

    Args:
        device: GPU 0.
        start: the other process, as a context.
        own_handle: of memory of this process; None: there is none to try.
    """
    bench = Bench(device)
    nbytes, skip = ipc_owner.NBYTES, ipc_owner.SKIP
    with start() as owner:
        told = owner.ask()
        handle, offset = bytes.fromhex(told["handle"]), told["offset"] + skip
        memory = device.open_handle(handle)
        try:
            mine, stream = bench.empty(nbytes), bench.stream
            device.copy_within(memory.address + offset, mine, nbytes, stream)
            same = bool((bench.bytes_of(mine, nbytes) == ipc_owner.pattern(1)).all())
            other = bench.filled(ipc_owner.pattern(2))
            device.copy_within(other, memory.address + offset + nbytes, nbytes, stream)
            device.synchronize(stream)
        finally:
            device.close_handle(memory)
        seen = owner.ask()
        is_large = memory.nbytes >= offset + 2 * nbytes
        yield passed_if(
            same and is_large and seen == {"came": True, "goes": True},
            SECTION,
            "CUDA IPC, another process's memory",
            f"8 MiB in and out, named by {told['by']}",
            f"read right: {same}; allocation of {memory.nbytes} bytes; its owner sees {seen}",
        )
    tried = {"made up": os.urandom(64), "zeros": bytes(64), "of a process that is gone": handle}
    if (own := own_handle()) is not None:
        tried["of this process"] = own
    opened = [name for name, each in tried.items() if not _is_refused(device, each)]
    still = bench.bytes_of(bench.filled(ipc_owner.pattern(3)), nbytes)
    yield passed_if(
        not opened and bool((still == ipc_owner.pattern(3)).all()),
        SECTION,
        "CUDA IPC, handles that must not open",
        ", ".join(tried),
        f"opened all the same: {opened or 'none'}; or the device did not go on after it",
    )


def own_handle() -> bytes:
    """Of memory that this process holds for as long as it lives."""
    import cupy

    _HELD.append(cupy.zeros(2 << 20, cupy.uint8))
    handle: bytes = cupy.cuda.runtime.ipcGetMemHandle(_HELD[-1].data.ptr)
    return handle


_HELD: list[Any] = []


def _is_refused(device: Device, handle: bytes) -> bool:
    try:
        device.close_handle(device.open_handle(handle))
    except HandleRefused:
        return True
    return False
