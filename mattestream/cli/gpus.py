"""Which NVIDIA GPUs this machine has, asked of the driver itself. Called by `mattestream doctor`.

Through ctypes and libcuda, which comes with the driver: no CUDA toolkit, no CuPy, no context on the
device, a few milliseconds.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LIBRARY = "libcuda.so.1"
PROC = Path("/proc/driver/nvidia")
_CAPABILITY_MAJOR = 75  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR
_CAPABILITY_MINOR = 76
_NO_DEVICE = 100  # CUDA_ERROR_NO_DEVICE
_NAME_BYTES = 128
# CUDA 13, which the kernels' and TensorRT's wheels are made for: it begins at Turing (7.5).
OLDEST_CAPABILITY = (7, 5)
OLDEST_DRIVER = (13, 0)


@dataclass(frozen=True, slots=True)
class Gpu:
    """One device.

    Attributes:
        name: as the driver calls it: "NVIDIA H200".
        capability: compute capability: "9.0".
        memory_mib: its memory in MiB.
    """

    name: str
    capability: str
    memory_mib: int

    @property
    def problem(self) -> str:
        """Why nothing here runs on it, in words; empty when it can be used."""
        if _numbers(self.capability) >= OLDEST_CAPABILITY:
            return ""
        return (
            f"{self.name} has compute capability {self.capability}, CUDA 13 begins at "
            f"{OLDEST_CAPABILITY[0]}.{OLDEST_CAPABILITY[1]}: use another GPU, or --device cpu"
        )


@dataclass(frozen=True, slots=True)
class Found:
    """What the driver said.

    Attributes:
        gpus: the devices, in the driver's order.
        driver: newest CUDA version the driver takes: "13.0"; empty without one.
        problem: why there is no device, in words; empty when there is one.
    """

    gpus: tuple[Gpu, ...] = ()
    driver: str = ""
    problem: str = ""

    @property
    def too_old(self) -> tuple[str, ...]:
        """A sentence for a driver and for each GPU that the GPU's libraries do not work with."""
        sentences = [gpu.problem for gpu in self.gpus if gpu.problem]
        if self.driver and _numbers(self.driver) < OLDEST_DRIVER:
            sentences.append(
                f"the NVIDIA driver takes CUDA up to {self.driver}, the libraries need "
                f"{OLDEST_DRIVER[0]}.{OLDEST_DRIVER[1]}: update the driver (580 or newer)"
            )
        return tuple(sentences)


def find_gpus(load: Callable[[str], Any] = ctypes.CDLL, proc: Path = PROC) -> Found:
    """The devices that a CUDA program in this process would see.

    Args:
        load: opens a shared library.
        proc: the kernel driver's folder.
    """
    try:
        cuda = load(LIBRARY)
    except OSError:
        if proc.exists():
            return Found(
                problem=f"the NVIDIA kernel driver is loaded, but {LIBRARY} is not here: in a "
                "container, start it with --gpus all"
            )
        return Found(problem="no NVIDIA driver on this machine")
    code = cuda.cuInit(0)
    if code:
        what = "sees no GPU" if code == _NO_DEVICE else f"does not start (CUDA error {code})"
        return Found(problem=f"the NVIDIA driver {what}: see what nvidia-smi says")
    version = _int(cuda.cuDriverGetVersion)
    gpus = tuple(_gpu(cuda, index) for index in range(_int(cuda.cuDeviceGetCount)))
    driver = f"{version // 1000}.{version % 1000 // 10}"
    problem = "" if gpus else "the NVIDIA driver sees no GPU: see what nvidia-smi says"
    return Found(gpus, driver, problem)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


def _gpu(cuda: Any, index: int) -> Gpu:
    device = _int(cuda.cuDeviceGet, index)
    name = ctypes.create_string_buffer(_NAME_BYTES)
    cuda.cuDeviceGetName(name, _NAME_BYTES, device)
    memory = ctypes.c_size_t()
    cuda.cuDeviceTotalMem_v2(ctypes.byref(memory), device)
    major = _int(cuda.cuDeviceGetAttribute, _CAPABILITY_MAJOR, device)
    minor = _int(cuda.cuDeviceGetAttribute, _CAPABILITY_MINOR, device)
    return Gpu(name.value.decode("utf-8", "replace"), f"{major}.{minor}", memory.value >> 20)


def _int(function: Callable[..., int], *arguments: int) -> int:
    """What the driver writes through its first argument; 0 when it reports an error."""
    value = ctypes.c_int()
    return 0 if function(ctypes.byref(value), *arguments) else value.value
