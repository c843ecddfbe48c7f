"""What is laid under the subject: `shadow`. Called by `server.options.reader`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from kernels.cpu.shadow import Shadow
from mattestream.v1 import options_pb2
from server.job import Behind, InpaintBehind, Output
from server.option_rules import Choice, InvalidOption, Number, Rule

_KINDS: Mapping[int, Literal["contact", "drop"]] = {
    options_pb2.SHADOW_KIND_CONTACT: "contact",
    options_pb2.SHADOW_KIND_DROP: "drop",
}
_OFFSET = Number(-500, 500, is_built=True)

RULES: Mapping[str, Rule] = {
    "shadow.kind": Choice(frozenset(_KINDS)),
    "shadow.opacity": Number(0, 1, is_built=True),
    "shadow.blur_px": Number(0, 200, is_built=True),
    "shadow.offset_x_px": _OFFSET,
    "shadow.offset_y_px": _OFFSET,
}


def read_shadow(
    message: options_pb2.Shadow, output: Output, background: Behind | None
) -> Shadow | None:
    """What is laid under the subject; None without.

    Raises:
        InvalidOption: there is one and no place for it, or its fields are set without its kind.
    """
    kind = _KINDS.get(message.kind)
    if kind is None:
        for field, _ in message.ListFields():
            raise InvalidOption(
                f"option shadow.{field.name} is set, but shadow.kind is not: set it to "
                "SHADOW_KIND_CONTACT or SHADOW_KIND_DROP, or leave the shadow unset"
            )
        return None
    if not output.has_colors:
        raise InvalidOption(
            f"option shadow is set, but the output is {output}, which is only about the subject's "
            "shape: choose OUTPUT_CUTOUT or OUTPUT_COMPOSITE, or leave the shadow unset"
        )
    if isinstance(background, InpaintBehind):
        raise InvalidOption(
            "option shadow is set, but background.inpaint shows no subject that could throw one: "
            "leave one of them unset"
        )
    return Shadow(
        kind,
        message.opacity if message.HasField("opacity") else 0.5,
        message.blur_px if message.HasField("blur_px") else None,
        message.offset_x_px if message.HasField("offset_x_px") else None,
        message.offset_y_px if message.HasField("offset_y_px") else None,
    )
