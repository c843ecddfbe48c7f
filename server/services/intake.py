"""Messages to jobs: where an image of the removal service comes from, where its result goes, and by
when.

Shared by `server.services.removal`, for single images, and `server.services.streams`, for frames.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from mattestream.v1 import image_pb2, report_pb2
from server.deadline import Deadline
from server.job import Options, Source
from server.options import read_source
from server.remover import Job
from server.shared_memory.door import SharedMemory, SharedSource

_NEVER_S = 1e8  # gRPC gives a huge number where the caller set no deadline


class Intake:
    """What is made of an image as it came.

    Args:
        shared_memory: the door to what lies there.
        default_deadline_s: of images whose caller set none.
        clock: seconds.
    """

    def __init__(
        self,
        shared_memory: SharedMemory,
        default_deadline_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._shared_memory = shared_memory
        self._default_deadline_s = default_deadline_s
        self._clock = clock

    def job(
        self,
        source: Source | SharedSource,
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

    def source(self, image: image_pb2.Image, peer: str) -> Source | SharedSource:
        """The picture of a request or of a frame; what lies in shared memory is not read yet.

        Raises:
            InvalidOption, SharedMemoryRefused, SharedMemoryWrong, ...: see `read_source` and
                `SharedMemory.source`.
        """
        if image.WhichOneof("source") == "shared_memory":
            return self._shared_memory.source(image.shared_memory, peer)
        return read_source(image)

    def direct(self, job: Job, span: image_pb2.SharedMemoryRange, peer: str) -> None:
        """Sends the job's result into the range that the caller named.

        Raises:
            InvalidOption, SharedMemoryRefused, SharedMemoryWrong: see `SharedMemory.target`.
        """
        job.shared_output = self._shared_memory.target(span, job.options, peer)
