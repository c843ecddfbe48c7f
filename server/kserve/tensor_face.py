"""A model as a bare network: prepared tensors in, its raw answer out, batched with those of others.

Called by `server.kserve.answers`. The tensors are those of the manifest: input `image` unless it
names another, FP32, in its layout, already resized and normalised; the output before any
activation.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mattestream.kserve.v2 import infer_pb2
from models.manifest import Manifest
from server.admission import Admission, Overloaded, Permit
from server.batcher import Inferred
from server.kserve.asked import Asked
from server.kserve.datatypes import FP32
from server.kserve.errors import WrongRequest
from server.kserve.in_place import InPlace, one_by_one
from server.kserve.names import Face
from server.kserve.outputs import Made, add_output, check_fits, placed
from server.kserve.parameters import refuse_own
from server.kserve.statistics import Took
from server.kserve.tensors import Input, Wanted
from server.metrics import Metrics
from server.replica import Replica
from server.service_cost import Cost, ServiceCosts
from server.workers import Stage, Workers, settled

MAX_BATCH = 64  # images in one request; runs of the engine are as large as it takes them
FLOAT_BYTES = 4
# As it came, as the engine takes it, its answer, the answer in the message and on the wire.
COPIES = 2


@dataclass(frozen=True, slots=True)
class Tensor:
    """One of a network's tensors, without its batch axis."""

    name: str
    shape: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        """Bytes of one image's."""
        return FLOAT_BYTES * int(np.prod(self.shape))


def input_of(manifest: Manifest) -> Tensor:
    """What the network takes."""
    wanted = manifest.input
    plane = (wanted.height, wanted.width)
    shape = (3, *plane) if wanted.layout == "NCHW" else (*plane, 3)
    return Tensor(wanted.tensor or "image", shape)


def output_of(replica: Replica) -> Tensor:
    """What it gives."""
    model = replica.model
    return Tensor(model.manifest.output.tensor or "alpha", model.output_shape)


class TensorFace:
    """Answers requests for networks.

    Args:
        workers: where bytes are copied.
        admission: who may come in.
        costs: what runs take.
        metrics: told of refusals.
    """

    def __init__(
        self, workers: Workers, admission: Admission, costs: ServiceCosts, metrics: Metrics
    ) -> None:
        self._reading = workers.lane(Stage.OPEN)
        self._writing = workers.lane(Stage.FINISH)
        self._admission = admission
        self._costs = costs
        self._metrics = metrics

    async def infer(
        self, face: Face, replica: Replica, asked: Asked, response: infer_pb2.ModelInferResponse
    ) -> Took:
        """Fills `response`.

        Raises:
            WrongRequest: the tensors are not the model's.
            Overloaded, DeadlineExpired, EngineFailed, ...: see `server.errors`.
        """
        refuse_own(asked.own, face.name)
        takes, gives = input_of(face.manifest), output_of(replica)
        source = _only_input(asked, takes, face.name)
        (wanted,) = asked.wanted((gives.name,))
        images = source.shape[0]
        answer_bytes = images * gives.nbytes
        check_fits(wanted, answer_bytes)
        cost = self._cost(face, replica, images)
        permit = await self._admit(asked, COPIES * (images * takes.nbytes + answer_bytes), cost)
        asked.permits.append(permit)
        ranges = InPlace(source, wanted, replica)
        try:
            if isinstance(source.data, bytes) and not ranges.any:
                batch: Sequence[Any] = one_by_one(source.array())
            else:
                batch = await self._reading.run_for(
                    asked.place, ranges.batch, takes.nbytes, gives.nbytes
                )
            runs = await _each(replica, batch, asked)
        finally:
            if ranges.any:
                await settled(asyncio.ensure_future(asyncio.to_thread(ranges.close)))
        self._costs.note(
            face.manifest.name,
            face.is_pipeline,
            0,
            network_s=sum(run.infer_ms / run.batch_size for run in runs) / images / 1e3,
            rest_s=0,
        )
        data = b""
        if not ranges.gives:
            answers = [run.answer for run in runs]
            data = await self._writing.run_for(asked.place, _packed, answers, wanted)
        permit.shrink(len(data))
        add_output(response, wanted, Made(FP32, (images, *gives.shape), answer_bytes, data))
        return Took(
            images=images,
            queue_ms=max(run.batch_wait_ms for run in runs),
            infer_ms=sum(run.infer_ms / run.batch_size for run in runs),
        )

    def _cost(self, face: Face, replica: Replica, images: int) -> Cost:
        one = self._costs.expected(
            face.manifest.name, face.is_pipeline, 0, on_device=replica.used.device != "cpu"
        )
        return Cost(one.worker_s * images, one.device_s * images)

    async def _admit(self, asked: Asked, nbytes: int, cost: Cost) -> Permit:
        if asked.waits:
            return await self._admission.admit(nbytes, cost)
        try:
            return self._admission.try_admit(nbytes, cost, asked.deadline.remaining_s)
        except Overloaded as error:
            self._metrics.refused(error.reason)
            raise


async def _each(replica: Replica, batch: Sequence[Any], asked: Asked) -> list[Inferred]:
    """The runs of all images; none is under way any more when this ends."""
    runs = await asyncio.gather(
        *(replica.tensors.infer(each, asked.deadline, asked.place) for each in batch),
        return_exceptions=True,
    )
    ended: list[Inferred] = []
    for run in runs:
        if isinstance(run, BaseException):
            raise run
        ended.append(run)
    return ended


def _only_input(asked: Asked, takes: Tensor, model: str) -> Input:
    """The one input, of the model's type and shape."""
    for name in asked.inputs:
        if name != takes.name:
            raise WrongRequest(f"input '{name}' is not one of model '{model}': send '{takes.name}'")
    if takes.name not in asked.inputs:
        raise WrongRequest(f"input '{takes.name}' is missing: model '{model}' needs it")
    source = asked.inputs[takes.name]
    if source.datatype != FP32:
        raise WrongRequest(
            f"input '{source.name}' is {source.datatype}: model '{model}' takes {FP32}"
        )
    if source.shape[1:] != takes.shape or source.shape[0] > MAX_BATCH:
        raise WrongRequest(
            f"input '{source.name}' has the shape {list(source.shape)}: model '{model}' takes "
            f"{['N', *takes.shape]} with N from 1 to {MAX_BATCH}".replace("'N'", "N")
        )
    return source


def _packed(answers: Sequence[NDArray[np.float32]], wanted: Wanted) -> bytes:
    """The answers' bytes one after the other, unless they went to shared memory."""
    data = b"".join(np.ascontiguousarray(answer, "<f4").tobytes() for answer in answers)
    return placed(data, wanted)
