"""Launches every kernel on small, odd sizes, and every path through it: what compute-sanitizer
watches.

compute-sanitizer --tool racecheck python -m loadtest.gpu_check.small_launches
"""

from __future__ import annotations

from kernels.device import Device
from loadtest.gpu_check.bench import Bench
from loadtest.gpu_check.cases import CASES
from loadtest.gpu_check.small_variants import VARIANTS

SIZES = ((1, 1), (37, 53), (130, 67))
VARIANT_SIZES = ((1, 1), (37, 53))


def launch_all(device: Device) -> int:
    """How many cases and variants were launched on their sizes; each is waited for, so that a fault
    has a name.
    """
    done = 0
    for prepare in VARIANTS.values():
        for size in VARIANT_SIZES:
            bench = Bench(device)
            prepare(bench, size)()
            device.synchronize(bench.stream)
            done += 1
    for case in CASES:
        for size in SIZES:
            bench = Bench(device)
            queue = case.prepare(bench, size)
            queue()
            device.synchronize(bench.stream)
            done += 1
    return done


def main() -> None:
    """On the first GPU."""
    from kernels.cupy_device import CupyDevice

    print(f"{launch_all(CupyDevice(0))} launches done", flush=True)


if __name__ == "__main__":
    main()
