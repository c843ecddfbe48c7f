"""Sentences about options, as whoever typed flags reads them.

The server and the clients name fields of the contract and keywords; the command line has flags for
the same. Called where a sentence is printed, by `mattestream.cli.failures` and
`mattestream.cli.batch`, and for both modes alike.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

# Fields of RemoveOptions whose flag is not their last name with dashes.
_FLAGS: Mapping[str, str] = {
    "edges.feather_px": "--feather",
    "edges.shift_px": "--shift",
    "edges.remove_specks_px": "--remove-specks",
    "edges.fill_holes_px": "--fill-holes",
    "background.color": "--background",
    "background.image": "--background",
    "background.image.image": "--background",
    "background.image.fit": "--background-fit",
    "background.image.position_x": "--background-position",
    "background.image.position_y": "--background-position",
    "background.image.color": "--background-color",
    "background.blur": "--background blur",
    "background.blur.radius_px": "--background-blur",
    "background.inpaint": "--background inpaint",
    **{f"crop.margin_{side}": "--margin" for side in ("top", "right", "bottom", "left")},
    **{
        f"crop.margin_{side}.{unit}": "--margin"
        for side in ("top", "right", "bottom", "left")
        for unit in ("px", "percent")
    },
    "crop.canvas_width": "--canvas",
    "crop.canvas_height": "--canvas",
    "crop.keep_size": "--canvas",  # source
    "crop.position_x": "--position",
    "crop.position_y": "--position",
    "subject.choice": "--largest",
    "subject.points": "--point",
    "shadow.kind": "--shadow",
    "shadow.opacity": "--shadow-opacity",
    "shadow.blur_px": "--shadow-blur",
    "shadow.offset_x_px": "--shadow-offset",
    "shadow.offset_y_px": "--shadow-offset",
    "tensor.type": "--tensor-type",
    "tensor.mean": "--tensor-mean",
    "tensor.std": "--tensor-std",
    "chroma_key.color": "--key",
    "chroma_key.tolerance": "--key-tolerance",
    "chroma_key.softness": "--key-softness",
    "chroma_key.despill": "--key-despill",
    "flat_background.use": "--flat",
    "flat_background.enclosed": "--enclosed",
}
_GROUPS = (
    "edges",
    "foreground",
    "background",
    "crop",
    "subject",
    "shadow",
    "tensor",
    "chroma_key",
    "flat_background",
)
# Groups with nothing behind the dot, and fields without a group.
_ALONE: Mapping[str, str] = {"chroma_key": "--key", "shadow": "--shadow", "crop": "--crop"}
_TOP = ("model", "output", "format", "quality", "keep_metadata", "max_megapixels")
# Values of the contract by the words that the flags take.
_VALUES: Mapping[str, str] = {
    "OUTPUT_MASK_RLE": "--output rle",
    "OUTPUT_": "--output ",
    "FORMAT_": "--format ",
    "SHADOW_KIND_": "--shadow ",
    "REFINE_": "--refine ",
    "FIT_": "--background-fit ",
}
# Keywords of the clients, where a sentence begins with one.
_KEYWORDS: Mapping[str, str] = {
    "points": "--point",
    "feather_px": "--feather",
    "shift_px": "--shift",
    "background_blur_px": "--background-blur",
    "shadow_blur_px": "--shadow-blur",
    "shadow_offset_px": "--shadow-offset",
}

_FIELD = re.compile(rf"\b(?:option )?((?:{'|'.join(_GROUPS)})(?:\.[a-z_]+)+)\b")
_NAMED = re.compile(rf"\boption ({'|'.join((*_TOP, *_ALONE))})\b")
_VALUE = re.compile(r"\b(OUTPUT_MASK_RLE|OUTPUT_|FORMAT_|SHADOW_KIND_|REFINE_|FIT_)([A-Z]*)\b")
_KEYWORD = re.compile(r"^([a-z][a-z_]*)(?= (?:is|has) )")


def in_flags(sentence: str) -> str:
    """The sentence with flags in the place of the contract's fields, its values and keywords.

    >>> in_flags("option edges.feather_px is -1: it must be from 0 to 100")
    '--feather is -1: it must be from 0 to 100'
    """
    sentence = _FIELD.sub(lambda match: flag_of(match[1]), sentence)
    sentence = _NAMED.sub(lambda match: flag_of(match[1]), sentence)
    sentence = _VALUE.sub(_value, sentence)
    return _KEYWORD.sub(_keyword, sentence)


def flag_of(path: str) -> str:
    """The flag that sets the field of RemoveOptions at `path`."""
    return _FLAGS.get(path) or _ALONE.get(path) or "--" + path.rpartition(".")[2].replace("_", "-")


def _value(match: re.Match[str]) -> str:
    return _VALUES[match[1]] + match[2].lower()


def _keyword(match: re.Match[str]) -> str:
    """A keyword by its flag; another word that a sentence may begin with stays as it is."""
    from mattestream.treatment import TreatmentKeywords

    name = match[1]
    if name not in TreatmentKeywords.__annotations__:
        return name
    return _KEYWORDS.get(name) or "--" + name.replace("_", "-")
