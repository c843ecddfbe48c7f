"""The other process of the check of CUDA IPC: it owns memory, says where, and tells what became of
it. Started by `loadtest.gpu_check.ipc`; talks in lines of JSON.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray

NBYTES = 8 << 20  # each way
SKIP = 1001  # bytes before them: an offset that no kernel could read words at


def pattern(first: int) -> NDArray[np.uint8]:
    """(NBYTES,) uint8 that no piece of is found elsewhere in it by chance."""
    return np.random.default_rng(first).integers(0, 256, NBYTES, np.uint8)


def main() -> None:
    """Says where the memory is; at each further line, what lies in it."""
    import cupy

    # Out of CuPy's pool, as a user's arrays are: its chunks are whole allocations.
    block = cupy.zeros(SKIP + 2 * NBYTES, cupy.uint8)
    came, goes = block[SKIP : SKIP + NBYTES], block[SKIP + NBYTES :]
    came[:] = cupy.asarray(pattern(1))
    cupy.cuda.get_current_stream().synchronize()
    said = {**_named(cupy, block.data.ptr), "skip": SKIP, "nbytes": NBYTES}
    print(json.dumps(said), flush=True)
    for _ in sys.stdin:
        found = {"came": bool((cupy.asnumpy(came) == pattern(1)).all())}
        found["goes"] = bool((cupy.asnumpy(goes) == pattern(2)).all())
        print(json.dumps(found), flush=True)


def _named(cupy: Any, address: int) -> dict[str, object]:
    """Handle, and the array's offset in the allocation: by the SDK's own calls where it can be
    imported, else by CuPy's.
    """
    try:
        from mattestream.cuda_driver import CudaDriver
    except ImportError as error:  # gRPC or protobuf is not installed
        # The first array of a fresh pool begins its chunk.
        handle = cupy.cuda.runtime.ipcGetMemHandle(address)
        return {"handle": handle.hex(), "offset": 0, "by": f"CuPy ({error})"}
    driver = CudaDriver()
    base, _ = driver.allocation(address)
    return {"handle": driver.handle(base).hex(), "offset": address - base, "by": "the SDK"}


if __name__ == "__main__":
    main()
