"""Tensors of a bare network that stay in callers' device memory.

Used by `server.kserve.tensor_face`: on the model's own GPU, and where its engine computes in their
type; what does not goes by way of the host (`server.cuda_memory.staging`).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.prepared_tensor import PreparedTensor
from server.cuda_memory.ranges import OpenRange
from server.kserve.tensors import CudaSpan, Input, Wanted
from server.replica import Replica

FP32_ELEMENT = "fp32"  # as `models.device_engine.TensorSpec` has it


class InPlace:
    """The tensors of one request that stay in callers' device memory: on the model's own GPU, and
    where its engine computes in their type. What does not goes by way of the host.

    Attributes:
        takes, gives: whether the input and the output do.
    """

    def __init__(self, source: Input, wanted: Wanted, replica: Replica) -> None:
        self._source, self._span = source, wanted.span
        self._device = replica.gpu
        engine: Any = replica.model.engine  # with types of its tensors, on a GPU
        self.takes = self._fits(source.data) and engine.input.element == FP32_ELEMENT
        self.gives = self._fits(wanted.span) and engine.output.element == FP32_ELEMENT
        self._open: list[OpenRange] = []

    @property
    def any(self) -> bool:
        """True when either does."""
        return self.takes or self.gives

    def batch(self, input_bytes: int, output_bytes: int) -> list[Any]:
        """What the pipeline is given for each image; in a worker.

        Args:
            input_bytes: of one image's input.
            output_bytes: of one image's answer.

        Raises:
            WrongRequest: the input has another number of bytes than its shape says.
            SharedMemoryWrong: a range does not open.
        """
        images = self._source.shape[0]
        sources: list[Any]
        if self.takes:
            assert isinstance(self._source.data, CudaSpan)
            self._source.check_bytes(self._source.data.nbytes)
            start = self._opened(self._source.data)
            sources = [start + at * input_bytes for at in range(images)]
        else:
            sources = one_by_one(self._source.array())
        if not self.any:
            return sources
        targets: list[int | None] = [None] * images
        if self.gives:
            assert isinstance(self._span, CudaSpan)
            start = self._opened(self._span)
            targets = [start + at * output_bytes for at in range(images)]
        return [
            PreparedTensor(source, target) for source, target in zip(sources, targets, strict=True)
        ]

    def close(self) -> None:
        """Gives the ranges back; a call to the driver."""
        while self._open:
            self._open.pop().close()

    def _fits(self, data: object) -> bool:
        return (
            isinstance(data, CudaSpan)
            and self._device is not None
            and data.device.index == self._device.index
        )

    def _opened(self, span: CudaSpan) -> int:
        assert self._device is not None
        self._open.append(span.there.open(self._device))
        return self._open[-1].address


def one_by_one(batch: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    """Each image's, (1, ...)."""
    return [batch[at : at + 1] for at in range(len(batch))]
