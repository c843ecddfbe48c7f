"""The answer of `segment` as objects, in both clients."""

from __future__ import annotations

from dataclasses import dataclass

from mattestream.reply import Removal, removal
from mattestream.v1 import removal_pb2, report_pb2

Box = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Subject:
    """One subject of a picture.

    Attributes:
        alpha: at the picture's size: `alpha.array()` is (H, W) uint8, `alpha.save(path)` a file.
        box: left, top, right, bottom around alpha >= 0.5, in pixels of the picture.
        coverage: mean alpha over the picture, 0..1.
        score: how good the model takes it to be, 0..1.
    """

    alpha: Removal
    box: Box
    coverage: float
    score: float


@dataclass(frozen=True, slots=True)
class Segmentation:
    """The subjects of a picture, largest first.

    Attributes:
        subjects: none where there is none.
        report: what happened.
    """

    subjects: tuple[Subject, ...]
    report: report_pb2.Report


def segmentation(response: removal_pb2.SegmentResponse) -> Segmentation:
    """The objects of a response."""
    return Segmentation(
        tuple(
            Subject(
                alpha=removal(removal_pb2.RemoveResponse(result=one.alpha, report=response.report)),
                box=(one.box.left, one.box.top, one.box.right, one.box.bottom),
                coverage=one.coverage,
                score=one.score,
            )
            for one in response.subjects
        ),
        response.report,
    )
