"""Bytes to messages: what is damaged is refused, and so is a field that this server does not know,
at any depth, so that a newer client never gets less than it asked for.

`server.interceptors` reads every request with it; `server.services.streams` looks at a stream's
messages one by one, because a bad frame does not end its stream.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from functools import cache

from google.protobuf.descriptor import Descriptor
from google.protobuf.message import DecodeError, Message
from google.protobuf.unknown_fields import UnknownFieldSet

from mattestream import __version__
from server.option_rules import NotBuilt


class DamagedMessage(Exception):
    """The bytes are no message of the kind that the method takes."""


def decode(read: Callable[[bytes], Message], data: bytes, method: str) -> Message:
    """The message in `data`.

    Args:
        read: the generated reader, `RemoveRequest.FromString`.
        data: as they came.
        method: for the sentence: "Remove".

    Raises:
        DamagedMessage: `read` refuses them.
    """
    try:
        return read(data)
    except DecodeError:
        raise DamagedMessage(
            f"the {len(data)} bytes are not a protobuf message of the kind that {method} takes: "
            "send what protos/mattestream/v1 describes"
        ) from None


def refuse_unknown_fields(message: Message, path: str = "") -> None:
    """Nothing when `message` and all that is in it hold known fields only.

    Args:
        message: any.
        path: where it stands, for the sentence; empty for a whole request.

    Raises:
        NotBuilt: there is one; the sentence has its number.
    """
    for unknown in UnknownFieldSet(message):  # type: ignore[attr-defined]  # the stubs lag
        raise NotBuilt(
            f"field {unknown.field_number} of {path or message.DESCRIPTOR.name}, which this server "
            f"does not know, is not built yet in this server ({__version__}): leave it unset"
        )
    # By the descriptor and not by ListFields, which would copy the image's bytes.
    for name, kind in _messages_in(message.DESCRIPTOR):
        here = f"{path}.{name}" if path else name
        if kind is _Held.ONE:
            if message.HasField(name):
                refuse_unknown_fields(getattr(message, name), here)
            continue
        held = getattr(message, name)
        for one in held.values() if kind is _Held.BY_KEY else held:
            refuse_unknown_fields(one, here)


class _Held(Enum):
    """How a field holds messages."""

    ONE = 1
    SEVERAL = 2
    BY_KEY = 3


@cache
def _messages_in(kind: Descriptor) -> tuple[tuple[str, _Held], ...]:
    """The fields of a kind of message that hold messages."""
    found = []
    for field in kind.fields:
        if field.message_type is None:
            continue
        if field.has_presence:
            found.append((field.name, _Held.ONE))
        elif not field.message_type.GetOptions().map_entry:
            found.append((field.name, _Held.SEVERAL))
        elif field.message_type.fields_by_name["value"].message_type is not None:
            found.append((field.name, _Held.BY_KEY))
    return tuple(found)
