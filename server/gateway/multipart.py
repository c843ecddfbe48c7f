"""multipart/form-data as a stream of parts' beginnings and bytes; nothing is written to disk here.

`server.gateway.body` gathers the parts of small forms in memory, `server.gateway.batch_upload`
writes those of batches to disk.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from server.gateway.errors import BadRequest

MAX_NAME_CHARS = 512
MAX_HEADER_BYTES = 1 << 14  # of one part, all its headers together

# It warns of each damaged body in the log, which the caller's own answer says already.
logging.getLogger("python_multipart").setLevel(logging.ERROR)


@dataclass(frozen=True, slots=True)
class PartBegins:
    """A part's headers have been read.

    Attributes:
        name: of the field.
        filename: as the caller named the file; None for a plain field. Never a path to write to.
        content_type: as claimed, "" when it is not.
    """

    name: str
    filename: str | None
    content_type: str


@dataclass(frozen=True, slots=True)
class PartEnds:
    """The part is whole."""


Event = PartBegins | PartEnds | bytes


def boundary_of(content_type: str) -> bytes:
    """The boundary that a multipart body's header names.

    Raises:
        BadRequest: it names none.
    """
    _, parameters = parse_options_header(content_type)
    boundary = parameters.get(b"boundary", b"")
    if not boundary:
        raise BadRequest(
            "the Content-Type is multipart/form-data without a boundary: let the HTTP library set "
            "the header"
        )
    return boundary


async def parts(
    stream: AsyncGenerator[bytes, None], boundary: bytes, max_parts: int
) -> AsyncGenerator[Event, None]:
    """What is in the body, in order: for each part its beginning, its bytes in pieces, its end.

    Args:
        stream: the body as it comes, already limited; closed here.
        boundary: from `boundary_of`.
        max_parts: more of them are refused.

    Raises:
        BadRequest: the body is no multipart body, is cut off, or has too many parts.
    """
    reader = _Reader(max_parts)
    try:
        parser = MultipartParser(
            boundary,
            {
                "on_part_begin": reader.begin,
                "on_header_field": reader.field,
                "on_header_value": reader.value,
                "on_header_end": reader.header,
                "on_headers_finished": reader.headers,
                "on_part_data": reader.data,
                "on_part_end": reader.end,
                "on_end": reader.finish,
            },
        )
        async with aclosing(stream):
            async for chunk in stream:
                parser.write(chunk)
                for event in reader.drain():
                    yield event
        parser.finalize()
    except FormParserError as error:
        raise BadRequest(f"the body is no valid multipart/form-data ({error})") from None
    if not reader.is_whole:
        raise BadRequest("the multipart body is cut off: its closing boundary is missing")


class _Reader:
    """Turns the parser's callbacks into events."""

    def __init__(self, max_parts: int) -> None:
        self.is_whole = False
        self._left = max_parts
        self._max_parts = max_parts
        self._events: list[Event] = []
        self._headers: dict[bytes, bytes] = {}
        self._field = b""
        self._value = b""
        self._header_bytes = 0

    def drain(self) -> list[Event]:
        events, self._events = self._events, []
        return events

    def begin(self) -> None:
        if self._left == 0:
            raise BadRequest(f"the form has more than {self._max_parts} parts: send fewer")
        self._left -= 1
        self._headers = {}
        self._header_bytes = 0

    def field(self, data: bytes, start: int, end: int) -> None:
        self._count(end - start)
        self._field += data[start:end]

    def value(self, data: bytes, start: int, end: int) -> None:
        self._count(end - start)
        self._value += data[start:end]

    def header(self) -> None:
        self._headers[self._field.lower()] = self._value
        self._field = self._value = b""

    def headers(self) -> None:
        _, options = parse_options_header(self._headers.get(b"content-disposition", b""))
        name = _text(options.get(b"name", b""))
        if not name:
            raise BadRequest("a part of the form has no name: each needs name=... in its header")
        filename = options.get(b"filename")
        kind = _text(self._headers.get(b"content-type", b""))
        self._events.append(PartBegins(name, None if filename is None else _text(filename), kind))

    def data(self, data: bytes, start: int, end: int) -> None:
        self._events.append(data[start:end])

    def end(self) -> None:
        self._events.append(PartEnds())

    def finish(self) -> None:
        self.is_whole = True

    def _count(self, more: int) -> None:
        """Before they are gathered: joining a body's worth of header would hold up everyone."""
        self._header_bytes += more
        if self._header_bytes > MAX_HEADER_BYTES:
            raise BadRequest(
                f"a part of the form has more than {MAX_HEADER_BYTES} bytes of headers: send a "
                "name and a file name"
            )


def _text(raw: bytes) -> str:
    text = raw.decode("utf-8", errors="replace")
    if len(text) > MAX_NAME_CHARS:
        raise BadRequest(
            f"a name in the form has {len(text)} characters: use up to {MAX_NAME_CHARS}"
        )
    return text
