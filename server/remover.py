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
from dataclasses import replace
from typing import Any

from mattestream.v1 import report_pb2
from server import replies
from server.admission import Admission, Overloaded, Permit
from server.batcher import Inferred
from server.behind import load
from server.codecs.header import Limits
from server.cuda_memory.ranges import CudaSource, CudaTarget, DeviceSource
from server.estimate import estimate
from server.image_job import GivenUp, Job
from server.job import Source
from server.metrics import STAGES, Metrics
from server.model_host import ModelHost
from server.pipeline import Opened
from server.replica import Replica
from server.service_cost import Cost, ServiceCosts
from server.shared_memory.door import SharedSource, SharedTarget
from server.subjects.prompter import Prompter
from server.workers import NO_ONES, Stage, Workers, settled


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
                    held, work, megapixels = await estimate(job.source, job.options, self._limits)
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
