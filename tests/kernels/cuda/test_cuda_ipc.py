"""Another process's memory through CuPy: opened, copied on the device, closed; and what of a
caller's bytes is refused, without the handle staying open.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from kernels import cuda_ipc
from kernels.cupy_device import CupyDevice
from kernels.device import CaptureFailed, DeviceError, DeviceLost, HandleRefused
from tests.fakes.emulated_ipc import DRIVER, OtherProcess
from tests.kernels.cuda.tools import cupy_device, missing

try:
    from tests.fakes.emulated_cupy import REAL, EmulatedCupy
except ImportError:
    missing("CuPy is not installed")


@pytest.fixture
def opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[CupyDevice, EmulatedCupy, OtherProcess]]:
    """A device, its driver, and a process beside it; no handle stays open."""
    process = OtherProcess()
    device, driver = cupy_device(tmp_path, monkeypatch, gpus=2)

    def address_range(address: int) -> tuple[int, int]:
        (block,) = [each for each in process.blocks if each.address <= address]
        return block.address, block.nbytes

    monkeypatch.setattr(cuda_ipc, "_address_range", address_range)
    yield device, driver, process
    process.check_guards()
    assert DRIVER.open_now == 0


Opened = tuple[CupyDevice, EmulatedCupy, OtherProcess]


def test_memory_is_opened_copied_on_the_device_and_closed(opened: Opened) -> None:
    device, driver, process = opened
    handle, block = process.share(np.arange(200, dtype=np.uint8))
    memory = device.open_handle(handle)
    assert (memory.address, memory.nbytes) == (block.address, 200)
    own, stream = device.allocate(100), device.new_stream()
    device.copy_within(memory.address + 50, own.address, 100, stream)
    device.copy_within(own.address, memory.address, 10, stream)
    device.synchronize(stream)
    device.close_handle(memory)
    assert list(block.array[:12]) == [*range(50, 60), 10, 11]
    assert driver.calls[-1] == "ipcCloseMemHandle"


@pytest.mark.parametrize("nbytes", [0, 63, 65])
def test_a_handle_of_another_length_does_not_reach_the_driver(opened: Opened, nbytes: int) -> None:
    device, driver, _ = opened
    with pytest.raises(HandleRefused, match=f"has {nbytes} bytes"):
        device.open_handle(bytes(nbytes))
    assert "ipcOpenMemHandle" not in driver.calls


def test_what_the_driver_does_not_open_is_refused_in_its_words(opened: Opened) -> None:
    device, _, _ = opened
    with pytest.raises(HandleRefused, match=r"does not open on GPU 0 \(cudaErrorInvalidResource"):
        device.open_handle(bytes(64))


@pytest.mark.parametrize("status", [2, 700, 999])
def test_whatever_a_handle_does_to_the_driver_the_device_is_not_lost(
    opened: Opened, status: int
) -> None:
    device, driver, process = opened
    driver.fails["ipcOpenMemHandle"] = REAL.CUDARuntimeError(status)
    with pytest.raises(HandleRefused) as refused:
        device.open_handle(process.share(10)[0])
    assert not isinstance(refused.value, DeviceLost)


def test_memory_of_another_gpu_is_closed_again(opened: Opened) -> None:
    device, driver, process = opened
    driver.memory_lies_on = 1
    with pytest.raises(HandleRefused, match="lies on GPU 1, not on GPU 0"):
        device.open_handle(process.share(10)[0])


@pytest.mark.parametrize("error", [OSError("answered 1"), REAL.CUDARuntimeError(1)])
def test_memory_whose_size_cannot_be_told_is_closed_again(
    opened: Opened, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def refuses(address: int) -> tuple[int, int]:
        raise error

    monkeypatch.setattr(cuda_ipc, "_address_range", refuses)
    device, _, process = opened
    with pytest.raises(HandleRefused, match="how much memory it is cannot be told"):
        device.open_handle(process.share(10)[0])


def test_what_lies_before_the_handles_place_is_not_counted(
    opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    device, _, process = opened
    handle, _ = process.share(1000)
    monkeypatch.setattr(cuda_ipc, "_address_range", lambda address: (address - 300, 1000))
    memory = device.open_handle(handle)
    assert memory.nbytes == 700
    device.close_handle(memory)


def test_a_driver_that_does_not_close_is_told(opened: Opened) -> None:
    device, driver, process = opened
    memory = device.open_handle(process.share(10)[0])
    driver.fails["ipcCloseMemHandle"] = REAL.CUDARuntimeError(1)
    with pytest.raises(DeviceError, match="was not closed"):
        device.close_handle(memory)
    device.close_handle(memory)


def test_nothing_is_opened_while_a_graph_is_recorded(opened: Opened) -> None:
    device, _, process = opened
    handle, _ = process.share(10)
    with pytest.raises(CaptureFailed):
        device.capture(device.new_stream(), lambda: device.open_handle(handle))
