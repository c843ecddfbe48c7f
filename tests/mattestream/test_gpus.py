"""The driver's answers, with a stand-in for libcuda: few machines that run tests have a GPU."""

from __future__ import annotations

import ctypes
from pathlib import Path

import pytest

from mattestream.cli.gpus import Found, Gpu, find_gpus

ABSENT = Path("/nonexistent")


class StandInCuda:
    """The few calls of libcuda that are made, with the same arguments and return codes."""

    def __init__(self, names: list[str], *, init_code: int = 0) -> None:
        self.names = names
        self.init_code = init_code

    def cuInit(self, flags: int) -> int:  # noqa: N802
        return self.init_code

    def cuDriverGetVersion(self, version) -> int:  # noqa: N802
        version._obj.value = 13010
        return 0

    def cuDeviceGetCount(self, count) -> int:  # noqa: N802
        count._obj.value = len(self.names)
        return 0

    def cuDeviceGet(self, device, index: int) -> int:  # noqa: N802
        device._obj.value = index
        return 0

    def cuDeviceGetName(self, buffer, size: int, device: int) -> int:  # noqa: N802
        ctypes.memmove(buffer, self.names[device].encode() + b"\0", len(self.names[device]) + 1)
        return 0

    def cuDeviceTotalMem_v2(self, size, device: int) -> int:  # noqa: N802
        size._obj.value = 80 << 30
        return 0

    def cuDeviceGetAttribute(self, value, attribute: int, device: int) -> int:  # noqa: N802
        value._obj.value = {75: 9, 76: 0}[attribute]
        return 0


def no_library(name: str) -> object:
    raise OSError(name)


def test_devices_are_named_with_memory_and_capability():
    found = find_gpus(lambda name: StandInCuda(["NVIDIA H100", "NVIDIA H200"]), ABSENT)
    assert found == Found(
        (Gpu("NVIDIA H100", "9.0", 80 * 1024), Gpu("NVIDIA H200", "9.0", 80 * 1024)), "13.1"
    )


def test_a_machine_without_a_driver_says_so():
    assert find_gpus(no_library, ABSENT).problem == "no NVIDIA driver on this machine"


def test_a_container_without_its_gpus_says_how_to_start_it(tmp_path):
    assert "--gpus all" in find_gpus(no_library, tmp_path).problem


@pytest.mark.parametrize(("code", "words"), [(100, "sees no GPU"), (999, "CUDA error 999")])
def test_a_driver_that_does_not_start_is_not_a_gpu(code, words):
    found = find_gpus(lambda name: StandInCuda([], init_code=code), ABSENT)
    assert found.gpus == ()
    assert words in found.problem


def test_a_driver_with_no_device_is_not_a_gpu():
    found = find_gpus(lambda name: StandInCuda([]), ABSENT)
    assert (found.gpus, "sees no GPU" in found.problem) == ((), True)


@pytest.mark.parametrize(("capability", "is_old"), [("7.0", True), ("7.5", False), ("12.0", False)])
def test_a_gpu_from_before_turing_is_said_to_be_too_old(capability, is_old):
    found = Found((Gpu("NVIDIA V100", capability, 1024),), "13.0")
    assert bool(found.too_old) == is_old
    if is_old:
        assert "compute capability 7.0, CUDA 13 begins at 7.5" in found.too_old[0]


@pytest.mark.parametrize(("driver", "is_old"), [("12.9", True), ("13.0", False), ("13.10", False)])
def test_a_driver_from_before_cuda_13_is_said_to_be_too_old(driver, is_old):
    found = Found((Gpu("NVIDIA H200", "9.0", 1024),), driver)
    assert [("update the driver" in words) for words in found.too_old] == [True] * is_old


def test_this_machine_can_be_asked():
    found = find_gpus()
    assert bool(found.gpus) != bool(found.problem)
