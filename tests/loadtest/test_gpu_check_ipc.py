"""The check of CUDA IPC, on the emulated device: it passes where all is right, and finds what is
wrong. That two real processes share a GPU's memory is for `make gpu-check`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

from kernels.device import DeviceError, HandleRefused
from loadtest.gpu_check import ipc, ipc_owner, sharing
from loadtest.gpu_check.rows import Verdict
from tests.fakes.emulated_device import EmulatedDevice
from tests.fakes.emulated_ipc import DRIVER, OtherProcess

NBYTES, SKIP = ipc_owner.NBYTES, ipc_owner.SKIP


class Owner:
    """`ipc_owner`, emulated."""

    def __init__(self, first: int = 1) -> None:
        self.process = OtherProcess()
        self._handle, self.block = self.process.share(np.zeros(SKIP + 2 * NBYTES, np.uint8))
        self.block.array[SKIP : SKIP + NBYTES] = ipc_owner.pattern(first)
        self._is_first = True

    def ask(self) -> dict[str, Any]:
        if self._is_first:
            self._is_first = False
            return {"handle": self._handle.hex(), "offset": 0, "by": "a test"}
        came, goes = self.block.array[SKIP : SKIP + NBYTES], self.block.array[SKIP + NBYTES :]
        return {
            "came": bool((came == ipc_owner.pattern(1)).all()),
            "goes": bool((goes == ipc_owner.pattern(2)).all()),
        }


def started(owner: Owner) -> Callable[[], Any]:
    @contextmanager
    def start() -> Iterator[Owner]:
        yield owner
        owner.process.ends()

    return start


def own_handle() -> bytes:
    return OtherProcess(is_this_process=True).share(10)[0]


@pytest.mark.parametrize("late", [False, True])
def test_it_passes_on_the_emulated_device(late: bool) -> None:
    found = list(ipc.check_ipc(EmulatedDevice(late=late), started(Owner()), own_handle))
    assert [row.verdict for row in found] == [Verdict.PASSED, Verdict.PASSED]
    assert found[1].figure.endswith("of this process")
    assert DRIVER.open_now == 0


def test_other_bytes_are_found() -> None:
    first, _ = ipc.check_ipc(EmulatedDevice(), started(Owner(first=9)))
    assert first.verdict is Verdict.FAILED
    assert "read right: False" in first.note


def test_a_driver_that_opens_anything_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    device = EmulatedDevice()
    real = device.open_handle

    def opens(handle: bytes) -> Any:
        try:
            return real(handle)
        except HandleRefused:
            return device.allocate(10)

    monkeypatch.setattr(device, "open_handle", opens)
    monkeypatch.setattr(device, "close_handle", lambda memory: None)
    owner = Owner()
    _, second = ipc.check_ipc(device, started(owner), own_handle)
    assert second.verdict is Verdict.FAILED
    assert "made up" in second.note
    DRIVER.close(owner.block.address)


@pytest.mark.parametrize("error", [DeviceError("no"), RuntimeError("it said nothing")])
def test_what_keeps_it_from_being_made_is_a_failed_row(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fails(*args: object, **kwargs: object) -> Iterator[Any]:
        raise error
        yield

    monkeypatch.setattr(ipc, "check_ipc", fails)
    (row,) = ipc.rows(EmulatedDevice())
    assert row.verdict is Verdict.FAILED
    assert row.note == str(error)


def test_another_process_that_ends_is_told_with_its_last_words(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")  # so that it has no GPU on any machine
    # without CuPy it ends before it can look for one
    with (
        ipc.other_process() as owner,
        pytest.raises(RuntimeError, match=r"process ended, .*(cuda|cupy)"),
    ):
        owner.ask()


def test_both_ways_of_a_frame_in_shared_memory_are_timed() -> None:
    class Registrar:
        name = "a test's"

        def register(self, memory: object) -> Callable[[], None]:
            return lambda: None

    row = sharing.time_host_copies(Registrar(), EmulatedDevice(late=True))
    assert row.verdict is Verdict.MEASURED
    assert set(row.data) == {"read_ms", "locked_ms"}
