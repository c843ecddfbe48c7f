"""Keywords about backgrounds whose colour is known, and the messages made of them.

Called by `mattestream.treatment`, whose keywords these are a part of.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, TypedDict

from mattestream.v1 import options_pb2
from mattestream.values import choose, number

FlatName = Literal["auto", "off", "on"]
EnclosedName = Literal["keep", "remove"]

AUTO = "auto"
FLAT_USES: Mapping[str, options_pb2.FlatBackgroundUse.ValueType] = {
    "auto": options_pb2.FLAT_BACKGROUND_USE_AUTO,
    "off": options_pb2.FLAT_BACKGROUND_USE_OFF,
    "on": options_pb2.FLAT_BACKGROUND_USE_ON,
}
ENCLOSED: Mapping[str, options_pb2.EnclosedPaper.ValueType] = {
    "keep": options_pb2.ENCLOSED_PAPER_KEEP,
    "remove": options_pb2.ENCLOSED_PAPER_REMOVE,
}


class KnownBackgroundKeywords(TypedDict, total=False):
    """Keywords of `remove` and `remove_stream` for screens of one colour, and for drawings on flat
    paper; None: the default.

    Any of the first four chooses the model "chroma-key".
    """

    key: str | None  # the screen's colour, CSS name or hex, or "auto": found in the picture
    key_tolerance: float | None  # 0..0.9, share of subject up to which a pixel is screen; default
    # 0.12
    key_softness: float | None  # 0..1, width of the edge from there on; default 0.7
    key_despill: float | None  # 0..1, how much of the screen's light is taken off; default 1
    flat: FlatName | None  # whether the paper's colour decides instead of the model; default: auto
    # for images, where the picture is plainly drawn; off for streams
    enclosed: EnclosedName | None  # paper inside of a drawing; default: by the ink around it


_KEY_NUMBERS = {
    "key_tolerance": "tolerance",
    "key_softness": "softness",
    "key_despill": "despill",
}


def fill_known_background(message: options_pb2.RemoveOptions, given: Mapping[str, Any]) -> None:
    """Puts what is in `given`, `KnownBackgroundKeywords` without None, into `message`.

    Raises:
        InvalidRequest: a value does not fit its field.
    """
    if given.keys() & {"key", *_KEY_NUMBERS}:
        message.chroma_key.SetInParent()
    if given.get("key", AUTO) != AUTO:
        message.chroma_key.color = given["key"]
    if "flat" in given:
        message.flat_background.use = choose("flat", given["flat"], FLAT_USES)
    if "enclosed" in given:
        message.flat_background.enclosed = choose("enclosed", given["enclosed"], ENCLOSED)
    for keyword, name in _KEY_NUMBERS.items():
        if keyword in given:
            setattr(message.chroma_key, name, number(keyword, given[keyword]))
