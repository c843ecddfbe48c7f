"""Launches every kernel once on small, odd sizes: what compute-sanitizer watches.

compute-sanitizer --tool racecheck python -m loadtest.gpu_check.small_launches
"""

from __future__ import annotations

from kernels.device import Device
from loadtest.gpu_check.bench import Bench
from loadtest.gpu_check.cases import CASES

SIZES = ((1, 1), (37, 53), (130, 67))


def launch_all(device: Device) -> int:
    """How many cases were launched on the sizes; each is waited for, so that a fault has a name."""
    done = 0
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
