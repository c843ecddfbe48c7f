"""The server's pipeline on tiny frames, for compute-sanitizer to watch: graphs, the streams of
upload, computing and download, slots that frames of several sizes use one after another, and
streams of frames that remember.

compute-sanitizer --tool memcheck python -m loadtest.gpu_check.small_flow
"""

from __future__ import annotations

from kernels.device import Device
from loadtest.gpu_check import streams
from loadtest.gpu_check.flow import Flow, frame
from loadtest.gpu_check.latency import throughput
from loadtest.gpu_check.own_engines import LateEngine, RedEngine, model_of
from server.job import PixelFormat

SIZES = ((64, 48), (48, 64), (2, 2), (130, 66), (64, 48))
_ROUNDS = 3


def run(device: Device) -> int:
    """Batches of every size, then as many callers at once as there are batches in flight.

    How many runs that were, all of them replays.
    """
    flow = Flow(model_of(RedEngine(device), device))
    for _ in range(_ROUNDS):
        for size in SIZES:
            for pixel_format in (PixelFormat.RGB8, PixelFormat.NV12):
                sources = [frame(size, pixel_format, seed) for seed in range(3)]
                flow.together(sources[:1])
                flow.together(sources)
    throughput(flow, SIZES[0], _ROUNDS)
    late = Flow(model_of(LateEngine(device), device))
    for each in (flow, late):
        streams.play(each, [streams.film(seed, _ROUNDS) for seed in (1, 2)], streams.SMOOTH)
        each.model.close()
    graphs = flow.graphs + late.graphs
    if not all(graphs):
        raise RuntimeError(f"{graphs.count(False)} of {len(graphs)} runs were no replays")
    return len(graphs)


def main() -> None:
    """On the first GPU."""
    from kernels.cupy_device import CupyDevice

    print(f"{run(CupyDevice(0))} runs done", flush=True)


if __name__ == "__main__":
    main()
