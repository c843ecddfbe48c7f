"""Messages to jobs: where an image of the removal service comes from, where its result goes, and by
when.

Shared by `server.services.removal`, for single images, and `server.services.streams`, for frames.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from mattestream.v1 import image_pb2, options_pb2, removal_pb2, report_pb2
from server.cuda_memory.door import CudaMemory
from server.cuda_memory.leases import Held
from server.cuda_memory.ranges import CudaSource
from server.deadline import Deadline
from server.image_job import Job
from server.job import Options, Source
from server.option_rules import InvalidOption
from server.options import read_source
from server.shared_memory.door import SharedMemory, SharedSource

# Where a result's pixels go instead of into the answer.
Place = image_pb2.SharedMemoryRange | image_pb2.CudaMemoryRange | None

_NEVER_S = 1e8  # gRPC gives a huge number where the caller set no deadline


class Intake:
    """What is made of an image as it came.

    Args:
        shared_memory: the door to what lies there.
        cuda_memory: the door to what lies on the server's GPUs.
        default_deadline_s: of images whose caller set none.
        clock: seconds.
    """

    def __init__(
        self,
        shared_memory: SharedMemory,
        cuda_memory: CudaMemory,
        default_deadline_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._shared_memory = shared_memory
        self._cuda_memory = cuda_memory
        self._default_deadline_s = default_deadline_s
        self._clock = clock

    def job(
        self,
        source: Source | SharedSource | CudaSource,
        options: Options,
        remaining_s: float | None,
        result: image_pb2.Result,
        report: report_pb2.Report,
    ) -> Job:
        """An image to work on, with the messages that its answer is written into.

        Args:
            source: as `source` gives it.
            options: what to make.
            remaining_s: until the caller's deadline, as gRPC says it; None: the default applies.
            result: of the answer.
            report: of the answer.
        """
        allowed_s = self._default_deadline_s
        if remaining_s is not None and remaining_s < _NEVER_S:
            allowed_s = remaining_s
        deadline = Deadline.after(allowed_s, self._clock)
        return Job(source, options, deadline, self._clock(), result, report)

    def hold(self) -> Held:
        """What a stream keeps open of its callers' device memory, to be closed with it."""
        return self._cuda_memory.hold()

    def source(
        self, image: image_pb2.Image, peer: str, hold: Held | None = None
    ) -> Source | SharedSource | CudaSource:
        """The picture of a request or of a frame; what lies in shared memory is not read yet.

        Args:
            image: as it came.
            peer: whose it is.
            hold: a stream's, which keeps device memory open between its frames.

        Raises:
            InvalidOption, SharedMemoryRefused, SharedMemoryWrong, ...: see `read_source` and
                the `source` of each door.
        """
        match image.WhichOneof("source"):
            case "shared_memory":
                return self._shared_memory.source(image.shared_memory, peer)
            case "cuda_memory":
                return self._cuda_memory.source(image.cuda_memory, peer, hold)
        return read_source(image)

    def direct(self, job: Job, place: Place, peer: str, hold: Held | None = None) -> None:
        """Sends the job's result to the place that the caller named, if there is one.

        Raises:
            InvalidOption, SharedMemoryRefused, SharedMemoryWrong: see the `target` of each door.
        """
        match place:
            case image_pb2.SharedMemoryRange():
                job.shared_output = self._shared_memory.target(place, job.options, peer)
            case image_pb2.CudaMemoryRange():
                job.shared_output = self._cuda_memory.target(place, job.options, peer, hold)


def place_of(message: options_pb2.RemoveOptions | removal_pb2.Frame) -> Place:
    """Where a result shall go that does not go into the answer.

    Raises:
        InvalidOption: to two places.
    """
    named = [
        getattr(message, name)
        for name in ("shared_memory_output", "cuda_memory_output")
        if message.HasField(name)
    ]
    if len(named) > 1:
        raise InvalidOption(
            "shared_memory_output and cuda_memory_output are both set: a result goes to one place"
        )
    return named[0] if named else None
