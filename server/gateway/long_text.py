"""Pictures in base64, taken apart in pieces: no single call holds the interpreter for long.

Python's JSON and base64 readers keep every other thread waiting, the gRPC event loop's too, until
they are through: 57 and 101 ms for a picture of 30 MB. So long texts are taken out of a JSON before
it is parsed, and decoded piece by piece. Called in worker threads by `server.gateway.body` and the
APIs.
"""

from __future__ import annotations

import binascii
import secrets
import string
from collections.abc import Mapping

from google.protobuf.message import Message

LONG_BYTES = 1 << 18  # what is shorter may be parsed on the event loop
_PIECE_BYTES = 1 << 19  # 1 to 2 ms; a multiple of 4
_LETTERS = (string.ascii_letters + string.digits + "+/-_=").encode()
_BLANKS = b" \t\r\n"
_URL_SAFE = bytes.maketrans(b"-_", b"+/")


def take_out(json: bytes) -> tuple[bytes, dict[bytes, bytes]]:
    """The JSON with every long base64 text replaced by a short one of our own, and those texts by
    what their stand-ins mean in base64.

    Nothing else is touched: what was no JSON is none afterwards. A text with escapes stays.
    """
    parts, taken = [], {}
    done, probe = 0, LONG_BYTES // 2  # some probe lies in every long text
    while probe < len(json):
        opened, closed = json.rfind(b'"', done, probe), json.find(b'"', probe)
        if opened < 0 or closed < 0:
            probe += LONG_BYTES // 2
            continue
        text = json[opened + 1 : closed]
        if len(text) >= LONG_BYTES and _is_base64(text):
            marker = secrets.token_bytes(24)  # nobody can send it
            parts += [json[done : opened + 1], binascii.b2a_base64(marker, newline=False)]
            taken[marker] = text
            done = closed
        probe = max(closed + 1, probe + LONG_BYTES // 2)
    parts.append(json[done:])
    return b"".join(parts), taken


def put_back(message: Message, taken: Mapping[bytes, bytes]) -> None:
    """Fills the bytes fields that hold a stand-in, however deep, with what it stands for.

    Raises:
        ValueError: a text is no base64.
    """
    for field, value in message.ListFields():
        if field.type == field.TYPE_MESSAGE:
            for inner in value if field.is_repeated else (value,):
                put_back(inner, taken)
        elif field.type == field.TYPE_BYTES and not field.is_repeated and value in taken:
            setattr(message, field.name, decode(taken[value].translate(_URL_SAFE)))


def decode(text: bytes) -> bytes:
    """The bytes that base64 `text` means; line breaks and missing padding are forgiven.

    Raises:
        ValueError: it is no base64.
    """
    plain = b"".join(piece.translate(None, _BLANKS) for piece in _pieces(text))
    plain += b"=" * (-len(plain) % 4)
    decoded: list[bytes] = []
    for piece in _pieces(plain):
        if decoded and len(decoded[-1]) % 3:
            raise ValueError("there is something after the padding")
        decoded.append(binascii.a2b_base64(piece, strict_mode=True))
    return b"".join(decoded)


def _is_base64(text: bytes) -> bool:
    return not any(piece.translate(None, _LETTERS) for piece in _pieces(text))


def _pieces(data: bytes) -> list[bytes]:
    return [data[at : at + _PIECE_BYTES] for at in range(0, len(data), _PIECE_BYTES)]
