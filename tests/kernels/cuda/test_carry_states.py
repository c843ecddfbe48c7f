"""States on the device: carried byte by byte, or zeros at a first frame and at a cut."""

from __future__ import annotations

import numpy as np
import pytest

from kernels.cuda.carry_states import UNIT_BYTES, carry_states
from kernels.reference.carry_states import carry_states as twin
from tests.kernels.cuda.arrays import empty, get, put

# A state of one number, odd counts of units, and one of 8 MB: four of RVM at 1080p have as many.
SIZES = [16, 16 * 7, 16 * 255, 16 * 257, 8 << 20]


def noise(nbytes):
    return np.random.default_rng(nbytes).integers(0, 256, nbytes, np.uint8)


@pytest.mark.parametrize("nbytes", SIZES)
@pytest.mark.parametrize(
    ("change", "cut"), [(None, 0), (0, 5), (4, 5), (5, 5), (2**32 - 1, 5)], ids=str
)
def test_bytes_are_those_of_the_twin(device, stream, nbytes, change, cut):
    states = noise(nbytes)
    source, target = put(device, states), empty(device, nbytes)
    counted = None if change is None else put(device, np.array([change], np.uint32))
    carry_states(
        device,
        stream,
        source=source.address,
        target=target.address,
        nbytes=nbytes,
        change=counted.address if counted else 0,
        cut=cut,
    )
    device.synchronize(stream)
    expected = twin(states, nbytes, change or 0, None if change is None else cut)
    assert np.array_equal(get(device, target, (nbytes,), np.uint8), expected)


@pytest.mark.parametrize("nbytes", SIZES)
def test_without_a_frame_before_there_are_zeros(device, stream, nbytes):
    target = put(device, noise(nbytes))
    carry_states(device, stream, source=0, target=target.address, nbytes=nbytes)
    device.synchronize(stream)
    assert np.array_equal(get(device, target, (nbytes,), np.uint8), twin(None, nbytes))


def test_nothing_beside_the_target_is_written(device, stream):
    source, target = put(device, noise(64)), put(device, np.full(64, 7, np.uint8))
    carry_states(
        device, stream, source=source.address, target=target.address + UNIT_BYTES, nbytes=32
    )
    device.synchronize(stream)
    seen = get(device, target, (64,), np.uint8)
    assert np.array_equal(seen[16:48], noise(64)[:32])
    assert (seen[:16] == 7).all()
    assert (seen[48:] == 7).all()


def test_sizes_that_no_unit_divides_are_refused(device, stream):
    with pytest.raises(ValueError, match="nbytes is 20; allowed are multiples of 16"):
        carry_states(device, stream, source=0, target=256, nbytes=20)
