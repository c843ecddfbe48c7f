"""What a tool answers: a picture to look at, a link to fetch, and the facts as fields.

Made by `mattestream.mcp.tools`. The full result never goes into the conversation by itself: it is a
link, or a file where the agent wanted one.
"""

from __future__ import annotations

import json

from mcp_types import (
    Annotations,
    CallToolResult,
    ContentBlock,
    ImageContent,
    ResourceLink,
    TextContent,
)
from pydantic import BaseModel, Field

from mattestream.mcp.previews import MEDIA_TYPE
from mattestream.v1 import options_pb2, report_pb2

Box = tuple[float, float, float, float]
_BOX = "left, top, right, bottom in pixels of the source; right and bottom just past the last pixel"


class Subject(BaseModel):
    """What is known of an image's subject."""

    found: bool = Field(description="False when the image shows no subject: the result is empty.")
    box: Box | None = Field(description=f"Tight box around the subject: {_BOX}.")
    coverage: float = Field(description="Share of the image that the subject takes, 0 to 1.")
    uncertainty: float = Field(
        description="How unsure the model is, 0 to 1: above 0.15 the result deserves a look."
    )
    source_width: int = Field(description="Columns of the source in pixels, upright.")
    source_height: int = Field(description="Rows of the source in pixels, upright.")
    model: str = Field(description="The model that ran.")
    milliseconds: float = Field(description="From the image's arrival to the finished result.")
    notes: list[str] = Field(description="Things worth knowing, a sentence each.")


class File(BaseModel):
    """A finished image."""

    address: str = Field(description="Resource to read, or to hand to another tool as `image`.")
    media_type: str
    width: int = Field(description="Columns of the result in pixels.")
    height: int = Field(description="Rows of the result in pixels.")
    bytes: int = Field(description="Size of the file.")
    saved_to: str | None = Field(description="Where the file was written, when that was asked for.")


class Made(BaseModel):
    """A finished image and its subject."""

    result: File
    shown: Box | None = Field(
        description=f"Part of the source in the result, where it is cut: {_BOX}. It may reach "
        "beyond the source."
    )
    subject: Subject


class Part(BaseModel):
    """One subject of an image."""

    box: Box = Field(description=f"Tight box around it: {_BOX}.")
    coverage: float = Field(description="Share of the image that it takes, 0 to 1.")
    score: float = Field(description="The model's own estimate of the mask's quality, 0 to 1.")
    alpha: File = Field(description="Its alpha at the source's size: 255 subject, 0 elsewhere.")


class Parts(BaseModel):
    """The subjects of an image, largest first."""

    subjects: list[Part]


def subject_of(report: report_pb2.Report) -> Subject:
    """The facts that a report holds."""
    return Subject(
        found=not report.no_subject,
        box=_box(report.subject_box) if report.HasField("subject_box") else None,
        coverage=round(report.coverage, 4),
        uncertainty=round(report.uncertainty, 4),
        source_width=report.source_width,
        source_height=report.source_height,
        model=f"{report.model.name} {report.model.version}",
        milliseconds=round(report.timings.total_ms, 1),
        notes=list(report.notes),
    )


def shown_of(report: report_pb2.Report) -> Box | None:
    """The part of the source that a cut result shows; None for the whole."""
    return _box(report.shown) if report.HasField("shown") else None


def link(file: File, name: str) -> ResourceLink:
    """Where the full result is."""
    return ResourceLink(
        name=name,
        uri=file.address,
        mime_type=file.media_type,
        size=file.bytes,
        annotations=Annotations(audience=["user", "assistant"], priority=0.8),
    )


def picture(data: str) -> ImageContent:
    """A preview, base64, to look at."""
    return ImageContent(data=data, mime_type=MEDIA_TYPE)


def answer(facts: BaseModel, *shown: ContentBlock) -> CallToolResult:
    """The whole answer; the facts also as text, for clients that show nothing else."""
    structured = facts.model_dump(mode="json")
    text = TextContent(text=json.dumps(structured, ensure_ascii=False))
    return CallToolResult(content=[text, *shown], structured_content=structured)


def _box(box: options_pb2.Box) -> Box:
    return (box.left, box.top, box.right, box.bottom)
