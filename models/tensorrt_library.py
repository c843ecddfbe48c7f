"""The one door to TensorRT: `tensorrt`, or `tensorrt_rtx`, which has the same API.

Called by `models.tensorrt_engine`; what it gives is handed to `models.tensorrt_builder`. No other
file imports either library. On a machine without a GPU only TensorRT-RTX is of use: it builds plans
there, which cannot run there.
"""

from __future__ import annotations

import collections
import ctypes
import importlib
import logging
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from models.errors import LibraryMissing

Choice = Literal["auto", "tensorrt", "tensorrt-rtx"]

MODULES = {"tensorrt": "tensorrt", "tensorrt-rtx": "tensorrt_rtx"}  # in the order of preference
INSTALL = {"tensorrt": "pip install tensorrt-cu13", "tensorrt-rtx": "pip install tensorrt_rtx"}
# 10.3 is the first with the *_v2 names that 11 kept; TensorRT-RTX has them from the start.
OLDEST = {"tensorrt": (10, 3), "tensorrt-rtx": (1, 0)}
CUDA_DRIVER = "libcuda.so.1"
WORDS_KEPT = 8  # messages of errors kept for the next sentence

log = logging.getLogger(__name__)


class LastWords:
    """What the library last complained of, in any thread; its own calls return only None or False.

    Two builds at the same time share it, so a sentence may hold the other's words as well.
    """

    def __init__(self) -> None:
        self._kept: collections.deque[str] = collections.deque(maxlen=WORDS_KEPT)
        self._lock = threading.Lock()

    def keep(self, message: str) -> None:
        """Remembers `message` in place of the oldest."""
        with self._lock:
            self._kept.append(" ".join(message.split()))

    def take(self) -> str:
        """All that was kept, oldest first, cut to a few lines; forgotten afterwards."""
        with self._lock:
            kept = list(dict.fromkeys(self._kept))
            self._kept.clear()
        return "; ".join(kept)[:600] or "it gave no reason"


@dataclass(frozen=True, slots=True)
class TensorRT:
    """One of the two libraries, imported.

    Attributes:
        module: the library; every name used of it exists in both and in versions 10.3 to 11.4.
        name: "tensorrt" or "tensorrt-rtx".
        version: "11.4.0.106".
        logger: an ILogger of the library's that writes to `logging`; it lives as long as the
            process, as everything that was made with it needs it.
        words: what that logger heard of errors.
    """

    module: Any
    name: str
    version: str
    logger: Any
    words: LastWords

    @property
    def is_rtx(self) -> bool:
        """True for TensorRT-RTX, which builds without a GPU and has no timing cache."""
        return self.name == "tensorrt-rtx"

    @property
    def title(self) -> str:
        """As in the report: "tensorrt 11.4.0.106"."""
        return f"{self.name} {self.version}"


_opened: dict[str, TensorRT] = {}
_opening = threading.Lock()


def open_tensorrt(
    choice: Choice = "auto", load: Callable[[str], Any] = importlib.import_module
) -> TensorRT:
    """The library asked for; "auto" is TensorRT where it is there, else TensorRT-RTX.

    Opened once per process: TensorRT keeps the first logger it is given, whatever comes later.

    Args:
        choice: which.
        load: imports a module by its name.

    Raises:
        LibraryMissing: it is not installed, does not load, or is older than 10.3.
    """
    if choice != "auto" and choice not in MODULES:
        allowed = ", ".join(f"'{name}'" for name in ("auto", *MODULES))
        raise LibraryMissing(f"engine library is {choice!r}; allowed are {allowed}")
    problems: list[str] = []
    for name in MODULES if choice == "auto" else (choice,):
        with _opening:
            if name in _opened:
                return _opened[name]
            try:
                library = _open(name, load)
            except LibraryMissing as error:
                problems.append(str(error))
                continue
            _opened[name] = library
        for problem in problems:
            log.info("%s: using %s instead", problem, library.title)
        return library
    raise LibraryMissing(", and ".join(problems))


def _open(name: str, load: Callable[[str], Any]) -> TensorRT:
    try:
        module = load(MODULES[name])
    except ModuleNotFoundError as error:
        if error.name != MODULES[name]:
            raise LibraryMissing(_broken(name, error)) from error
        raise LibraryMissing(f"{name} is not installed ({INSTALL[name]})") from error
    except (ImportError, OSError) as error:  # a library of its own that is not there
        raise LibraryMissing(_broken(name, error)) from error
    version = str(module.__version__)
    if _numbers(version) < OLDEST[name]:
        oldest = ".".join(map(str, OLDEST[name]))
        raise LibraryMissing(
            f"{name} {version} is installed, {oldest} or newer is needed ({INSTALL[name]})"
        )
    words = LastWords()
    return TensorRT(module, name, version, _logger(module, words), words)


def _broken(name: str, error: Exception) -> str:
    return f"{name} is installed but does not load: {error} (mend it with {INSTALL[name]})"


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version)[:2])


def _logger(module: Any, words: LastWords) -> Any:
    """An ILogger of `module`; the class is made here because its base is known only now."""
    severity = module.ILogger.Severity
    levels = {
        severity.INTERNAL_ERROR: logging.ERROR,
        severity.ERROR: logging.ERROR,
        severity.WARNING: logging.WARNING,
        # The library's "info" is a page per build, and "verbose" ten thousand lines.
        severity.INFO: logging.DEBUG,
    }

    class Logger(module.ILogger):  # type: ignore[misc]
        """Called from any thread of the library."""

        def __init__(self) -> None:
            module.ILogger.__init__(self)

        def log(self, severity: Any, msg: str) -> None:
            level = levels.get(severity)
            if level is None:
                return
            if level >= logging.ERROR:
                words.keep(msg)
            log.log(level, "%s", msg)

    return Logger()


def host_bytes(memory: Any) -> bytes:
    """A copy of an IHostMemory: a plan, a serialised timing cache."""
    return bytes(memory)


def count_cuda_devices(load: Callable[[str], Any] = ctypes.CDLL) -> int:
    """GPUs that a CUDA program in this process would see; 0 without a driver.

    Asked before a TensorRT `Runtime` is touched: without a device the lean one crashes the process
    instead of raising.

    Args:
        load: opens a shared library.
    """
    try:
        cuda = load(CUDA_DRIVER)
    except OSError:
        return 0
    count = ctypes.c_int()
    if cuda.cuInit(0) or cuda.cuDeviceGetCount(ctypes.byref(count)):
        return 0
    return count.value


def missing(choice: Choice = "auto") -> str:
    """Why `open_tensorrt(choice)` would fail and what adds it; empty when it would not."""
    try:
        open_tensorrt(choice)
    except LibraryMissing as error:
        return str(error)
    return ""
