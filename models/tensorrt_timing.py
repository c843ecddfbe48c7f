"""The file of kernel times that makes the next TensorRT build shorter.

Used by `models.tensorrt_builder`. TensorRT-RTX measures nothing when it builds and has none, so
this has been checked against TensorRT's bindings and has not been run.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from models import tensorrt_library
from models.tensorrt_library import TensorRT
from models.weights import atomic_file

log = logging.getLogger(__name__)


@contextlib.contextmanager
def timing_cache(library: TensorRT, config: Any, path: Path | None) -> Iterator[None]:
    """The build between reading the file of kernel times and writing it back with what was new.

    Another process may have written meanwhile, so the file is read again and both are joined under
    a lock. A file that the library does not take is as good as none: it warns and starts afresh.

    Args:
        library: what builds.
        config: its IBuilderConfig.
        path: the file; None: no kernel times are kept.
    """
    if path is None or library.is_rtx:  # TensorRT-RTX measures nothing when it builds
        yield
        return
    cache = config.create_timing_cache(_bytes_of(path))
    if cache is None or not config.set_timing_cache(cache, False):
        cache = config.create_timing_cache(b"")
        config.set_timing_cache(cache, False)
    started = time.time()
    yield
    measured = config.get_timing_cache()
    if measured is None:
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.with_suffix(".lock").open("ab") as lock, contextlib.suppress(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX)
            if path.is_file() and path.stat().st_mtime > started:
                others = config.create_timing_cache(_bytes_of(path))
                if others is not None:
                    measured.combine(others, False)
            with atomic_file(path) as file:
                file.write(tensorrt_library.host_bytes(measured.serialize()))
    except OSError as error:  # the next build takes longer, that is all
        log.warning("kernel times are not kept in %s: %s", path, error)


def _bytes_of(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""
