"""`Segment`: the subjects of one image, each with its alpha, box, share and score.

    with prompts:     the subject they mean; a picture seen before is neither decoded nor matted
    without prompts:  the pieces of the matte, largest first

Called by `server.services.removal`. The image goes the way of every other one (`server.remover`),
asked for its alpha alone; what is done here is to take that apart and pack it.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from mattestream.v1 import image_pb2, options_pb2, removal_pb2
from models.prompt_model import expected_iou
from server.admission import BYTES_PER_PIXEL, Admission, Overloaded, Permit
from server.codecs.encode import encode_result
from server.finishing import DEFAULTS, finish, plan
from server.image_job import Job
from server.job import Format, Options, Output, Source
from server.metrics import Metrics
from server.option_rules import InvalidOption
from server.options import read_source, read_wish
from server.remover import Remover
from server.replies import fill_encoded, report_statistics
from server.subjects.pieces import Piece, pieces
from server.subjects.prompter import Asked, Prompter
from server.subjects.seen import Looked
from server.subjects.wish import Wish
from server.workers import Lane

U8 = NDArray[np.uint8]

MOST_SUBJECTS = 64
DEFAULT_SUBJECTS = 16
SCORE_SIDE = 256  # px; a score is an average: at full size it would only take longer
DIGEST_ON_LOOP_BYTES = 1 << 20
_FORMATS = {
    options_pb2.FORMAT_UNSPECIFIED: Format.PNG,
    options_pb2.FORMAT_PNG: Format.PNG,
    options_pb2.FORMAT_RAW: Format.RAW,
    options_pb2.FORMAT_ZLIB: Format.ZLIB,
}


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a request asks for, read."""

    wish: Wish | None
    packed: Options  # of each alpha: its format
    most: int
    model: str | None  # that finds all subjects; None: the default
    prompt_model: str | None  # that answers prompts; None: the default


def read_wanted(request: removal_pb2.SegmentRequest) -> Wanted:
    """The request's options.

    Raises:
        InvalidOption: a value, or a combination, makes no sense.
    """
    wish = read_wish(request.subject, stream=False)
    if request.subject.HasField("trimap"):
        raise InvalidOption(
            "option subject.trimap is for Remove, which makes one alpha: leave it unset"
        )
    if request.format not in _FORMATS:
        raise InvalidOption(
            f"option format is {options_pb2.Format.Name(request.format)}: an alpha by Segment is "
            "FORMAT_PNG, FORMAT_RAW or FORMAT_ZLIB"
            if request.format in options_pb2.Format.values()
            else f"option format is {request.format}: use FORMAT_PNG, FORMAT_RAW or FORMAT_ZLIB"
        )
    if request.max_subjects > MOST_SUBJECTS:
        raise InvalidOption(
            f"option max_subjects is {request.max_subjects}: it must be from 1 to {MOST_SUBJECTS}"
        )
    name = request.model or None
    asks = wish is not None and wish.has_prompts
    return Wanted(
        wish=wish,
        packed=Options(output=Output.ALPHA, format=_FORMATS[request.format]),
        most=request.max_subjects or DEFAULT_SUBJECTS,
        model=None if asks else name,
        prompt_model=name if asks else None,
    )


class Segmenter:
    """Answers `Segment`; any number at once.

    Args:
        remover: takes images through the pipeline.
        prompter: asks the promptable models.
        admission: counts what a picture seen before takes.
        lane: workers for what is done here.
        metrics: told of refusals.
        clock: seconds.
    """

    def __init__(
        self,
        remover: Remover,
        prompter: Prompter,
        admission: Admission,
        lane: Lane,
        metrics: Metrics,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._remover = remover
        self._prompter = prompter
        self._admission = admission
        self._lane = lane
        self._metrics = metrics
        self._clock = clock

    async def segment(
        self,
        request: removal_pb2.SegmentRequest,
        new_job: Callable[[Source, Options], Job],
        response: removal_pb2.SegmentResponse,
    ) -> Permit:
        """Fills the response; the permit covers it until it is released.

        Args:
            request: as it came.
            new_job: a job of the caller's for a source and its options, with the response's report.
            response: empty but for its report's id.

        Raises:
            InvalidOption: the request makes no sense.
            ImageRejected, ModelNotFound, Overloaded, DeadlineExpired, ...: see `server.errors`.
        """
        wanted = read_wanted(request)
        options = Options(
            model=wanted.model,
            output=Output.ALPHA,
            format=Format.RAW,
            refine=None,
            subject=wanted.wish,
            prompt_model=wanted.prompt_model,
        )
        job = new_job(read_source(request.image), options)
        if wanted.wish is not None and wanted.wish.has_prompts:
            permit = await self._again(job, wanted.wish, wanted, response)
            if permit is not None:
                return permit
        permit = await self._remover.remove(job, wait=False)
        try:
            result = job.result
            alpha = np.frombuffer(result.raw.data, np.uint8).reshape(result.height, result.width)
            await self._lane.run_for(job.place, _pack, alpha, wanted, job.asked, response)
            permit.shrink(response.ByteSize())
        except BaseException:
            permit.release()
            raise
        return permit

    async def _again(
        self, job: Job, wish: Wish, wanted: Wanted, response: removal_pb2.SegmentResponse
    ) -> Permit | None:
        """The answer for a picture that was seen before; None when it was not."""
        used = self._remover.used(job.options.model)
        source = job.source
        if len(source.data) <= DIGEST_ON_LOOP_BYTES:  # type: ignore[union-attr]  # from its bytes
            key = self._prompter.key(source, used, 0.0)  # type: ignore[arg-type]
        else:
            key = await asyncio.to_thread(self._prompter.key, source, used, 0.0)  # type: ignore[arg-type]
        looked = self._prompter.recall(key, wanted.prompt_model)
        if looked is None:
            return None
        height, width = looked.matte_u8.shape
        wish.check(width, height)
        job.deadline.check(job.doing)
        try:
            permit = self._admission.try_admit(height * width * BYTES_PER_PIXEL)
        except Overloaded as error:
            self._metrics.refused(error.reason)
            raise
        try:
            job.doing = "waiting for a worker"
            async with job.deadline.enforced(lambda: job.doing):
                await self._lane.run_for(
                    job.place, self._answer, job, wish, looked, wanted, response
                )
            permit.shrink(response.ByteSize())
        except BaseException:
            permit.release()
            raise
        return permit

    def _answer(
        self,
        job: Job,
        wish: Wish,
        looked: Looked,
        wanted: Wanted,
        response: removal_pb2.SegmentResponse,
    ) -> None:
        started_at = self._clock()
        report = response.report
        request_id = report.request_id
        report.CopyFrom(looked.report)
        report.request_id = request_id
        report.ClearField("timings")  # of the first look
        report.timings.queue_ms = (started_at - job.arrived_at) * 1e3
        asked = Asked(was_seen=True)
        bound = wish.bound_to(
            lambda rgb, matte, cell_px, prompts: self._prompter.answer(
                looked, prompts, asked, report, name=wanted.prompt_model
            )
        )
        alpha = bound.choose(looked.rgb_u8, looked.matte_u8)
        report.timings.infer_ms = (self._clock() - started_at) * 1e3
        plain = Options(output=Output.ALPHA, format=Format.RAW, refine=None)
        cell_px = math.inf if looked.cell_px is None else looked.cell_px
        finished = finish(
            looked.rgb_u8, alpha, None, plan(plain, DEFAULTS, cell_px), cell_px=looked.cell_px
        )
        report_statistics(report, finished.statistics)
        _pack(finished.pixels, wanted, asked, response)
        report.timings.total_ms = (self._clock() - job.arrived_at) * 1e3


def _pack(
    alpha_u8: U8,
    wanted: Wanted,
    asked: Asked | None,
    response: removal_pb2.SegmentResponse,
) -> None:
    """Every subject of the alpha into the response: what was asked for is one, however many pieces
    it has.
    """
    if asked is None:
        found = pieces(alpha_u8, wanted.most)
    else:
        whole = Piece.of(alpha_u8)
        found = [] if whole is None else [whole]
    for piece in found:
        subject = response.subjects.add()
        left, top, right, bottom = piece.box
        subject.box.CopyFrom(options_pb2.Box(left=left, top=top, right=right, bottom=bottom))
        subject.coverage = piece.coverage
        subject.score = _score(piece.alpha_u8) if asked is None else asked.score
        encoded = encode_result(piece.alpha_u8, piece.alpha_u8, wanted.packed)
        result = image_pb2.Result()
        fill_encoded(result, encoded)
        subject.alpha.CopyFrom(result)


def _score(alpha_u8: U8) -> float:
    """How good a piece of the matte takes itself to be, 0..1, as promptable models say it."""
    scale = min(1.0, SCORE_SIDE / max(alpha_u8.shape))
    small = cv2.resize(alpha_u8, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    return expected_iou(np.multiply(small, 1 / 255, dtype=np.float32))
