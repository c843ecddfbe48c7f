"""One image on its way through the server, with the messages that its answer is written into.

Made where requests come in (`server.services.intake`, `server.gateway.door`, `server.kserve`),
taken through the stages by `server.remover`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from mattestream.v1 import image_pb2, report_pb2
from server.calls import current_call
from server.cuda_memory.ranges import CudaSource, CudaTarget, OpenRange
from server.deadline import Deadline
from server.fair_queue import Place, Priority
from server.job import Options, Source
from server.shared_memory.door import SharedSource, SharedTarget
from server.shared_memory.policy import SharedMemoryWrong
from server.streams.memory import StreamMemory
from server.subjects.prompter import Asked


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
