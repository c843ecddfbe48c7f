"""Tensors of an answer: their bytes into the message, or into shared memory with a note where.

Used by `server.kserve.tensor_face` and `server.kserve.pipeline_face`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mattestream.kserve.v2 import infer_pb2
from server.cuda_memory.staging import write_up
from server.kserve.errors import WrongRequest
from server.kserve.parameters import BYTE_SIZE, OFFSET, REGION
from server.kserve.tensors import CudaSpan, Wanted


@dataclass(frozen=True, slots=True)
class Made:
    """A finished tensor.

    Attributes:
        nbytes: how many bytes it has.
        data: they; empty when they lie in shared memory already.
    """

    datatype: str
    shape: Sequence[int]
    nbytes: int
    data: bytes


def check_fits(wanted: Wanted, nbytes: int) -> None:
    """Nothing when the range that an output was given holds it.

    Raises:
        WrongRequest: it does not.
    """
    span = wanted.span
    if span is not None and nbytes > span.nbytes:
        raise WrongRequest(
            f"output '{wanted.name}' is {nbytes} bytes, its range in region '{span.name}' has "
            f"{span.nbytes}: give a range that holds it"
        )


def placed(data: bytes, wanted: Wanted) -> bytes:
    """`data`, or nothing after it was written to shared memory; called in a worker.

    Raises:
        WrongRequest: the range is too small for it.
        SharedMemoryWrong: the region has been cut short.
        DeviceError: a GPU's memory could not be written.
    """
    if wanted.span is None:
        return data
    check_fits(wanted, len(data))
    if isinstance(wanted.span, CudaSpan):
        write_up(wanted.span.there, wanted.span.device, data)
    else:
        wanted.span.region.write(wanted.span.start, data)
    return b""


def add_output(response: infer_pb2.ModelInferResponse, wanted: Wanted, made: Made) -> None:
    """Adds a tensor to the answer."""
    output = response.outputs.add(name=wanted.name, datatype=made.datatype, shape=made.shape)
    if wanted.span is not None:
        output.parameters[REGION].string_param = wanted.span.name
        output.parameters[OFFSET].int64_param = wanted.span.offset
        output.parameters[BYTE_SIZE].int64_param = made.nbytes
    # Empty for one in shared memory: clients find a tensor's entry by its place among the outputs.
    response.raw_output_contents.append(made.data)
