"""CuPy's device, as far as a machine without a GPU can run it: its sentences, what it undoes when
something fails, and that CuPy has every name it uses. `test_device` runs the rest.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kernels.cupy_device
from kernels.device import CaptureFailed, DeviceError, Kernel
from kernels.gpus import Gpu, devices
from tests.kernels.cuda.tools import cupy_device, missing, write_kernel


@pytest.fixture
def cupy() -> Any:
    """The installed CuPy."""
    try:
        import cupy
    except ImportError:
        missing("CuPy is not installed")
    return cupy


@pytest.fixture
def no_gpu(cupy: Any) -> None:
    """Ends the test on a machine that has a GPU."""
    if cupy.cuda.is_available():
        pytest.skip("this machine has a GPU")


@pytest.mark.usefixtures("no_gpu")
def test_without_a_driver_the_sentence_holds_the_drivers_words() -> None:
    with pytest.raises(DeviceError, match=r"no NVIDIA GPU can be used.*cudaError"):
        devices()
    with pytest.raises(DeviceError, match=r"no NVIDIA GPU can be used.*nvidia-smi"):
        kernels.cupy_device.CupyDevice(0)


def test_without_cupy_the_sentence_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cupy", None)
    with pytest.raises(DeviceError, match=r"does not load.*pip install \"cupy-cuda13x"):
        devices()


def test_importing_the_device_does_not_import_cupy() -> None:
    code = "import sys, kernels.cupy_device, kernels.gpus; sys.exit('cupy' in sys.modules)"
    root = Path(kernels.cupy_device.__file__).parents[1]
    assert subprocess.run([sys.executable, "-c", code], cwd=root, check=False).returncode == 0


def test_the_gpus_are_those_of_the_driver(
    cupy: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cupy_device(tmp_path, monkeypatch, gpus=2)
    assert devices() == (
        Gpu(0, "Emulated", (9, 0), 1 << 30),
        Gpu(1, "Emulated", (9, 0), 1 << 30),
    )


@pytest.mark.parametrize("index", [-1, 2])
def test_a_gpu_that_is_not_there_is_an_error(
    cupy: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, index: int
) -> None:
    cupy_device(tmp_path, monkeypatch, gpus=2)
    with pytest.raises(DeviceError, match=rf"there is no GPU {index}: this machine has 0 to 1"):
        kernels.cupy_device.CupyDevice(index)


def test_memory_is_taken_on_the_devices_own_gpu_whatever_the_threads_is(
    cupy: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, driver = cupy_device(tmp_path, monkeypatch, gpus=2)
    second = kernels.cupy_device.CupyDevice(1)
    assert second.name == "cuda:1 Emulated"
    driver.current, seen = 0, []
    take = driver.cuda.Memory
    monkeypatch.setattr(
        driver.cuda, "Memory", lambda size: (seen.append(driver.current), take(size))[1]
    )
    second.allocate(10)
    assert (seen, driver.current) == ([1], 0)


def test_two_devices_of_one_thread_are_told_apart(
    cupy: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_kernel(tmp_path, "k", "int n", "")
    first, _ = cupy_device(tmp_path, monkeypatch, gpus=2)
    kernels.cupy_device.CupyDevice(1, folder=tmp_path)  # makes itself the thread's
    with pytest.raises(DeviceError, match="without having called use"):
        first.launch(Kernel("k", "k"), (1, 1, 1), (1, 1, 1), (np.int32(1),), first.new_stream())


def test_a_lack_of_memory_is_said_in_bytes(
    cupy: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    device, _ = cupy_device(tmp_path, monkeypatch)
    with pytest.raises(DeviceError, match=r"2199023255552 bytes of device memory: cudaErrorMemory"):
        device.allocate(1 << 41)


@pytest.mark.parametrize(
    ("function", "call"),
    [
        ("memcpyAsync", lambda device, stream: device.copy_in(0, 0, 4, stream)),
        ("memcpyAsync", lambda device, stream: device.copy_out(0, 0, 4, stream)),
        ("memsetAsync", lambda device, stream: device.clear(0, 4, stream)),
        ("eventRecord", lambda device, stream: device.record(device.new_event(), stream)),
        ("streamWaitEvent", lambda device, stream: device.wait_for(stream, device.new_event())),
        ("streamSynchronize", lambda device, stream: device.synchronize(stream)),
        ("eventSynchronize", lambda device, _stream: device.synchronize(device.new_event())),
        ("setDevice", lambda device, _stream: device.use()),
    ],
)
def test_what_the_driver_refuses_is_a_device_error_with_its_words(
    cupy: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, function: str, call: Any
) -> None:
    device, driver = cupy_device(tmp_path, monkeypatch)
    stream = device.new_stream()
    driver.fails[function] = cupy.cuda.runtime.CUDARuntimeError(700)
    with pytest.raises(DeviceError, match="cudaErrorIllegalAddress") as failure:
        call(device, stream)
    assert driver.calls[-1] == function
    assert isinstance(failure.value.__cause__, cupy.cuda.runtime.CUDARuntimeError)


def test_a_capture_that_is_given_up_leaves_no_graph(
    cupy: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    device, driver = cupy_device(tmp_path, monkeypatch)
    stream = device.new_stream()
    with pytest.raises(ZeroDivisionError):
        device.capture(stream, lambda: 1 // 0)  # type: ignore[arg-type, return-value]
    assert driver.calls[-2:] == ["streamEndCapture", "graphDestroy"]
    assert driver.graphs_left == 0


def test_a_capture_that_the_driver_invalidated_is_ended_all_the_same(
    cupy: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    device, driver = cupy_device(tmp_path, monkeypatch)
    stream = device.new_stream()

    def foreign_call() -> None:
        driver.cuda.Memory(10)  # as a library may do behind our back

    with pytest.raises(RuntimeError, match="StreamCaptureUnsupported"):
        device.capture(stream, foreign_call)
    assert driver.captured is None
    device.capture(stream, lambda: None).launch(stream)


def test_a_capture_that_fails_at_its_end_is_a_failed_capture(
    cupy: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    device, driver = cupy_device(tmp_path, monkeypatch)
    stream = device.new_stream()

    def swallowed() -> None:
        with pytest.raises(RuntimeError):
            driver.cuda.Memory(10)

    with pytest.raises(CaptureFailed, match="cudaErrorStreamCaptureInvalidated"):
        device.capture(stream, swallowed)


def test_a_stream_of_another_library_is_adopted(
    cupy: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Foreign:
        def __cuda_stream__(self) -> tuple[int, int]:
            return 0, 0x1234

    device, _ = cupy_device(tmp_path, monkeypatch)
    assert device.adopt(Foreign()).handle == 0x1234
    # The real one, too, needs no driver for this.
    assert cupy.cuda.Stream.from_external(Foreign()).ptr == 0x1234


def test_the_installed_cupy_has_what_the_device_uses(cupy: Any) -> None:
    tree = ast.parse(Path(kernels.cupy_device.__file__).read_text(encoding="utf-8"))
    used = {ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    names = {
        name.replace("self._runtime.", "cupy.cuda.runtime.").replace("self._cupy.", "cupy.")
        for name in used
    }
    wanted = sorted(name.split(".")[1:] for name in names if name.startswith("cupy."))
    assert ["cuda", "runtime", "memcpyAsync"] in wanted
    for path in wanted:
        found = cupy
        for part in path:
            found = getattr(found, part)


@pytest.mark.usefixtures("no_gpu")
def test_the_installed_cupy_takes_the_calls_of_the_device(cupy: Any) -> None:
    # Each gets past the reading of its arguments, to the driver that is not there.
    from cupy.cuda.function import Function

    no_driver = pytest.raises(cupy.cuda.runtime.CUDARuntimeError, match="InsufficientDriver")
    arguments = (np.uintp(1), np.int32(1), np.zeros(1, [("x", np.int32), ("y", np.float32)]))
    adopted = cupy.cuda.Stream.from_external(
        type("Foreign", (), {"__cuda_stream__": lambda self: (0, 1 << 20)})()
    )
    function = Function.__new__(Function)
    module = cupy.RawModule(code="broken", options=("-std=c++17",))
    calls = [
        lambda: function((1, 1, 1), (1, 1, 1), arguments, 0, adopted),
        lambda: module.get_function("k").kernel,
        lambda: cupy.cuda.Memory(10),
        lambda: cupy.cuda.PinnedMemory(10, cupy.cuda.runtime.hostAllocPortable),
        lambda: cupy.cuda.Event(block=True, disable_timing=True),
        lambda: adopted.begin_capture(cupy.cuda.runtime.streamCaptureModeThreadLocal),
        lambda: cupy.cuda.runtime.ipcOpenMemHandle(bytes(64)),
        lambda: cupy.cuda.runtime.ipcCloseMemHandle(1 << 20),
        lambda: cupy.cuda.runtime.pointerGetAttributes(1 << 20),
    ]
    for call in calls:
        with no_driver:
            call()
