"""One stream's frames on their way to the remover, with what the stream remembers between them.

Made by `server.services.streams`, one per stream; a stream that breaks leaves it to
`server.streams.parked`, and the next one of the same resume_id goes on with it.
"""

from __future__ import annotations

import asyncio
from itertools import count

from mattestream.v1 import removal_pb2
from server.admission import Admission, Permit
from server.image_job import Job
from server.job import EncodedSource, RawSource
from server.remover import Remover
from server.streams.config import StreamPlan
from server.streams.memory import StreamMemory
from server.streams.turns import Turns
from server.streams.unchanged import Kept, LastResult, digest_of

_NUMBERS = count()  # each stream is a caller of its own where images wait


class Session:
    """What outlives a broken connection, and the way of its frames.

    Args:
        plan: of the stream.
        model_digest: of the weights; what is remembered fits these alone.
        remembers: the model carries something from frame to frame.

    Attributes:
        last_frame_id: of the last answer that was written; None before the first.
    """

    def __init__(self, plan: StreamPlan, model_digest: str, *, remembers: bool) -> None:
        self.fits = (plan.fingerprint, plan.skip_unchanged, model_digest)
        self.last_frame_id: int | None = None
        self._caller = f"stream-{next(_NUMBERS)}"
        self._memory = StreamMemory(plan.smooth) if plan.smooth or remembers else None
        self._last = LastResult() if plan.skip_unchanged else None
        self.begin_again()

    def begin_again(self) -> None:
        """Frames of another connection follow."""
        self._tickets = count()
        self._looking = Turns()
        if self._memory is not None:
            self._memory.begin_again()

    @property
    def nbytes(self) -> int:
        """Bytes of all that is kept between frames."""
        memory = 0 if self._memory is None else self._memory.nbytes
        return memory + (0 if self._last is None else self._last.nbytes)

    @property
    def is_whole(self) -> bool:
        """False when what was remembered is lost, or its model was unloaded from its device."""
        return self._memory is None or self._memory.is_whole

    def end(self) -> None:
        """No stream goes on with it."""
        if self._memory is not None:
            self._memory.end()

    def ticket(self) -> int:
        """The next frame's place in the order; `leave` must follow."""
        return next(self._tickets)

    def leave(self, ticket: int) -> None:
        """The frame has its answer, whatever it is."""
        self._looking.end(ticket)
        if self._memory is not None:
            self._memory.leave(ticket)

    async def remove(
        self,
        job: Job,
        ticket: int,
        answer: removal_pb2.FrameResult,
        remover: Remover,
        admission: Admission,
    ) -> Permit:
        """Fills `answer`, whose result and report are the job's; as `Remover.remove`."""
        job.caller, job.memory, job.ticket = self._caller, self._memory, ticket
        # What lies in shared memory may change while it is looked at, and has its own target.
        is_shared = (
            not isinstance(job.source, EncodedSource | RawSource) or job.shared_output is not None
        )
        if self._last is None or is_shared:
            return await remover.remove(job, wait=True)
        while True:
            async with self._looking.turn(ticket):
                assert isinstance(job.source, EncodedSource | RawSource)
                kept, is_ours = self._last.claim(await digest_of(job.source))
            if is_ours:
                return await self._work(job, answer, kept, remover)
            async with job.deadline.enforced(lambda: "waiting for the frame that it equals"):
                await asyncio.wait({kept})
            if (before := kept.result()) is not None:
                return await _reuse(before, answer, job, admission)

    async def _work(
        self, job: Job, answer: removal_pb2.FrameResult, kept: Kept, remover: Remover
    ) -> Permit:
        try:
            permit = await remover.remove(job, wait=True)
        except BaseException:
            kept.set_result(None)
            raise
        kept.set_result(answer)
        return permit


async def _reuse(
    before: removal_pb2.FrameResult,
    answer: removal_pb2.FrameResult,
    job: Job,
    admission: Admission,
) -> Permit:
    """The result of the frame before, again; its copy takes memory like any answer."""
    answer_bytes = before.ByteSize()
    async with job.deadline.enforced(lambda: "waiting for room on the server"):
        permit = await admission.admit(answer_bytes)
    permit.shrink(answer_bytes)
    request_id = answer.report.request_id
    answer.result.CopyFrom(before.result)
    answer.report.CopyFrom(before.report)
    answer.report.request_id = request_id
    answer.report.ClearField("timings")
    answer.report.timings.total_ms = (job.deadline.clock() - job.arrived_at) * 1e3
    answer.unchanged = True
    return permit
