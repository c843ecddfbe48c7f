"""A request as the faces see it: its tensors, its deadline, its place among those that wait.

Made by `server.kserve.answers` from a message.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from mattestream.kserve.v2 import infer_pb2
from server.admission import Permit
from server.calls import current_call
from server.deadline import Deadline
from server.fair_queue import Place, Priority
from server.kserve.parameters import Value, read_wishes
from server.kserve.tensors import FindSpan, Input, Wanted, read_inputs, read_wanted


@dataclass(slots=True)
class Asked:
    """One request.

    Attributes:
        inputs: by name.
        find_span: a range of one of the caller's regions.
        deadline: after it nobody wants the answer.
        priority: among those that wait.
        caller: who shares one turn.
        waits: for room on the server; False: it is refused when there is none.
        arrived_at: seconds of `clock`.
        own: parameters that are the model's.
        permits: memory that the answer takes until it is out.
    """

    message: infer_pb2.ModelInferRequest
    inputs: dict[str, Input]
    find_span: FindSpan
    deadline: Deadline
    priority: Priority
    caller: str
    waits: bool
    arrived_at: float
    own: dict[str, Value]
    permits: list[Permit] = field(default_factory=list)

    @property
    def place(self) -> Place:
        """Where it stands among those that wait."""
        return Place(self.caller, self.priority, self.deadline.expires_at)

    def wanted(self, names: Sequence[str]) -> list[Wanted]:
        """The tensors that are asked for, out of `names`. Raises as `read_wanted`."""
        return read_wanted(self.message, names, self.find_span)

    def release(self) -> None:
        """The answer is out, or will never be."""
        for permit in self.permits:
            permit.release()
        self.permits.clear()


def read_asked(
    message: infer_pb2.ModelInferRequest,
    find_span: FindSpan,
    *,
    allowed_s: float,
    waits: bool,
    clock: Callable[[], float] = time.monotonic,
) -> Asked:
    """The request in `message`.

    Args:
        message: as it came.
        find_span: a range of one of the caller's regions.
        allowed_s: by the call's deadline, or the server's own.
        waits: for room on the server.
        clock: seconds.

    Raises:
        WrongRequest, NotSupported, RegionUnknown, SharedMemoryRefused, SharedMemoryWrong: it makes
            no sense.
    """
    call = current_call()
    wishes = read_wishes(message.parameters)
    if wishes.timeout_s is not None:
        allowed_s = min(allowed_s, wishes.timeout_s)
    return Asked(
        message=message,
        inputs=read_inputs(message, find_span),
        find_span=find_span,
        deadline=Deadline.after(allowed_s, clock),
        priority=call.priority if wishes.priority is None else wishes.priority,
        caller=call.caller,
        waits=waits,
        arrived_at=clock(),
        own=wishes.own,
    )
