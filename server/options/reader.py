"""The whole of RemoveOptions: every field has its rule, the groups their readers.

A field that is not built yet is refused by name unless its value asks for nothing; a field without
a rule cannot slip through, see `_check`. Fields that the contract itself does not know were refused
before, by `server.wire`.
"""

from __future__ import annotations

from collections.abc import Mapping

from google.protobuf.message import Message

from mattestream.v1 import options_pb2
from server.job import Options
from server.option_rules import Built, Choice, InvalidOption, Number, Refused, Rule, not_built
from server.options import (
    background,
    chroma_key,
    crop,
    edges,
    flat_background,
    foreground,
    output,
    shadow,
    source,
    subject,
    temporal,
    tensor,
)

# One line per field, by path. A message without a line is walked into; a field without a line is
# refused.
RULES: Mapping[str, Rule] = {
    "model": Built(),
    **output.RULES,
    **edges.RULES,
    **foreground.RULES,
    **background.RULES,
    **crop.RULES,
    **subject.RULES,
    **shadow.RULES,
    **tensor.RULES,
    **temporal.RULES,
    **chroma_key.RULES,
    **flat_background.RULES,
    **source.RULES,
}


def read_options(message: options_pb2.RemoveOptions, *, stream: bool) -> Options:
    """The options that `message` asks for, defaults filled in.

    Args:
        message: as it came.
        stream: True for a stream's config, whose defaults are the raw alpha.

    Raises:
        InvalidOption: a value, or a combination, makes no sense; the sentence says what does.
        NotBuilt: an option of a later version.
    """
    _check(message, "")
    if not stream:
        temporal.refuse(message.temporal)
    made = output.output_of(message, stream=stream)
    behind = background.read_background(message.background, made)
    shown = crop.read_crop(message)
    is_circle = shown is not None and shown.circle
    packed = output.read_packing(message, made, behind, stream=stream, is_circle=is_circle)
    if not made.has_colors:
        foreground.refuse(message.foreground, made)
    return Options(
        model=chroma_key.read_model(message),
        output=made,
        format=packed.format,
        quality=packed.quality,
        background=behind,
        crop=shown,
        shadow=shadow.read_shadow(message.shadow, made, behind),
        tensor=tensor.read_tensor(message.tensor, made, behind, is_circle=is_circle),
        keep_metadata=message.keep_metadata,
        max_megapixels=message.max_megapixels,
        refine=edges.read_refine(message.edges),
        edges=edges.read_edges(message.edges),
        subject=subject.read_wish(message.subject, stream=stream),
        trimap=subject.read_trimap(message.subject, stream=stream),
        decontaminate=foreground.read_decontaminate(message.foreground),
        despill=foreground.read_despill(message.foreground),
        flat_background=flat_background.read_flat_background(
            message.flat_background, stream=stream
        ),
        chroma_key=chroma_key.read_chroma_key(message.chroma_key),
    )


def _check(message: Message, prefix: str) -> None:
    """Walks every field that is set, down to the leaves; each must have a rule that lets its value
    pass.
    """
    for field, value in message.ListFields():
        path = prefix + field.name
        rule = RULES.get(path)
        if isinstance(rule, Choice):
            rule.check(path, value, field)
        elif isinstance(rule, Number):
            rule.check(path, value)
        elif isinstance(rule, Built):
            continue
        elif isinstance(rule, Refused):
            raise InvalidOption(rule.sentence)
        elif rule is None and isinstance(value, Message):
            _check(value, f"{path}.")
        else:
            raise not_built(f"option {path}", "leave it unset")
