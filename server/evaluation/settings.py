"""Options in words, as `mattestream eval --set` takes them: "refine=fast,feather_px=1.5".

Called by `mattestream eval`. Names are those of the contract, with or without the message before
them ("edges.refine" or "refine"), so an option that the server learns is known here too; ranges and
what is built are judged by `server.options`, as for every caller.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from mattestream.v1 import options_pb2
from server.job import Options
from server.option_rules import InvalidOption
from server.options import read_options

DEFAULTS = "defaults"
# Options that change the alpha or the colours, but neither the picture's size nor its kind.
_MESSAGES = ("edges", "foreground", "subject")


def read_settings(words: str, model: str) -> Options:
    """The options that one `--set` asks for, as a cut-out in raw pixels.

    Args:
        words: assignments with commas between them; "defaults" or nothing for none.
        model: the model's name.

    Raises:
        InvalidOption: a name or a value makes no sense; the sentence lists what does.
        NotBuilt: as `server.options.read_options`.
    """
    message = options_pb2.RemoveOptions(
        model=model, output=options_pb2.OUTPUT_CUTOUT, format=options_pb2.FORMAT_RAW
    )
    text = words.strip()
    for assignment in text.split(",") if text not in ("", DEFAULTS) else ():
        name, equals, value = (part.strip() for part in assignment.partition("="))
        if not equals or not value:
            raise InvalidOption(
                f"setting {assignment.strip()!r} is no assignment: write name=value, as in "
                "refine=fast, with commas between several"
            )
        _assign(message, name, value)
    return read_options(message, stream=False)


def names() -> list[str]:
    """Every option that can be set, with its message: "edges.refine"."""
    return [f"{message.name}.{leaf.name}" for message, leaf in _leaves()]


def _assign(options: options_pb2.RemoveOptions, name: str, value: str) -> None:
    for message, leaf in _leaves():
        if name in (leaf.name, f"{message.name}.{leaf.name}"):
            part: Message = getattr(options, message.name)
            try:
                setattr(part, leaf.name, _value(leaf, name, value))
            except ValueError:  # more than the field can hold, as -1 where none is negative
                raise InvalidOption(f"setting {name} is {value!r}: it is out of range") from None
            return
    near = difflib.get_close_matches(name, [leaf.name for _, leaf in _leaves()], n=1)
    guess = f" (did you mean {near[0]}?)" if near else ""
    raise InvalidOption(f"there is no setting {name!r}{guess}; known are {', '.join(names())}")


def _leaves() -> Iterator[tuple[FieldDescriptor, FieldDescriptor]]:
    """The plain fields of the messages that may be set, each after its message."""
    options = options_pb2.RemoveOptions()
    for message in (options.DESCRIPTOR.fields_by_name[name] for name in _MESSAGES):
        empty = getattr(options, message.name)
        kind: Descriptor | None = message.message_type
        assert kind is not None
        for leaf in kind.fields:
            if isinstance(getattr(empty, leaf.name), int | float):  # no list, no message
                yield message, leaf


def _value(leaf: FieldDescriptor, name: str, text: str) -> float | int | bool:
    if leaf.enum_type is not None:
        prefix = _prefix(leaf)
        known = {
            value.name.removeprefix(prefix).lower(): value.number
            for value in leaf.enum_type.values
            if value.number
        }
        if text.lower() not in known:
            raise InvalidOption(f"setting {name} is {text!r}: it must be one of {', '.join(known)}")
        return known[text.lower()]
    number = (leaf.TYPE_FLOAT, leaf.TYPE_DOUBLE)
    try:
        if leaf.type == leaf.TYPE_BOOL:
            return {"true": True, "false": False}[text.lower()]
        return float(text) if leaf.type in number else int(text)
    except (KeyError, ValueError):
        allowed = "true or false" if leaf.type == leaf.TYPE_BOOL else "a number"
        raise InvalidOption(f"setting {name} is {text!r}: it must be {allowed}") from None


def _prefix(leaf: FieldDescriptor) -> str:
    """What the enum's value names begin with: "REFINE_"."""
    assert leaf.enum_type is not None
    return leaf.enum_type.values_by_number[0].name.removesuffix("UNSPECIFIED")
