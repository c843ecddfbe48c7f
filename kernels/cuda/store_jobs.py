"""The sizes of a batch, brought to the device inside launches instead of by a copy.

Called by `models.device_model` before a batch's graph is launched.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from kernels.cuda.launch import address
from kernels.device import Device, Kernel, Stream
from kernels.image import JOB

STORE_JOBS = Kernel("store_jobs", "store_jobs")
KERNELS = (STORE_JOBS,)

_PER_LAUNCH = 8  # 832 bytes of parameters
_JOBS = np.dtype([("job", JOB, _PER_LAUNCH)])


def store_jobs(device: Device, stream: Stream, jobs: NDArray[np.void], *, target: int) -> None:
    """Queues launches, 8 jobs each, that write `jobs` into the table at `target`.

    Args:
        device: where.
        stream: its queue.
        jobs: (n,) `kernels.image.JOB`; may be changed as soon as this returns.
        target: device address of at least n jobs, a multiple of 8.
    """
    for first in range(0, len(jobs), _PER_LAUNCH):
        some = jobs[first : first + _PER_LAUNCH]
        by_value = np.zeros(1, _JOBS)
        by_value["job"][0, : len(some)] = some
        args = (address(target + first * JOB.itemsize), by_value, np.int32(len(some)))
        device.launch(STORE_JOBS, (1, 1, 1), (256, 1, 1), args, stream)
