"""A recurrent network's states, from a stream's memory to where the engine reads them and back.

Called by `models.stream_state` around every run of such a network.
"""

from __future__ import annotations

import numpy as np

from kernels.cuda.launch import address, blocks, check_sizes
from kernels.device import Device, Kernel, Stream

CARRY_STATES = Kernel("carry_states", "carry_states")
KERNELS = (CARRY_STATES,)

UNIT_BYTES = 16  # that one thread moves

_THREADS = 256


def carry_states(
    device: Device,
    stream: Stream,
    *,
    source: int,
    target: int,
    nbytes: int,
    change: int = 0,
    cut: int = 0,
) -> None:
    """Queues a copy within the device, or zeros where nothing of the frame before holds.

    Args:
        device: where.
        stream: its queue.
        source: device address, a multiple of `UNIT_BYTES`; 0: there is no frame before, zeros.
        target: the same; does not overlap.
        nbytes: a multiple of `UNIT_BYTES`.
        change: address of the uint32 that `temporal_luma` counted; 0: nobody asks.
        cut: from this change on the target gets zeros.

    Raises:
        ValueError: the size is below 1, or no multiple.
    """
    check_sizes(nbytes=nbytes)
    if nbytes % UNIT_BYTES:
        raise ValueError(f"nbytes is {nbytes}; allowed are multiples of {UNIT_BYTES}")
    count = nbytes // UNIT_BYTES
    device.launch(
        CARRY_STATES,
        (blocks(count, _THREADS), 1, 1),
        (_THREADS, 1, 1),
        (address(source), address(target), address(change), np.uint32(cut), np.int32(count)),
        stream,
    )
