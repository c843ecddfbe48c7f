"""The GPUs of this machine, CuPy as we import it, and the driver's refusals in our words.

Asked by `kernels.cupy_device`, by `models.target` and by the CLI. CuPy is imported when a device is
asked for, not when this file is.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from kernels.device import DeviceError, DeviceFull, DeviceLost

INSTALL = 'pip install "cupy-cuda13x>=14" "nvidia-cuda-nvrtc==13.*"'

# CUDA's error numbers, the same in the runtime and the driver, in every version. After one of _LOST
# (uncorrectable memory, illegal address, time-out, illegal instruction, ...) every call answers it.
_NO_MEMORY = 2
_LOST = frozenset((214, 700, 702, 710, 714, 715, 716, 717, 718, 719, 999))


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU as the driver describes it."""

    index: int
    name: str
    capability: tuple[int, int]  # compute capability, (9, 0) on a H200
    memory_bytes: int


def import_cupy() -> Any:
    """CuPy.

    Raises:
        DeviceError: it is not installed or does not load; the message says what to do.
    """
    try:
        import cupy
    except ImportError as error:
        raise DeviceError(
            f"the GPU is used through CuPy, which does not load ({error}): {INSTALL}"
        ) from error
    return cupy


def devices() -> tuple[Gpu, ...]:
    """The GPUs of this machine, at least one, in the driver's order.

    Raises:
        DeviceError: there is none, or CuPy is missing.
    """
    cupy = import_cupy()
    with in_our_words(cupy, "no NVIDIA GPU can be used (nvidia-smi should list one)"):
        count = cupy.cuda.runtime.getDeviceCount()
        properties = [cupy.cuda.runtime.getDeviceProperties(index) for index in range(count)]
    if not properties:
        raise DeviceError("no NVIDIA GPU can be used: the driver lists none (see nvidia-smi)")
    return tuple(
        Gpu(index, one["name"].decode(), (one["major"], one["minor"]), one["totalGlobalMem"])
        for index, one in enumerate(properties)
    )


@contextmanager
def in_our_words(cupy: Any, what: str, as_error: type[DeviceError] = DeviceError) -> Iterator[None]:
    """Turns the driver's, the compiler's and CuPy's refusals into ours, their words kept."""
    try:
        yield
    except DeviceError:
        raise
    except (RuntimeError, MemoryError, OSError, cupy.cuda.compiler.CompileException) as error:
        raise _kind(error, as_error)(f"{what}: {error}") from error


def _kind(error: Exception, otherwise: type[DeviceError]) -> type[DeviceError]:
    """Which of our errors a refusal is."""
    if isinstance(error, MemoryError):
        return DeviceFull
    # NVRTC's errors have a status too, and other numbers.
    if type(error).__name__ not in ("CUDARuntimeError", "CUDADriverError"):
        return otherwise
    status = getattr(error, "status", 0)
    if status == _NO_MEMORY:
        return DeviceFull
    return DeviceLost if status in _LOST else otherwise
