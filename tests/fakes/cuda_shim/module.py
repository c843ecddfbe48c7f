"""A kernel file built by g++ through the shim, and launched as the driver API would.

`build` compiles once per content and keeps the library in a cache folder; `CpuModule.launch` takes
what `cuLaunchKernel` takes and checks each argument against the parameter's own size. Called by
`tests.fakes.emulated_device` and by the tests of the shim.
"""

from __future__ import annotations

import ctypes
import fcntl
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
import threading
from dataclasses import dataclass
from enum import IntEnum
from functools import cache
from pathlib import Path

import numpy as np

from kernels.cuda.catalogue import FOLDER, entries
from kernels.cuda.source import source_of
from kernels.device import Argument, DeviceError, Grid

HERE = Path(__file__).parent
BASE_FLAGS = (
    "-std=c++17",
    "-O2",
    "-fPIC",
    "-shared",
    "-fvisibility=hidden",  # each library keeps its own threadIdx and shared memory
    "-fno-gnu-unique",
    "-fno-strict-aliasing",  # kernels read rows of bytes as uchar4
    "-Wno-unknown-pragmas",
)
EXACT = ("-ffp-contract=off",)
# As nvcc does unless told otherwise. ARM has fused multiply-add without being asked.
CONTRACTED = ("-ffp-contract=fast", *(("-mfma",) if platform.machine() == "x86_64" else ()))
SANITIZED = (
    *EXACT,
    "-g1",
    "-fsanitize=address,undefined",
    "-fno-sanitize-recover=all",  # the first finding ends the process
    "-fno-omit-frame-pointer",
)


class Order(IntEnum):
    """In which order threads and blocks run; results must not depend on it."""

    FORWARD = 0
    BACKWARD = 1
    STRIDED = 2


@dataclass(frozen=True)
class Parameter:
    """One parameter of a kernel: bytes, and "pointer", "integer", "floating" or "struct"."""

    nbytes: int
    kind: str


_KINDS = {ord("p"): "pointer", ord("i"): "integer", ord("f"): "floating", ord("s"): "struct"}


def cache_folder() -> Path:
    """A folder of this user's in the temporary directory, for built libraries."""
    folder = Path(tempfile.gettempdir()) / f"mattestream-cuda-shim-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.stat().st_uid != os.getuid():
        raise DeviceError(f"{folder} belongs to another user: remove it or set TMPDIR")
    return folder


@cache
def _compiler() -> tuple[str, str]:
    """Path and version of g++."""
    path = shutil.which("g++")
    if path is None:
        raise DeviceError("g++ is not installed: kernels cannot be run on the CPU")
    done = subprocess.run([path, "--version"], capture_output=True, text=True, check=True)
    return path, done.stdout


def can_contract() -> bool:
    """True when this processor runs what `CONTRACTED` builds."""
    if platform.machine() != "x86_64":
        return True
    return " fma " in Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace")


def translation_unit(file: str, folder: Path) -> str:
    """What g++ is given: the shim, the unchanged source, one entry point per kernel."""
    source = source_of(file, folder)
    points = "".join(f"CUDA_CPU_ENTRY({name})\n" for name in entries(source))
    return f'#include "cuda_cpu.h"\n{source}#line 1 "entry points"\n{points}'


def build(file: str, folder: Path = FOLDER, flags: tuple[str, ...] = EXACT) -> Path:
    """The library of one kernel file, compiled unless the same text was compiled before.

    Raises:
        DeviceError: g++ is missing or refuses; its messages are in the error.
    """
    compiler, version = _compiler()
    text = translation_unit(file, folder)
    shim = "".join(path.read_text(encoding="utf-8") for path in sorted(HERE.glob("*.h")))
    key = "\0".join((text, shim, version, *BASE_FLAGS, *flags))
    digest = hashlib.sha256(key.encode()).hexdigest()[:24]
    library = cache_folder() / f"{file}-{digest}.so"
    if library.exists():
        return library
    with library.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another pytest process may be building the same
        if library.exists():
            return library
        fresh = library.with_suffix(f".{os.getpid()}")
        command = [compiler, *BASE_FLAGS, *flags, f"-I{HERE}", "-xc++", "-", "-o", str(fresh)]
        done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
        if done.returncode:
            raise DeviceError(f"g++ does not compile {file}.cu:\n{done.stderr}")
        fresh.replace(library)
    return library


class CpuModule:
    """The kernels of one built file. Launches of one file run one at a time."""

    def __init__(self, library: Path) -> None:
        self._library = ctypes.CDLL(str(library))
        self._turn = threading.Lock()  # shared memory and thread indices are static
        self._parameters: dict[str, tuple[Parameter, ...]] = {}

    def parameters(self, entry: str) -> tuple[Parameter, ...]:
        """The parameters of a kernel, in order.

        Raises:
            DeviceError: the file has no such kernel.
        """
        found = self._parameters.get(entry)
        if found is None:
            function = getattr(self._library, f"cpu_parameters_{entry}", None)
            if function is None:
                raise DeviceError(f"there is no kernel {entry!r} in {self._library._name}")
            function.restype = ctypes.POINTER(ctypes.c_int)
            table = function()
            found = tuple(
                Parameter(table[i] >> 8, _KINDS[table[i] & 0xFF]) for i in range(1, 1 + table[0])
            )
            self._parameters[entry] = found
        return found

    def launch(
        self,
        entry: str,
        grid: Grid,
        block: Grid,
        args: tuple[Argument, ...],
        order: Order = Order.FORWARD,
    ) -> None:
        """Runs a kernel to its end.

        Raises:
            TypeError: an argument has another width or kind than its parameter.
            DeviceError: the grid is invalid, or a barrier was misused.
        """
        values = checked_arguments(entry, self.parameters(entry), args)
        function = getattr(self._library, f"cpu_launch_{entry}")
        shape = (ctypes.c_int * 6)(*grid, *block)
        pointers = (ctypes.c_void_p * max(1, len(values)))(*(v.ctypes.data for v in values))
        fault = ctypes.create_string_buffer(512)
        with self._turn:
            failed = function(shape, pointers, int(order), fault, len(fault))
        if failed:
            raise DeviceError(f"{entry}: {fault.value.decode()}")


@cache
def load_module(file: str, folder: Path = FOLDER, flags: tuple[str, ...] = EXACT) -> CpuModule:
    """The module of one file, built and loaded at the first call: later edits are not seen."""
    return CpuModule(build(file, folder, flags))


def checked_arguments(
    entry: str, parameters: tuple[Parameter, ...], args: tuple[Argument, ...]
) -> list[np.ndarray]:
    """Each argument as an array that holds its bytes.

    Raises:
        TypeError: their number, or one's width or kind, is not the parameter's.
    """
    if len(args) != len(parameters):
        raise TypeError(f"{entry} takes {len(parameters)} arguments, {len(args)} were given")
    values = []
    for index, (arg, parameter) in enumerate(zip(args, parameters, strict=True)):
        what = f"{entry}, argument {index}"
        if not isinstance(arg, np.generic | np.ndarray):
            raise TypeError(
                f"{what} is a plain {type(arg).__name__}, whose width would be a guess:"
                " give np.int32, np.float32, np.uintp, ..."
            )
        if isinstance(arg, np.ndarray) and (arg.shape != (1,) or arg.dtype.names is None):
            raise TypeError(
                f"{what} is an array {arg.shape} {arg.dtype}: arrays are structs of shape (1,)"
            )
        if arg.nbytes != parameter.nbytes:
            raise TypeError(
                f"{what} has {arg.nbytes} bytes ({arg.dtype}), the {parameter.kind} parameter"
                f" has {parameter.nbytes}"
            )
        if not _same_kind(arg.dtype, parameter.kind):
            raise TypeError(f"{what} is {arg.dtype}, the parameter is of kind {parameter.kind}")
        values.append(np.array(arg).reshape(1))
    return values


def _same_kind(dtype: np.dtype, kind: str) -> bool:
    if kind == "pointer":
        return dtype == np.uintp
    if kind == "struct":
        return dtype.names is not None
    return dtype.kind in ("f" if kind == "floating" else "iub")
