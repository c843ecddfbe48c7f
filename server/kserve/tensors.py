"""Tensors of a request: what comes in and what shall go out, each checked against itself; bytes are
read later, in a worker.

Used by `server.kserve.asked`; `server.kserve.tensor_face` and `server.kserve.pipeline_face` check
them against their model.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kernels.device import Device
from mattestream.kserve.v2 import infer_pb2
from server.cuda_memory.ranges import CudaRange
from server.cuda_memory.staging import read_down
from server.kserve.datatypes import BYTES, FIXED, unpack_bytes
from server.kserve.errors import NotSupported, WrongRequest
from server.kserve.parameters import BYTE_SIZE, OFFSET, REGION, Parameters, integer_of, value_of
from server.shared_memory.region import Region

MOST_AXES = 8
LARGEST_SIDE = 2**31 - 1
LARGEST_INT64 = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Span:
    """A range of a registered region.

    Attributes:
        region: the open object.
        start: first byte in the object.
        nbytes: its length.
        name, offset: as the request gave them, for the answer.
    """

    region: Region
    start: int
    nbytes: int
    name: str
    offset: int


@dataclass(frozen=True, slots=True)
class CudaSpan:
    """A range of a registered region of a GPU's memory.

    Attributes:
        there: the range.
        device: the GPU.
        name: as the request gave it, for the answer.
    """

    there: CudaRange
    device: Device
    name: str

    @property
    def nbytes(self) -> int:
        """Its length."""
        return self.there.nbytes

    @property
    def offset(self) -> int:
        """As the request gave it, for the answer."""
        return self.there.offset


FindSpan = Callable[[str, int, int], Span | CudaSpan]  # name, offset, byte_size


@dataclass(frozen=True, slots=True)
class Input:
    """A tensor that came.

    Attributes:
        data: its bytes as they travel, its elements one by one, or where they lie.
    """

    name: str
    datatype: str
    shape: tuple[int, ...]
    data: bytes | infer_pb2.InferTensorContents | Span | CudaSpan

    @property
    def elements(self) -> int:
        """How many there are."""
        return math.prod(self.shape)

    def array(self) -> NDArray[Any]:
        """The elements in their shape and type; of bytes in the message a view, else a copy.

        Raises:
            WrongRequest: there are more or fewer than the shape says.
            SharedMemoryWrong: the region has been cut short.
            DeviceError: a GPU's memory could not be read.
        """
        dtype, field = FIXED[self.datatype]
        if isinstance(self.data, infer_pb2.InferTensorContents):
            elements = getattr(self.data, field) if field else ()
            self._check_count(len(elements))
            return np.array(elements, dtype).reshape(self.shape)
        data: Any = self.data
        self.check_bytes(len(data) if isinstance(data, bytes) else data.nbytes)
        if isinstance(data, Span):
            data = data.region.read(data.start, data.nbytes).data
        elif isinstance(data, CudaSpan):
            data = read_down(data.there, data.device).data
        return np.frombuffer(data, dtype).reshape(self.shape)

    def check_bytes(self, came: int) -> None:
        """Nothing when so many bytes are what the shape says.

        Raises:
            WrongRequest: they are not.
        """
        wanted = self.elements * FIXED[self.datatype][0].itemsize
        if came != wanted:
            raise WrongRequest(
                f"input '{self.name}' of shape {list(self.shape)} {self.datatype} is {wanted} "
                f"bytes, {came} came: send all of its elements and nothing else"
            )

    def strings(self) -> list[memoryview]:
        """The elements of a BYTES tensor that is not in shared memory.

        Raises:
            WrongRequest: there are more or fewer than the shape says, or the last is cut short.
        """
        assert not isinstance(self.data, Span | CudaSpan)
        if isinstance(self.data, infer_pb2.InferTensorContents):
            elements = [memoryview(each) for each in self.data.bytes_contents]
        else:
            elements = unpack_bytes(self.data, self.name)
        self._check_count(len(elements))
        return elements

    def _check_count(self, came: int) -> None:
        if came != self.elements:
            raise WrongRequest(
                f"input '{self.name}' of shape {list(self.shape)} has {self.elements} elements of "
                f"{self.datatype}, {came} came: send all of them, in the field of their type"
            )


@dataclass(frozen=True, slots=True)
class Wanted:
    """A tensor that is asked for.

    Attributes:
        span: where its bytes shall go; None: into the answer.
    """

    name: str
    span: Span | CudaSpan | None = None


def read_inputs(request: infer_pb2.ModelInferRequest, find_span: FindSpan) -> dict[str, Input]:
    """The tensors that came, by name.

    Args:
        request: as it came.
        find_span: a range of a registered region.

    Raises:
        WrongRequest: they contradict themselves.
        RegionUnknown, SharedMemoryRefused, SharedMemoryWrong: as `find_span` says.
    """
    # Each access copies: once, and then by position.
    raw = iter(request.raw_input_contents)
    has_raw = bool(request.raw_input_contents)
    inputs: dict[str, Input] = {}
    for tensor in request.inputs:
        name, shape = tensor.name, _shape_of(tensor)
        if name in inputs:
            raise WrongRequest(f"input '{name}' came twice: send each once")
        if tensor.datatype != BYTES and tensor.datatype not in FIXED:
            known = ", ".join((*FIXED, BYTES))
            raise WrongRequest(f"input '{name}' is of type '{tensor.datatype}': known are {known}")
        typed = tensor.contents if tensor.HasField("contents") else None
        span = _span_of(tensor.parameters, f"input '{name}'", find_span)
        data: bytes | infer_pb2.InferTensorContents | Span | CudaSpan | None = span
        if span is None:
            data = next(raw, None) if has_raw else typed
        if data is None:
            raise WrongRequest(
                f"input '{name}' has no data: put it into raw_input_contents, contents or shared "
                "memory"
            )
        if typed is not None and data is not typed:
            raise WrongRequest(
                f"input '{name}' has contents besides raw_input_contents or shared memory: send "
                "its elements once"
            )
        inputs[name] = Input(name, tensor.datatype, shape, data)
    if next(raw, None) is not None:
        raise WrongRequest(
            f"raw_input_contents has {len(request.raw_input_contents)} entries, more than there "
            "are inputs outside of shared memory: send one for each of those"
        )
    return inputs


def read_wanted(
    request: infer_pb2.ModelInferRequest, names: Iterable[str], find_span: FindSpan
) -> list[Wanted]:
    """The tensors that are asked for; all that the model gives when none is named.

    Args:
        request: as it came.
        names: of what the model gives.
        find_span: a range of a registered region.

    Raises:
        WrongRequest: there is no such tensor.
        NotSupported: classes are asked for.
        RegionUnknown, SharedMemoryRefused, SharedMemoryWrong: as `find_span` says.
    """
    given = tuple(names)
    wanted: dict[str, Wanted] = {}
    for tensor in request.outputs:
        name = tensor.name
        if name not in given:
            raise WrongRequest(
                f"output '{name}' is not one of model '{request.model_name}', whose outputs are "
                f"{', '.join(given)}"
            )
        if name in wanted:
            raise WrongRequest(f"output '{name}' is asked for twice: name each once")
        if "classification" in tensor.parameters:
            raise NotSupported(
                f"output '{name}' is asked for as classes, which no model here has: leave "
                "classification out"
            )
        span = _span_of(tensor.parameters, f"output '{name}'", find_span)
        wanted[name] = Wanted(name, span)
    return list(wanted.values()) or [Wanted(name) for name in given]


def _shape_of(tensor: infer_pb2.ModelInferRequest.InferInputTensor) -> tuple[int, ...]:
    shape = tuple(tensor.shape)
    if not 1 <= len(shape) <= MOST_AXES or not all(1 <= side <= LARGEST_SIDE for side in shape):
        raise WrongRequest(
            f"input '{tensor.name}' has the shape {list(shape)}: it must have 1 to {MOST_AXES} "
            "axes, each of 1 or more"
        )
    return shape


def _span_of(parameters: Parameters, what: str, find_span: FindSpan) -> Span | CudaSpan | None:
    """Where a tensor's bytes lie; None: not in shared memory."""
    for name in parameters:
        if name not in {REGION, OFFSET, BYTE_SIZE, "binary_data", "binary_data_size"}:
            raise WrongRequest(
                f"parameter '{name}' of {what} is not known: leave it out, or correct it to "
                f"{REGION}, {OFFSET} or {BYTE_SIZE}"
            )
    if REGION not in parameters:
        for name in (OFFSET, BYTE_SIZE):
            if name in parameters:
                raise WrongRequest(f"{what} has {name} but no {REGION}: set both or neither")
        return None
    region = value_of(REGION, parameters[REGION])
    if not isinstance(region, str):
        raise WrongRequest(f"parameter '{REGION}' of {what} is {region!r}: it must be a name")
    if BYTE_SIZE not in parameters:
        raise WrongRequest(f"{what} is in shared memory but has no {BYTE_SIZE}: set it")
    offset = 0
    if OFFSET in parameters:
        offset = integer_of(OFFSET, value_of(OFFSET, parameters[OFFSET]), 0, LARGEST_INT64)
    nbytes = integer_of(BYTE_SIZE, value_of(BYTE_SIZE, parameters[BYTE_SIZE]), 1, LARGEST_INT64)
    return find_span(region, offset, nbytes)
