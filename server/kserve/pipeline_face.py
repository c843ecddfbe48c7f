"""A model as all of the background removal: pictures in; alpha, cut-outs, files and reports out.

Called by `server.kserve.answers`. Each picture of a request goes through `server.remover` as one of
our own services' would: once for its pixels (`alpha`, `rgba`), and once more for `result` where
both are asked for, because a result may be anything that the options can make.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from google.protobuf.json_format import MessageToJson
from numpy.typing import NDArray

from mattestream.kserve.v2 import infer_pb2
from mattestream.v1 import image_pb2
from server.calls import current_call
from server.cuda_memory.ranges import CudaSource, CudaTarget
from server.image_job import Job
from server.job import Options, Source
from server.kserve.asked import Asked
from server.kserve.datatypes import BYTES, UINT8, pack_bytes
from server.kserve.errors import WrongRequest
from server.kserve.names import Face
from server.kserve.outputs import Made, add_output, placed
from server.kserve.pictures import is_spelt_out, read_pictures
from server.kserve.statistics import Took
from server.kserve.tensors import CudaSpan, Wanted
from server.kserve.treatments import ALPHA, OUTPUTS, RESULT, RGBA, read_treatments
from server.remover import Remover
from server.shared_memory.door import SharedMemory, SharedSource, SharedTarget
from server.workers import Stage, Workers, settled


@dataclass(frozen=True, slots=True)
class _Picture:
    """One picture and what is made of it: pixels, a result, or both."""

    pixels: Job | None
    result: Job | None

    @property
    def jobs(self) -> list[Job]:
        return [job for job in (self.pixels, self.result) if job is not None]


class PipelineFace:
    """Answers requests for pipelines.

    Args:
        remover: does the work.
        shared_memory: where pictures may lie.
        workers: where bytes are copied.
    """

    def __init__(self, remover: Remover, shared_memory: SharedMemory, workers: Workers) -> None:
        self._remover = remover
        self._shared_memory = shared_memory
        self._reading = workers.lane(Stage.OPEN)
        self._writing = workers.lane(Stage.FINISH)

    async def infer(self, face: Face, asked: Asked, response: infer_pb2.ModelInferResponse) -> Took:
        """Fills `response`.

        Raises:
            WrongRequest, InvalidOption: the tensors or the parameters make no sense.
            ImageRejected, Overloaded, DeadlineExpired, ...: see `server.errors`.
        """
        wanted = {each.name: each for each in asked.wanted(OUTPUTS)}
        for each in wanted.values():
            if isinstance(each.span, CudaSpan) and each.name not in (ALPHA, RGBA):
                raise WrongRequest(
                    f"output '{each.name}' is asked for in region '{each.span.name}' of a GPU's "
                    f"memory, which holds pixels: ask for '{ALPHA}' or '{RGBA}' there"
                )
        if is_spelt_out(asked):
            sources = await self._reading.run_for(
                asked.place, read_pictures, asked, self._shared_memory
            )
        else:
            sources = read_pictures(asked, self._shared_memory)
        treatments = read_treatments(face.manifest.name, asked.own, wanted)
        pictures = [
            _Picture(_job(source, treatments.pixels, asked), _job(source, treatments.result, asked))
            for source in sources
        ]
        direct = _direct(pictures, wanted)
        await self._remove_all(pictures, asked)
        for name, each in wanted.items():
            if name == direct:
                add_output(response, each, _made_there(pictures[0]))
                continue
            datatype, shape, make = _making(name, pictures)
            data, nbytes = await self._writing.run(_make, make, each)
            add_output(response, each, Made(datatype, shape, nbytes, data))
        return _took(pictures)

    async def _remove_all(self, pictures: Sequence[_Picture], asked: Asked) -> None:
        """All pictures, side by side; with the first that fails the others are given up."""
        jobs = [job for picture in pictures for job in picture.jobs]
        tasks = [asyncio.ensure_future(self._remover.remove(job, wait=asked.waits)) for job in jobs]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
            for task in tasks:
                if task.done():
                    task.result()
        finally:
            for task in tasks:
                task.cancel()
            await settled(*tasks)
            asked.permits += [
                task.result() for task in tasks if not task.cancelled() and not task.exception()
            ]


def _job(
    source: Source | SharedSource | CudaSource, options: Options | None, asked: Asked
) -> Job | None:
    if options is None:
        return None
    job = Job(
        source,
        options,
        asked.deadline,
        asked.arrived_at,
        caller=asked.caller,
        priority=asked.priority,
    )
    job.report.request_id = current_call().request_id
    return job


def _direct(pictures: Sequence[_Picture], wanted: dict[str, Wanted]) -> str:
    """The one output whose pixels a worker may write where they are wanted, "" when none is."""
    named = [each for name, each in wanted.items() if name in (ALPHA, RGBA)]
    if len(pictures) != 1 or len(named) != 1 or named[0].span is None:
        return ""
    job, span = pictures[0].pixels, named[0].span
    assert job is not None
    if isinstance(span, CudaSpan):
        job.shared_output = CudaTarget(span.there)
    else:
        job.shared_output = SharedTarget(span.region, span.start, span.nbytes)
    return named[0].name


def _made_there(picture: _Picture) -> Made:
    """The output that a worker wrote to shared memory, or a GPU to its own."""
    assert picture.pixels is not None
    result = picture.pixels.result
    there = result.cuda_memory if result.HasField("cuda_memory") else result.shared_memory
    layout = there.layout
    shape = [1, result.height, result.width]
    if layout.format == image_pb2.PIXEL_FORMAT_RGBA8:
        shape.append(4)
    return Made(UINT8, shape, there.range.byte_size, b"")


def _making(
    name: str, pictures: Sequence[_Picture]
) -> tuple[str, Sequence[int], Callable[[], bytes]]:
    """An output's type, its shape, and what makes its bytes in a worker.

    Raises:
        WrongRequest: pictures of several sizes are no tensor.
    """
    if name in (ALPHA, RGBA):
        shape = [len(pictures), *_common_size(pictures, name)]
        if name == RGBA:
            shape.append(4)
        return UINT8, shape, partial(_pixel_bytes, pictures, alone=name == ALPHA)
    make = _result_bytes if name == RESULT else _report_bytes
    return BYTES, (len(pictures), 1), partial(make, pictures)


def _make(make: Callable[[], bytes], wanted: Wanted) -> tuple[bytes, int]:
    """The bytes, unless they went to shared memory, and how many there are; in a worker."""
    data = make()
    return placed(data, wanted), len(data)


def _common_size(pictures: Sequence[_Picture], name: str) -> tuple[int, int]:
    """Rows and columns that all pictures came out with."""
    sizes = {(job.result.height, job.result.width) for each in pictures if (job := each.pixels)}
    if len(sizes) != 1:
        listed = ", ".join(f"{width}x{height}" for height, width in sorted(sizes))
        raise WrongRequest(
            f"output '{name}' of pictures of several sizes ({listed}) is no tensor: send them one "
            f"by one, or ask for '{RESULT}' alone"
        )
    return sizes.pop()


def _pixel_bytes(pictures: Sequence[_Picture], *, alone: bool) -> bytes:
    """Tightly packed pixels of all pictures; with `alone` of cut-outs the alpha."""
    parts: list[bytes] = []
    for picture in pictures:
        assert picture.pixels is not None
        raw = picture.pixels.result.raw
        data = raw.data
        if alone and raw.layout.format == image_pb2.PIXEL_FORMAT_RGBA8:
            rgba: NDArray[np.uint8] = np.frombuffer(data, np.uint8).reshape(-1, 4)
            data = rgba[:, 3].tobytes()
        parts.append(data)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _result_bytes(pictures: Sequence[_Picture]) -> bytes:
    return pack_bytes(_packed(each.result.result) for each in pictures if each.result)


def _packed(result: image_pb2.Result) -> bytes:
    """A result as one run of bytes; what is no file and no pixels as JSON."""
    kind = result.WhichOneof("data")
    if kind in ("encoded", "raw", "tensor"):
        data: bytes = getattr(result, kind).data
        return data
    assert kind is not None
    return MessageToJson(getattr(result, kind), indent=None).encode()


def _report_bytes(pictures: Sequence[_Picture]) -> bytes:
    return pack_bytes(
        MessageToJson(
            picture.jobs[0].report, preserving_proto_field_name=True, indent=None
        ).encode()
        for picture in pictures
    )


def _took(pictures: Sequence[_Picture]) -> Took:
    timings = [job.report.timings for picture in pictures for job in picture.jobs]
    return Took(
        images=len(pictures),
        queue_ms=sum(each.queue_ms + each.batch_wait_ms for each in timings),
        input_ms=sum(each.decode_ms + each.prepare_ms for each in timings),
        infer_ms=sum(each.infer_ms for each in timings),
        output_ms=sum(each.finish_ms + each.encode_ms for each in timings),
    )
