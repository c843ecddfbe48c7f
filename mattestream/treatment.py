"""Keywords about edges, colours and looks: their names and types, and the messages made of them.

Called by `mattestream.request`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from mattestream.known_background import KnownBackgroundKeywords, fill_known_background
from mattestream.look import LookKeywords, fill_look
from mattestream.shapes import TensorKeywords, fill_tensor
from mattestream.subject import SubjectKeywords, fill_subject
from mattestream.v1 import options_pb2
from mattestream.values import UINT32_MAX, choose, number, whole

RefineName = Literal["off", "fast", "best"]
DespillName = Literal["green", "blue"]

REFINES: Mapping[str, options_pb2.Refine.ValueType] = {
    "off": options_pb2.REFINE_OFF,
    "fast": options_pb2.REFINE_FAST,
    "best": options_pb2.REFINE_BEST,
}
DESPILLS: Mapping[str, options_pb2.Despill.ValueType] = {
    "green": options_pb2.DESPILL_GREEN,
    "blue": options_pb2.DESPILL_BLUE,
}


class TreatmentKeywords(
    KnownBackgroundKeywords, LookKeywords, TensorKeywords, SubjectKeywords, total=False
):
    """Keywords of `remove` and `remove_stream` that treat edges, colours, looks and tensors; None:
    the default.

    Pixels are those of the source.
    """

    refine: RefineName | None  # edges drawn to the picture's; default: the server's choice
    feather_px: float | None  # 0..100, standard deviation of a blur of the alpha; default 0
    shift_px: float | None  # -100..100, positive grows the subject; default 0
    threshold: float | None  # 0..1: alpha becomes 0 below, 1 from it on; default: stays soft
    black_level: float | None  # 0..1: alpha up to it becomes 0; default 0
    white_level: float | None  # 0..1: alpha from it on becomes 1; default 1
    remove_specks_px: int | None  # separate pieces of a smaller area are removed; default 0
    fill_holes_px: int | None  # holes of a smaller area are filled; default 0
    decontaminate: float | None  # 0 (off) to 1: takes the old background's colour out of edge
    # pixels; default: the server's choice
    despill: DespillName | None  # the cast of that screen is removed; default: none


_NUMBERS = ("feather_px", "shift_px", "threshold", "black_level", "white_level")
_AREAS = ("remove_specks_px", "fill_holes_px")


def fill_treatment(message: options_pb2.RemoveOptions, keywords: Mapping[str, Any]) -> None:
    """Puts what is set of `keywords`, `TreatmentKeywords`, into `message`.

    Raises:
        InvalidRequest: a name is unknown, or a value does not fit its field.
    """
    given = {name: value for name, value in keywords.items() if value is not None}
    fill_known_background(message, given)
    fill_look(message, given)
    if given.keys() & SubjectKeywords.__annotations__.keys():
        fill_subject(message.subject, given)
    fill_tensor(message, given)
    edges, foreground = message.edges, message.foreground
    for name in _NUMBERS:
        if name in given:
            setattr(edges, name, number(name, given[name]))
    for name in _AREAS:
        if name in given:
            setattr(edges, name, whole(name, given[name], 0, UINT32_MAX, "of 0 or more"))
    if "refine" in given:
        edges.refine = choose("refine", given["refine"], REFINES)
    if "decontaminate" in given:
        foreground.decontaminate = number("decontaminate", given["decontaminate"])
    if "despill" in given:
        foreground.despill = choose("despill", given["despill"], DESPILLS)
