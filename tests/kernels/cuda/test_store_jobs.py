"""The job table arrives whole, through launches alone."""

from __future__ import annotations

import numpy as np
import pytest

from kernels.cuda.store_jobs import store_jobs
from kernels.image import JOB
from tests.kernels.cuda.arrays import empty, get


def random_jobs(count):
    noise = np.random.default_rng(5).integers(0, 256, count * JOB.itemsize, np.uint8)
    return noise.view(JOB)


@pytest.mark.parametrize("count", [1, 7, 8, 9, 21])
def test_every_job_arrives_and_nothing_beside_it(device, stream, count):
    jobs, table = random_jobs(count), empty(device, (count + 2) * JOB.itemsize)
    device.clear(table.address, table.nbytes, stream)
    store_jobs(device, stream, jobs, target=table.address + JOB.itemsize)
    device.synchronize(stream)
    stored = get(device, table, (count + 2,), JOB)
    assert stored[1:-1].tobytes() == jobs.tobytes()
    assert not any(stored[[0, -1]].tobytes())


def test_no_jobs_are_no_launch(device, stream):
    store_jobs(device, stream, np.zeros(0, JOB), target=0)
    device.synchronize(stream)


def test_the_table_may_be_changed_once_the_launch_is_queued(device, stream):
    jobs = random_jobs(3)
    expected, table = jobs.tobytes(), empty(device, 3 * JOB.itemsize)
    store_jobs(device, stream, jobs, target=table.address)
    jobs[...] = np.zeros((), JOB)
    device.synchronize(stream)
    assert get(device, table, (3,), JOB).tobytes() == expected
