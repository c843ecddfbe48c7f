"""How much of the machine this process may really use: affinity and container limits included.

Asked by `server.config` for its defaults.
"""

from __future__ import annotations

import math
import os
from pathlib import Path

_CGROUP = Path("/sys/fs/cgroup")


def usable_cores() -> int:
    """Cores this process may use, 1 or more: its affinity, cut by a container's CPU quota."""
    cores = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    try:
        # cgroup v2: "200000 100000" is a quota of two cores, "max 100000" is none.
        quota, period = (_CGROUP / "cpu.max").read_text(encoding="ascii").split()
        return max(1, min(cores, math.ceil(int(quota) / int(period))))
    except (OSError, ValueError):
        return cores


def usable_memory_bytes() -> int:
    """Memory this process may use: the machine's, cut by a container's limit."""
    installed = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        # cgroup v2: a number of bytes, or "max" for none.
        limit = int((_CGROUP / "memory.max").read_text(encoding="ascii"))
    except (OSError, ValueError):
        return installed
    return min(installed, limit)
