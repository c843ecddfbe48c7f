"""What every device keeps to: the emulated one, CuPy's over an emulated driver, and with
`MATTESTREAM_TEST_DEVICE=cuda` CuPy's over a real one.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from kernels.device import CaptureFailed, Device, DeviceError, Kernel, Memory, Stream
from kernels.transfer import Copies, to_device, to_host
from tests.kernels.cuda.arrays import get, put
from tests.kernels.cuda.tools import cupy_device, write_kernel

ADD = Kernel("add", "add")
ON_GPU = os.environ.get("MATTESTREAM_TEST_DEVICE") == "cuda"


@pytest.fixture(params=["the device of this run"] + ["cupy on a fake driver"] * (not ON_GPU))
def device(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    device_of: Callable[[Path], Device],
    monkeypatch: pytest.MonkeyPatch,
) -> Device:
    """A device with one kernel: add(int *out, int n), one block of 4 threads, out[i] += n."""
    write_kernel(tmp_path, "add", "int *out, int n", "out[threadIdx.x] += n;")
    if request.param.startswith("cupy"):
        return cupy_device(tmp_path, monkeypatch)[0]
    return device_of(tmp_path)


def add(device: Device, memory: Memory, n: int, stream: Stream) -> None:
    arguments = (np.uintp(memory.address), np.int32(n))
    device.launch(ADD, (1, 1, 1), (4, 1, 1), arguments, stream)


def fours(device: Device) -> Memory:
    return put(device, np.zeros(4, np.int32))


def first(device: Device, memory: Memory) -> int:
    return int(get(device, memory, (4,), np.int32)[0])


def test_it_keeps_the_contract(device: Device) -> None:
    assert isinstance(device, Device)
    assert device.name


def test_what_is_copied_in_comes_out(device: Device, stream: Stream) -> None:
    values = np.arange(1000, dtype=np.uint8)
    assert np.array_equal(get(device, put(device, values), (1000,), np.uint8), values)


def test_addresses_are_multiples_of_256(device: Device) -> None:
    assert [device.allocate(size).address % 256 for size in (1, 255, 257, 70_000)] == [0] * 4


def test_copies_are_counted_by_the_functions_that_copy(device: Device) -> None:
    stream, copies, memory = device.new_stream(), Copies(), device.allocate(100)
    host = device.allocate_host(100)
    to_device(device, host.array, memory.address, stream, copies)
    to_host(device, memory.address, host.array[:30], stream, copies)
    device.synchronize(stream)
    assert copies == Copies(1, 100, 1, 30)


def test_host_memory_lives_as_long_as_a_view_of_it(device: Device) -> None:
    view = device.allocate_host(1 << 16).array[:10]
    view[:] = 7
    others = [device.allocate_host(1 << 16).array for _ in range(8)]
    for other in others:
        other[:] = 9
    assert view.tolist() == [7] * 10


def test_clear_sets_its_bytes_and_no_others(device: Device) -> None:
    stream, memory = device.new_stream(), put(device, np.full(12, 5, np.uint8))
    device.clear(memory.address + 4, 4, stream)
    device.synchronize(stream)
    assert get(device, memory, (12,), np.uint8).tolist() == [5] * 4 + [0] * 4 + [5] * 4


def test_every_block_is_counted_as_an_allocation(device: Device) -> None:
    before = device.allocations
    device.allocate(10)
    device.allocate_host(10)
    assert device.allocations == before + 2


def test_no_bytes_are_no_block(device: Device) -> None:
    with pytest.raises(DeviceError, match="0 bytes were asked for"):
        device.allocate(0)


@pytest.mark.parametrize("number", [3, 3.0, True, [3]])
def test_a_plain_python_number_is_refused(device: Device, number: object) -> None:
    memory, stream = fours(device), device.new_stream()
    with pytest.raises(TypeError, match=r"argument 1 is a .*width would be a guess"):
        device.launch(ADD, (1, 1, 1), (4, 1, 1), (np.uintp(memory.address), number), stream)  # type: ignore[arg-type]


def test_an_array_is_refused_as_an_argument_unless_it_is_one_struct(device: Device) -> None:
    stream = device.new_stream()
    with pytest.raises(TypeError, match="argument 0"):
        device.launch(ADD, (1, 1, 1), (4, 1, 1), (np.zeros(1), np.int32(1)), stream)  # type: ignore[arg-type]


def test_an_empty_grid_is_refused(device: Device) -> None:
    memory, stream = fours(device), device.new_stream()
    with pytest.raises(DeviceError):
        device.launch(ADD, (0, 1, 1), (4, 1, 1), (np.uintp(memory.address), np.int32(1)), stream)


def test_a_kernel_that_does_not_compile_is_an_error_with_its_line(
    device: Device, tmp_path: Path
) -> None:
    write_kernel(tmp_path, "broken", "int *out", "int a;\nnonsense(a);")
    with pytest.raises(DeviceError, match=r"broken\.cu[:(]3"):
        device.load(Kernel("broken", "broken"))


def test_a_kernel_that_is_not_there_is_an_error(device: Device) -> None:
    with pytest.raises(DeviceError):
        device.load(Kernel("add", "subtract"))


def test_a_thread_launches_once_it_uses_the_device(device: Device) -> None:
    memory, seen = fours(device), []

    def work() -> None:
        try:
            add(device, memory, 1, device.new_stream())
        except DeviceError as error:
            seen.append(str(error))
        device.use()
        stream = device.new_stream()
        add(device, memory, 2, stream)
        device.synchronize(stream)

    thread = threading.Thread(target=work, name="late")
    thread.start()
    thread.join()
    assert seen == ["thread 'late' launches add without having called use()"]
    assert first(device, memory) == 2


def test_a_stream_waits_for_an_event_of_another(device: Device) -> None:
    memory, event = fours(device), device.new_event()
    one, two = device.new_stream(), device.new_stream()
    add(device, memory, 5, one)
    device.record(event, one)
    device.wait_for(two, event)
    device.clear(memory.address, 8, two)
    device.synchronize(two)
    assert get(device, memory, (4,), np.int32).tolist() == [0, 0, 5, 5]


def test_waiting_for_an_event_that_was_never_recorded_returns(device: Device) -> None:
    device.synchronize(device.new_event())


def test_a_graph_runs_when_it_is_launched_and_as_often(device: Device) -> None:
    memory, stream = fours(device), device.new_stream()
    device.load(ADD)
    graph = device.capture(stream, lambda: add(device, memory, 3, stream))
    device.synchronize(stream)
    assert first(device, memory) == 0
    for _ in range(2):
        graph.launch(stream)
    device.synchronize(stream)
    assert first(device, memory) == 6


def test_a_graph_runs_on_a_stream_it_was_not_recorded_on(device: Device) -> None:
    memory, stream, other = fours(device), device.new_stream(), device.new_stream()
    device.load(ADD)
    graph = device.capture(stream, lambda: device.clear(memory.address, 4, stream))
    add(device, memory, 3, other)
    graph.launch(other)
    device.synchronize(other)
    assert get(device, memory, (4,), np.int32).tolist() == [0, 3, 3, 3]


FORBIDDEN: dict[str, Callable[[Device, Stream, Memory], object]] = {
    "a copy": lambda device, stream, memory: to_device(
        device, np.zeros(4, np.uint8), memory.address, stream, Copies()
    ),
    "an allocation": lambda device, _stream, _memory: device.allocate(10),
    "a host allocation": lambda device, _stream, _memory: device.allocate_host(10),
    "waiting": lambda device, stream, _memory: device.synchronize(stream),
    "recording an event": lambda device, stream, _memory: device.record(device.new_event(), stream),
    "waiting for an event": lambda device, stream, _memory: device.wait_for(
        stream, device.new_event()
    ),
    "another capture": lambda device, stream, _memory: device.capture(stream, lambda: None),
    "a kernel that is not there": lambda device, _stream, _memory: device.load(Kernel("add", "no")),
}


@pytest.mark.parametrize("what", FORBIDDEN)
def test_a_capture_with_it_fails_and_leaves_the_stream_usable(device: Device, what: str) -> None:
    memory, stream = fours(device), device.new_stream()
    device.load(ADD)

    def work() -> None:
        add(device, memory, 3, stream)
        FORBIDDEN[what](device, stream, memory)

    with pytest.raises(CaptureFailed):
        device.capture(stream, work)
    assert first(device, memory) == 0
    add(device, memory, 2, stream)
    device.synchronize(stream)
    assert first(device, memory) == 2
    graph = device.capture(stream, lambda: add(device, memory, 3, stream))
    graph.launch(stream)
    device.synchronize(stream)
    assert first(device, memory) == 5


def test_another_error_while_capturing_comes_through_and_ends_the_capture(device: Device) -> None:
    memory, stream = fours(device), device.new_stream()

    def work() -> None:
        raise LookupError("not the device's")

    with pytest.raises(LookupError, match="not the device's"):
        device.capture(stream, work)
    add(device, memory, 2, stream)
    device.synchronize(stream)
    assert first(device, memory) == 2


def test_other_threads_may_allocate_while_one_captures(device: Device) -> None:
    stream, failures = device.new_stream(), []

    def allocate() -> None:
        try:
            device.use()
            device.allocate(10)
        except DeviceError as error:
            failures.append(error)

    def work() -> None:
        thread = threading.Thread(target=allocate)
        thread.start()
        thread.join()

    device.capture(stream, work)
    assert failures == []
