"""From a request to its answer: the face it means, its tensors, the work, the counts.

Called by `server.kserve.service` for single calls and by `server.kserve.streams` for each request
of a stream.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

from mattestream.kserve.v2 import infer_pb2
from server.calls import current_call
from server.kserve.asked import Asked, read_asked
from server.kserve.names import Face, find_face, serving
from server.kserve.pipeline_face import PipelineFace
from server.kserve.regions import RegisteredMemory
from server.kserve.statistics import Statistics, Took
from server.kserve.tensor_face import TensorFace
from server.kserve.tensors import FindSpan
from server.model_host import ModelHost
from server.replica import Replica


class Answers:
    """Answers requests for either face of a model.

    Args:
        host: lends models.
        tensors: does the work for networks.
        pipelines: does it for pipelines.
        regions: where tensors may lie.
        clock: seconds.

    Attributes:
        statistics: what was done.
    """

    def __init__(
        self,
        host: ModelHost,
        tensors: TensorFace,
        pipelines: PipelineFace,
        regions: RegisteredMemory,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.statistics = Statistics()
        self._host = host
        self._tensors = tensors
        self._pipelines = pipelines
        self._regions = regions
        self._clock = clock

    async def infer(
        self,
        request: infer_pb2.ModelInferRequest,
        response: infer_pb2.ModelInferResponse,
        peer: str,
        allowed_s: float,
        *,
        waits: bool,
    ) -> Asked:
        """Fills the answer to one request; returns it to be released when the answer is out.

        Args:
            request: as it came.
            response: empty.
            peer: who sent it, as gRPC writes it.
            allowed_s: until the answer is not wanted any more.
            waits: for room on the server; False: it is refused when there is none.

        Raises:
            What `server.errors` knows.
        """
        call = current_call()
        arrived_at = self._clock()
        call.fields["model"] = request.model_name[:100]
        face = find_face(self._host, request.model_name, request.model_version)
        asked: Asked | None = None
        try:
            with serving(self._host, face) as replica:
                find_span: FindSpan = partial(self._regions.span, call.owner, peer)
                asked = read_asked(
                    request, find_span, allowed_s=allowed_s, waits=waits, clock=self._clock
                )
                response.model_name, response.model_version = request.model_name, face.version
                response.id = request.id
                async with asked.deadline.enforced(lambda: "the request was in work"):
                    took = await self._answered(face, replica, asked, response)
        except BaseException:
            if asked is not None:
                asked.release()
            self.statistics.failed(face.name, (self._clock() - arrived_at) * 1e3)
            raise
        self.statistics.succeeded(face.name, (self._clock() - arrived_at) * 1e3, took)
        return asked

    async def _answered(
        self, face: Face, replica: Replica, asked: Asked, response: infer_pb2.ModelInferResponse
    ) -> Took:
        if face.is_pipeline:
            return await self._pipelines.infer(face, asked, response)
        return await self._tensors.infer(face, replica, asked, response)
