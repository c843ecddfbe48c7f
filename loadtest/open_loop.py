"""Callers who do not wait for each other: requests start when they are due, whatever became of
those before.

Started by `overload`, see `load_process`. A closed loop of N
callers (`callers`) slows down with the server, so that it never sees the queue that real callers
would form; here each latency counts from the moment at which its request was due (Tene, "How not
to measure latency", 2013), and the generator's own lateness is part of it and is told besides.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import grpc

from loadtest.load_process import LoadProcess
from loadtest.photos import load_photos
from mattestream.v1 import options_pb2, removal_pb2, removal_pb2_grpc

OK = "OK"
# A caller is a connection: several of them, because the server gives callers turns.
CONNECTIONS = 8
Call = Callable[[int], Awaitable[str]]  # a request's number in; the name of its status out


@dataclass(frozen=True, slots=True)
class Step:
    """Requests at one mean rate for some time."""

    per_s: float
    seconds: float


@dataclass(frozen=True, slots=True)
class OpenLoopSpec:
    """What one run sends."""

    address: str  # host:port
    model: str  # "" for the server's default
    photos: tuple[str, ...]  # paths
    steps: tuple[Step, ...]
    deadline_s: float  # of each request, from the moment it is sent
    seed: int = 1


@dataclass(slots=True)
class Outcomes:
    """What became of every request; the lists have one entry each, in the order of the ends."""

    due_s: list[float] = field(default_factory=list)  # since the run's begin
    late_ms: list[float] = field(default_factory=list)  # sent so much after it was due
    latency_ms: list[float] = field(default_factory=list)  # from due to its end
    status: list[str] = field(default_factory=list)
    caller_cpu_s: float = 0.0


def schedule(steps: Sequence[Step], seed: int) -> Iterator[float]:
    """The moments at which requests are due, in seconds: a Poisson process at each step's rate."""
    draw = random.Random(seed)
    began = 0.0
    for step in steps:
        ends = began + step.seconds
        if step.per_s > 0:
            due = began + draw.expovariate(step.per_s)
            while due < ends:
                yield due
                due += draw.expovariate(step.per_s)
        began = ends


async def run_open_loop(
    call: Call, due: Iterator[float], clock: Callable[[], float] = time.perf_counter
) -> Outcomes:
    """Starts `call` at each moment of `due`; returns when the last has ended.

    Args:
        call: one request; it must not raise.
        due: seconds from now on, ascending.
        clock: seconds.
    """
    outcomes = Outcomes()
    began, cpu_began = clock(), time.process_time()

    async def one(number: int, due_s: float) -> None:
        late_s = clock() - began - due_s
        status = await call(number)
        outcomes.due_s.append(round(due_s, 6))
        outcomes.late_ms.append(round(late_s * 1e3, 3))
        outcomes.latency_ms.append(round((clock() - began - due_s) * 1e3, 3))
        outcomes.status.append(status)

    async with asyncio.TaskGroup() as group:
        for number, due_s in enumerate(due):
            if (wait_s := began + due_s - clock()) > 0:
                await asyncio.sleep(wait_s)
            group.create_task(one(number, due_s))
    outcomes.caller_cpu_s = time.process_time() - cpu_began
    return outcomes


def start_open_loop(spec: OpenLoopSpec) -> LoadProcess:
    """A generator process that is connected, has sent each photo once, and waits.

    Raises:
        LoadFailed: it did not get ready.
    """
    return LoadProcess("loadtest.open_loop", json.dumps(asdict(spec)))


def outcomes_of(process: LoadProcess) -> Outcomes:
    """Lets that process loose; what became of its requests.

    Raises:
        LoadFailed: the process ended before it was done.
    """
    return Outcomes(**json.loads(process.go()))


async def _serve(spec: OpenLoopSpec) -> None:
    photos = load_photos("1080p", [Path(path) for path in spec.photos]).photos
    requests = []
    for photo in photos:
        request = removal_pb2.RemoveRequest()
        request.image.encoded = photo.data
        request.options.model = spec.model
        request.options.edges.refine = options_pb2.REFINE_OFF  # what is measured is the serving
        request.options.foreground.decontaminate = 0
        requests.append(request)
    # The stubs and not the client: its retries would turn refusals into waiting.
    options = (
        ("grpc.max_receive_message_length", -1),
        ("grpc.enable_retries", 0),
        ("grpc.use_local_subchannel_pool", 1),  # else all channels share one connection
    )
    channels = [grpc.aio.insecure_channel(spec.address, options) for _ in range(CONNECTIONS)]
    stubs = [removal_pb2_grpc.BackgroundRemovalServiceStub(channel) for channel in channels]

    async def call(number: int) -> str:
        stub = stubs[number % len(stubs)]
        try:
            await stub.Remove(requests[number % len(requests)], timeout=spec.deadline_s)
        except grpc.aio.AioRpcError as error:
            return error.code().name
        return OK

    for number in range(max(len(requests), len(stubs))):
        await call(number)
    print("ready", flush=True)
    if (await asyncio.to_thread(sys.stdin.readline)).strip() == "go":
        outcomes = await run_open_loop(call, schedule(spec.steps, spec.seed))
        print(json.dumps(asdict(outcomes)), flush=True)
    for channel in channels:
        await channel.close()


def main() -> None:
    """Reads a spec, warms up, says "ready", waits for "go", prints `Outcomes` as one JSON line."""
    values = json.loads(sys.stdin.readline())
    values["steps"] = tuple(Step(**step) for step in values["steps"])
    values["photos"] = tuple(values["photos"])
    asyncio.run(_serve(OpenLoopSpec(**values)))


if __name__ == "__main__":
    main()
