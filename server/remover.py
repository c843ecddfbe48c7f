"""One image's way through the server: model, permit, open, batch, finish. No wire, but the reply's
messages.

    job -> admission -> [worker] decode, prepare -> batcher -> [worker] composite, encode -> result
    and report

Called by `server.services.removal` for single images and for frames alike. Between any two steps
the deadline and the caller's cancellation are looked at; memory is given back when the last thread
has let go of it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any

from mattestream.v1 import image_pb2, report_pb2
from server import replies
from server.admission import (
    ANSWER_BYTES_PER_PIXEL,
    ANSWER_BYTES_PER_PIXEL_OF,
    BYTES_PER_PIXEL,
    BYTES_PER_PIXEL_OF,
    Admission,
    Overloaded,
    Permit,
)
from server.batcher import Inferred
from server.behind import load, result_bytes
from server.calls import current_call
from server.codecs.header import Header, Limits, check_limits, read_header
from server.cuda_memory.ranges import CudaSource, CudaTarget, DeviceSource, OpenRange
from server.deadline import Deadline
from server.fair_queue import Place, Priority
from server.job import EncodedSource, Options, Source
from server.metrics import STAGES, Metrics
from server.model_host import ModelHost
from server.pipeline import Opened
from server.refining import edge_bytes
from server.replica import Replica
from server.service_cost import Cost, ServiceCosts
from server.shared_memory.door import HEAD_BYTES, SharedSource, SharedTarget
from server.shared_memory.policy import SharedMemoryWrong
from server.streams.memory import StreamMemory
from server.subjects.prompter import Asked, Prompter
from server.workers import NO_ONES, Stage, Workers, settled

# Headers take microseconds, but a hostile one can be walked for 40 ms per MiB of it: larger files
# are looked at off the event loop.
HEADER_ON_LOOP_BYTES = 1 << 20


class GivenUp(Exception):
    """The caller has gone; nobody hears this."""


@dataclass(slots=True)
class Job:
    """One image to work on and the messages that its answer is written into.

    Attributes:
        result, report: parts of the reply; `report` is filled as far as the image comes.
        is_wanted: False once the caller has gone; looked at between the stages.
        doing: where it is now, for the sentence when its time runs out.
        caller: who shares one turn where images wait.
        priority: among those.
        memory: of the stream that it is a frame of, where it has one.
        ticket: its place in the memory's order.
        shared_output: where the result's pixels go instead of into the reply.
        asked: what is known of asking for one subject, where prompts were given.
        open_target: `shared_output` on a GPU, from when it is open until before the answer.
    """

    source: Source | SharedSource | CudaSource
    options: Options
    deadline: Deadline
    arrived_at: float
    result: image_pb2.Result = field(default_factory=image_pb2.Result)
    report: report_pb2.Report = field(default_factory=report_pb2.Report)
    is_wanted: bool = True
    doing: str = "the image was on its way here"
    caller: str = field(default_factory=lambda: current_call().caller)
    priority: Priority = field(default_factory=lambda: current_call().priority)
    memory: StreamMemory | None = None
    ticket: int = 0
    shared_output: SharedTarget | CudaTarget | None = None
    asked: Asked | None = None
    open_target: OpenRange | None = None

    @property
    def place(self) -> Place:
        """Where it stands among those that wait."""
        return Place(self.caller, self.priority, self.deadline.expires_at)

    def give_up(self) -> None:
        """Tells the worker that has it, which stops at its next look."""
        self.is_wanted = False

    @property
    def gpu(self) -> int | None:
        """The GPU that its picture or its result lies on; None: on none.

        Raises:
            SharedMemoryWrong: each lies on another.
        """
        ranges = [
            each.range
            for each in (self.source, self.shared_output)
            if isinstance(each, CudaSource | CudaTarget)
        ]
        if len({each.gpu for each in ranges}) > 1:
            raise SharedMemoryWrong(
                f"the image lies on GPU {ranges[0].gpu} and its result shall lie on GPU "
                f"{ranges[1].gpu}: name memory of one GPU"
            )
        return ranges[0].gpu if ranges else None

    def close_target(self) -> None:
        """Gives the caller's device memory back; in a worker, because the driver may wait."""
        if self.open_target is not None:
            self.open_target.close()
            self.open_target = None


class Remover:
    """Takes jobs through the stages; any number at once."""

    def __init__(
        self,
        limits: Limits,
        host: ModelHost,
        workers: Workers,
        admission: Admission,
        metrics: Metrics,
        *,
        prompter: Prompter,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._limits = limits
        self._host = host
        self._admission = admission
        self.costs = ServiceCosts()
        self._metrics = metrics
        self._prompter = prompter
        self._clock = clock
        self._opening = workers.lane(Stage.OPEN)
        self._finishing = workers.lane(Stage.FINISH)

    def used(self, model: str | None) -> report_pb2.ModelUsed:
        """The model as reports name it.

        Raises:
            ModelNotFound, ModelNotLoaded, ModelLoading: it cannot serve now.
        """
        with self._host.use(model) as replica:
            return replica.used

    async def remove(self, job: Job, *, wait: bool) -> Permit:
        """Fills the job's result and report; the permit covers the result until it is released.

        Args:
            job: the image.
            wait: True to wait for room, False to be refused when there is none.

        Raises:
            ImageRejected, ModelNotFound, Overloaded, DeadlineExpired, ...: see `server.errors`.
        """
        job.deadline.check(job.doing)
        with self._host.use(job.options.model, gpu=job.gpu, memory=job.memory) as replica:
            job.report.model.CopyFrom(replica.used)
            async with job.deadline.enforced(lambda: job.doing):
                async with _in_order(job):
                    held, work, megapixels = await self._estimate(job.source, job.options)
                    if not self._stays_with_its_worker(job, replica):
                        held, work = held + work, 0  # others are decoded while it waits
                    cost = self._cost(job, replica, megapixels)
                    permit = await self._admit(job, held, work, cost, wait=wait)
                try:
                    await self._work(job, replica)
                    permit.shrink(job.result.ByteSize())
                except BaseException:
                    permit.release()
                    raise
        return permit

    async def _estimate(
        self, source: Source | SharedSource | CudaSource, options: Options
    ) -> tuple[int, int, float]:
        """Bytes that the image holds while it is in, bytes that it takes besides while it is worked
        on, and its megapixels; from its header alone, in a few microseconds.
        """
        if isinstance(source, SharedSource | CudaSource):
            source_bytes = source.nbytes
        else:
            source_bytes = len(source.data)
        if isinstance(source, CudaSource):
            header = source.header()
        elif isinstance(source, SharedSource):
            if source.layout is not None or source_bytes <= HEAD_BYTES:
                header = source.header()
            else:
                header = await asyncio.to_thread(source.header)
        elif not isinstance(source, EncodedSource):
            header = Header("raw", source.width, source.height, 1)
        elif len(source.data) <= HEADER_ON_LOOP_BYTES:
            header = read_header(source.data)
        else:
            header = await asyncio.to_thread(read_header, source.data)
        check_limits(header, self._limits)
        per_pixel = BYTES_PER_PIXEL_OF.get(options.format, BYTES_PER_PIXEL)
        pixels = header.width * header.height
        answer = pixels * ANSWER_BYTES_PER_PIXEL_OF.get(options.format, ANSWER_BYTES_PER_PIXEL)
        work = pixels * per_pixel - answer
        work += result_bytes(options, header.width, header.height, per_pixel, self._limits)
        work += edge_bytes(options, pixels / 1e6, self._limits)
        work += self._mask_bytes(options)
        return source_bytes + answer, work, pixels / 1e6

    def _mask_bytes(self, options: Options) -> int:
        """Memory that a caller's rough mask will take."""
        mask = None if options.subject is None else options.subject.mask
        return 0 if mask is None else mask.nbytes(self._limits)

    def _cost(self, job: Job, replica: Replica, megapixels: float) -> Cost:
        used = replica.used
        on_device = used.device != "cpu"
        return self.costs.expected(used.name, _treatment(job), megapixels, on_device=on_device)

    async def _admit(self, job: Job, held: int, work: int, cost: Cost, *, wait: bool) -> Permit:
        if wait:
            job.doing = "waiting for room on the server"
            return await self._admission.admit(held, cost, work=work)
        try:
            remaining_s = job.deadline.remaining_s
            return self._admission.try_admit(held, cost, remaining_s, work=work)
        except Overloaded as error:
            self._metrics.refused(error.reason)
            raise

    async def _work(self, job: Job, replica: Replica) -> None:
        job.doing = "waiting for room on the device"
        async with replica.seat() as seat:
            job.doing = "waiting for a worker"
            try:
                if self._stays_with_its_worker(job, replica):
                    await self._in_one_go(job, replica, seat)
                else:
                    await self._by_stages(job, replica, seat)
            finally:
                if job.open_target is not None:  # it failed on its way, else a worker has
                    await settled(asyncio.ensure_future(asyncio.to_thread(job.close_target)))
        job.report.timings.total_ms = (self._clock() - job.arrived_at) * 1e3
        self._observe(job)

    @staticmethod
    def _stays_with_its_worker(job: Job, replica: Replica) -> bool:
        """True when one worker takes the image through all stages."""
        return replica.batcher.runs_in_place and job.memory is None

    async def _by_stages(self, job: Job, replica: Replica, seat: Any) -> None:
        opened = await self._opening.run_for(job.place, self._open, job, replica, seat)
        job.doing = "waiting for the model"
        if job.memory is None:
            inferred = await replica.batcher.infer(opened, job.deadline, job.place)
        else:
            opened.memory = job.memory
            async with job.memory.running(job.ticket):
                inferred = await replica.batcher.infer(opened, job.deadline, job.place)
        replies.report_inferred(job.report, inferred)
        job.doing = "waiting to be finished"
        await self._finishing.begin(NO_ONES, self._finish, job, replica, opened, inferred).telling(
            job.give_up
        )

    async def _in_one_go(self, job: Job, replica: Replica, seat: Any) -> None:
        """All stages in one worker. Where no batch is formed, going back to the event loop between
        them would only add wake-ups: 0.4 ms each, and more while the other cores are busy.
        """
        await self._opening.begin(job.place, self._straight_through, job, replica, seat).telling(
            job.give_up
        )

    def _straight_through(self, job: Job, replica: Replica, seat: Any) -> None:
        opened = self._open(job, replica, seat)
        job.doing = "waiting for the model"
        self._check(job)
        inferred = replica.batcher.infer_in_place(opened)
        replies.report_inferred(job.report, inferred)
        job.doing = "waiting to be finished"
        self._finish(job, replica, opened, inferred)

    def _check(self, job: Job) -> None:
        job.deadline.check(job.doing)
        if not job.is_wanted:
            raise GivenUp

    def _open(self, job: Job, replica: Replica, seat: Any) -> Opened:
        self._check(job)
        queue_ms = (self._clock() - job.arrived_at) * 1e3
        job.doing = "decoding"
        load(job.options, self._limits)
        opened, source = self._taken_in(job, replica, seat)
        # Refused before a model runs for it.
        if job.options.trimap is not None:
            job.options.trimap.levels(
                opened.width, opened.height, job.options.max_megapixels, self._limits
            )
        if job.options.subject is not None:
            self._bind(job, source, replica.used)
            job.options.subject.check(opened.width, opened.height)
        job.report.timings.queue_ms = queue_ms
        replies.report_opened(job.report, opened)
        return opened

    def _taken_in(self, job: Job, replica: Replica, seat: Any) -> tuple[Opened, Source]:
        """The image, opened, and what the host has of it."""
        source, device = job.source, replica.gpu
        opened: Any
        if isinstance(source, CudaSource):
            assert device is not None  # `ModelHost.use` chose one of its GPU
            there = source.range.open(device)
            try:
                given = DeviceSource(there, source.layout)
                opened = replica.pipeline.open(given, job.options, seat)
            finally:
                there.close()
            source = opened.source
        else:
            if isinstance(source, SharedSource):
                source = source.read() if device is None else source.read(seat.room)
            opened = replica.pipeline.open(source, job.options, seat)
        if isinstance(job.shared_output, CudaTarget):
            assert device is not None
            job.open_target = job.shared_output.range.open(device)
            opened.deliver_to(job.open_target)
        return opened, source

    def _bind(self, job: Job, source: Source, used: report_pb2.ModelUsed) -> None:
        """Gives a wish with prompts somebody to ask."""
        options = job.options
        wish = options.subject
        if wish is None or not wish.has_prompts:
            return
        key = self._prompter.key(source, used, options.max_megapixels)
        bound, job.asked = self._prompter.bind(wish, key, job.report, name=options.prompt_model)
        job.options = replace(options, subject=bound)

    def _finish(self, job: Job, replica: Replica, opened: Opened, inferred: Inferred) -> None:
        self._check(job)
        job.doing = "finishing the result"
        opened.check = lambda: self._check(job)
        outcome = replica.pipeline.close(opened, inferred.answer, job.options)
        job.close_target()
        replies.report_outcome(job.report, outcome)
        match job.shared_output:
            case None:
                replies.fill_result(job.result, outcome)
            case SharedTarget():
                replies.fill_shared(job.result, outcome, job.shared_output)
            case CudaTarget():
                replies.fill_cuda(job.result, outcome, job.shared_output)

    def _observe(self, job: Job) -> None:
        report = job.report
        timings = report.timings
        for stage in STAGES:
            self._metrics.stage_ended(stage, getattr(timings, f"{stage}_ms"))
        own_ms = timings.decode_ms + timings.prepare_ms + timings.finish_ms + timings.encode_ms
        self.costs.note(
            report.model.name,
            _treatment(job),
            report.source_width * report.source_height / 1e6,
            network_s=timings.infer_ms / report.batch_size / 1e3,
            rest_s=own_ms / 1e3,
        )


def _treatment(job: Job) -> tuple[object, ...]:
    """What makes one image dearer than another of its size."""
    options = job.options
    is_mapped = options.trimap is not None or options.subject is not None
    return options.format, options.refine, options.decontaminate is not None, is_mapped


def _in_order(job: Job) -> AbstractAsyncContextManager[None]:
    """Frames of a stream that remembers ask for room in their order."""
    return nullcontext() if job.memory is None else job.memory.entering(job.ticket)
