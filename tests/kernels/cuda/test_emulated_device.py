"""What the emulated device finds that a GPU would let pass."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest

from kernels.cuda.catalogue import FOLDER
from kernels.device import Argument, DeviceError, Kernel
from kernels.image import IMAGE
from kernels.transfer import Copies, to_device, to_host
from tests.fakes.cuda_shim.module import Order, build
from tests.fakes.emulated_device import EmulatedDevice, EmulatedMemory, EmulatedStream
from tests.kernels.cuda.arrays import get, put
from tests.kernels.cuda.tools import write_kernel

pytestmark = pytest.mark.usefixtures("needs_gcc")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """One kernel: many(int *out, int n, float f, u8 b, Image image), which writes out[n] = f."""
    parameters = "int *out, int n, float f, u8 b, Image image"
    write_kernel(tmp_path, "many", parameters, "out[n] = (int)f + b + image.width;")
    return tmp_path


def launch(device: EmulatedDevice, stream: EmulatedStream, memory: EmulatedMemory, n: int) -> None:
    image = np.zeros(1, IMAGE)
    arguments = (np.uintp(memory.address), np.int32(n), np.float32(5), np.uint8(1), image)
    device.launch(Kernel("many", "many"), (1, 1, 1), (1, 1, 1), arguments, stream)


def test_fresh_memory_is_full_of_nans(folder: Path) -> None:
    device = EmulatedDevice(folder=folder)
    assert np.isnan(get(device, device.allocate(12), (3,), np.float32)).all()
    assert np.isnan(device.allocate_host(12).array.view(np.float32)).all()


@pytest.mark.parametrize(("n", "where"), [(4, "behind the end"), (-1, "before the start")])
def test_a_write_beside_a_block_names_kernel_and_block(folder: Path, n: int, where: str) -> None:
    device = EmulatedDevice(folder=folder)
    memory = device.allocate(16)
    with pytest.raises(DeviceError, match=rf"many in many\.cu wrote {where} of a block of 16"):
        launch(device, device.new_stream(), memory, n)


def test_a_copy_beside_a_block_is_found(folder: Path) -> None:
    device = EmulatedDevice(folder=folder)
    memory, stream = device.allocate(16), device.new_stream()
    with pytest.raises(DeviceError, match="a copy wrote behind the end"):
        to_device(device, np.zeros(17, np.uint8), memory.address, stream, Copies())


GOOD: tuple[Argument, ...] = (
    np.uintp(0),
    np.int32(0),
    np.float32(0),
    np.uint8(0),
    np.zeros(1, IMAGE),
)


@pytest.mark.parametrize(
    ("index", "wrong", "sentence"),
    [
        (0, np.int64(0), "argument 0 is int64, the parameter is of kind pointer"),
        (0, np.uint32(0), "argument 0 has 4 bytes .uint32., the pointer parameter has 8"),
        (1, np.int64(0), "argument 1 has 8 bytes .int64., the integer parameter has 4"),
        (1, np.float32(0), "argument 1 is float32, the parameter is of kind integer"),
        (2, np.float64(0), "argument 2 has 8 bytes .float64., the floating parameter has 4"),
        (2, np.int32(0), "argument 2 is int32, the parameter is of kind floating"),
        (3, np.int32(0), "argument 3 has 4 bytes .int32., the integer parameter has 1"),
        (4, np.zeros(2, IMAGE), "argument 4 is an array .2,."),
        (4, np.zeros(1, [("x", np.int32)]), "argument 4 has 4 bytes"),
    ],
)
def test_an_argument_of_another_width_or_kind_is_refused(
    folder: Path, index: int, wrong: Argument, sentence: str
) -> None:
    device = EmulatedDevice(folder=folder)
    arguments = (*GOOD[:index], wrong, *GOOD[index + 1 :])
    with pytest.raises(TypeError, match=sentence):
        device.launch(Kernel("many", "many"), (1, 1, 1), (1, 1, 1), arguments, device.new_stream())


@pytest.mark.parametrize("arguments", [GOOD[:-1], (*GOOD, np.int32(1))])
def test_another_number_of_arguments_is_refused(
    folder: Path, arguments: tuple[Argument, ...]
) -> None:
    device = EmulatedDevice(folder=folder)
    with pytest.raises(TypeError, match=r"many takes 5 arguments, \d were given"):
        device.launch(Kernel("many", "many"), (1, 1, 1), (1, 1, 1), arguments, device.new_stream())


def test_late_work_runs_when_somebody_waits_for_it(folder: Path) -> None:
    device = EmulatedDevice(folder=folder, late=True)
    stream, event, memory = device.new_stream(), device.new_event(), device.allocate(16)
    launch(device, stream, memory, 0)
    device.record(event, stream)
    launch(device, stream, memory, 1)
    assert device.launches == 0
    device.synchronize(event)
    assert device.launches == 1
    device.synchronize(stream)
    assert device.launches == 2


@pytest.mark.parametrize(("waits", "wanted"), [(True, 6), (False, -1)])
def test_a_missing_wait_between_streams_shows_as_garbage(
    folder: Path, waits: bool, wanted: int
) -> None:
    device = EmulatedDevice(folder=folder, late=True)
    compute, back, event = device.new_stream(), device.new_stream(), device.new_event()
    memory, host = device.allocate(4), device.allocate_host(4)
    launch(device, compute, memory, 0)
    device.record(event, compute)
    if waits:
        device.wait_for(back, event)
    to_host(device, memory.address, host.array, back, Copies())
    device.synchronize(back)
    assert host.array.view(np.int32)[0] == wanted


def test_a_wait_is_for_what_was_recorded_when_it_was_queued(folder: Path) -> None:
    device = EmulatedDevice(folder=folder, late=True)
    one, two, event, memory = (
        device.new_stream(),
        device.new_stream(),
        device.new_event(),
        device.allocate(16),
    )
    launch(device, one, memory, 0)
    device.record(event, one)
    device.wait_for(two, event)
    launch(device, one, memory, 1)
    device.record(event, one)
    device.synchronize(two)
    assert device.launches == 1


def test_what_a_launch_was_given_may_change_afterwards(folder: Path) -> None:
    device = EmulatedDevice(folder=folder, late=True)
    stream, memory, image = device.new_stream(), device.allocate(4), np.zeros(1, IMAGE)
    image["width"] = 100
    arguments = (np.uintp(memory.address), np.int32(0), np.float32(5), np.uint8(1), image)
    device.launch(Kernel("many", "many"), (1, 1, 1), (1, 1, 1), arguments, stream)
    image["width"] = 7
    device.synchronize(stream)
    assert get(device, memory, (1,), np.int32)[0] == 106


def test_several_threads_launch_at_once_and_none_is_lost(tmp_path: Path) -> None:
    write_kernel(tmp_path, "sum", "int *out", "__syncthreads(); atomicAdd(out, 1);")
    device = EmulatedDevice(folder=tmp_path)
    device.load(Kernel("sum", "sum"))
    memory = put(device, np.zeros(1, np.int32))

    def work() -> None:
        device.use()
        stream = device.new_stream()
        for _ in range(50):
            arguments = (np.uintp(memory.address),)
            device.launch(Kernel("sum", "sum"), (3, 1, 1), (64, 1, 1), arguments, stream)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert get(device, memory, (1,), np.int32)[0] == 4 * 50 * 3 * 64


@pytest.mark.parametrize("order", Order)
def test_every_block_and_thread_runs_once_in_any_order(tmp_path: Path, order: Order) -> None:
    body = "atomicAdd(out + (blockIdx.x + 5 * (blockIdx.y + 3 * blockIdx.z)) * 7 + threadIdx.x, 1);"
    write_kernel(tmp_path, "visit", "int *out", body)
    device = EmulatedDevice(folder=tmp_path, order=order)
    memory, stream = put(device, np.zeros(5 * 3 * 2 * 7, np.int32)), device.new_stream()
    arguments = (np.uintp(memory.address),)
    device.launch(Kernel("visit", "visit"), (5, 3, 2), (7, 1, 1), arguments, stream)
    assert (get(device, memory, (210,), np.int32) == 1).all()


def test_a_file_is_built_once_for_the_same_text(folder: Path, tmp_path: Path) -> None:
    first = build("many", folder)
    made = first.stat().st_mtime_ns
    assert build("many", folder) == first
    assert first.stat().st_mtime_ns == made
    write_kernel(tmp_path, "many", "int *out", "out[0] = 1;")
    assert build("many", tmp_path) != first


def test_the_projects_folder_is_the_default() -> None:
    assert EmulatedDevice()._folder == FOLDER
