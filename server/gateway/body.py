"""A form, however it was sent: multipart, urlencoded or JSON, as fields and files in memory.

The APIs call `read_form`; which bytes may come at all is `server.gateway.intake`'s.
"""

from __future__ import annotations

import asyncio
import binascii
import json
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import aclosing
from dataclasses import dataclass, field
from urllib.parse import parse_qsl

from starlette.requests import Request

from server.gateway.errors import BadRequest, WrongMediaType
from server.gateway.intake import Hold, chunks, joined, whole
from server.gateway.long_text import LONG_BYTES, take_out
from server.gateway.multipart import PartBegins, PartEnds, boundary_of, parts

MAX_PARTS = 64
# A form that large holds a picture in base64, and taking it apart would stop the event loop.
ON_LOOP_BYTES = LONG_BYTES


@dataclass(frozen=True, slots=True)
class File:
    """A file of a form."""

    name: str  # as the caller calls it
    data: bytes
    content_type: str = ""


@dataclass(slots=True)
class Form:
    """Fields and files by name. One that is sent twice counts once, the last.

    What is too long for a field is a file, however it was sent.
    """

    fields: dict[str, str] = field(default_factory=dict)
    files: dict[str, File] = field(default_factory=dict)

    def text(self, name: str) -> str | None:
        """A field's value, None when it is missing or empty: clients send empty ones for unset."""
        value = self.fields.get(name, "").strip()
        if value:
            return value
        # Some clients put every field into a part with a file name.
        sent = self.files.get(name)
        if sent is None or not sent.data or len(sent.data) > ON_LOOP_BYTES:
            return None
        return sent.data.decode("utf-8", errors="replace").strip() or None

    def data(self, name: str) -> bytes:
        """The bytes of a file or field, empty when there is neither."""
        sent = self.files.get(name)
        return self.fields.get(name, "").encode() if sent is None else sent.data

    def refuse_others(self, known: Iterable[str]) -> None:
        """Nothing when every name is in `known`.

        Raises:
            BadRequest: one is not; an option is never ignored.
        """
        names = set(known)
        for name in (*self.fields, *self.files):
            if name not in names:
                raise BadRequest(
                    f"the field {name[:40]!r} is not known here: the fields are "
                    f"{', '.join(sorted(names))}"
                )


async def read_form(request: Request, max_bytes: int, hold: Hold) -> Form:
    """The request's fields and files.

    Args:
        request: not read yet.
        max_bytes: of its body.
        hold: takes room for it.

    Raises:
        WrongMediaType: the body is none of the three kinds.
        BadRequest: it is damaged.
        TooLarge, TooSlow, Overloaded, CallerGone: see `server.gateway.intake`.
    """
    content_type = request.headers.get("content-type", "")
    kind = content_type.partition(";")[0].strip().lower()
    if kind == "multipart/form-data":
        boundary = boundary_of(content_type)
        return await _gather(chunks(request, max_bytes, hold), boundary)
    if kind == "application/x-www-form-urlencoded":
        return await _taken_apart(await whole(request, max_bytes, hold), _urlencoded)
    if kind == "application/json":
        return await _taken_apart(await whole(request, max_bytes, hold), _json)
    if not kind and not await whole(request, max_bytes, hold):
        return Form()
    raise WrongMediaType(
        f"the Content-Type is {kind[:60] or 'missing'!r}: send multipart/form-data, "
        "application/x-www-form-urlencoded or application/json"
    )


async def _gather(stream: AsyncGenerator[bytes, None], boundary: bytes) -> Form:
    form = Form()
    begun: PartBegins | None = None
    pieces: list[bytes] = []
    async with aclosing(parts(stream, boundary, MAX_PARTS)) as events:
        async for event in events:
            if isinstance(event, PartBegins):
                begun, pieces = event, []
            elif isinstance(event, PartEnds):
                assert begun is not None
                _keep(form, begun, await joined(pieces))
            else:
                pieces.append(event)
    return form


def _keep(form: Form, begun: PartBegins, data: bytes) -> None:
    if begun.filename is not None or begun.content_type or len(data) > ON_LOOP_BYTES:
        form.files[begun.name] = File(begun.filename or "", data, begun.content_type)
        return
    try:
        form.fields[begun.name] = data.decode("utf-8")
    except UnicodeDecodeError:
        # A picture sent without a file name is still a picture.
        form.files[begun.name] = File("", data)


async def _taken_apart(data: bytes, read: Callable[[bytes], Form]) -> Form:
    if len(data) <= ON_LOOP_BYTES:
        return read(data)
    return await asyncio.to_thread(read, data)


def _urlencoded(data: bytes) -> Form:
    try:
        pairs = parse_qsl(
            data.decode("ascii"), keep_blank_values=True, max_num_fields=MAX_PARTS, errors="strict"
        )
    except (UnicodeDecodeError, ValueError) as error:
        raise BadRequest(f"the urlencoded form cannot be read ({error})") from None
    form = Form()
    for name, value in pairs:
        if len(value) > ON_LOOP_BYTES:
            form.files[name] = File("", value.encode())
        else:
            form.fields[name] = value
    return form


def read_json(data: bytes) -> object:
    """The JSON value in `data`.

    Raises:
        BadRequest: there is none.
    """
    try:
        value: object = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise BadRequest(f"the body is no JSON ({str(error)[:200]})") from None
    return value


def is_unicode(text: str) -> bool:
    """False for what JSON can spell and no encoding can carry."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _json(data: bytes) -> Form:
    data, taken = take_out(data)
    texts = {binascii.b2a_base64(marker, newline=False).decode(): taken[marker] for marker in taken}
    value = read_json(data)
    if not isinstance(value, dict):
        raise BadRequest("the JSON body is no object: send the parameters by name")
    form = Form()
    fields = form.fields
    for name, given in value.items():
        if not is_unicode(name) or (isinstance(given, str) and not is_unicode(given)):
            raise BadRequest("the JSON body holds half a surrogate pair, which is no text")
        if given is None:
            continue
        if isinstance(given, bool):
            fields[name] = "true" if given else "false"
        elif isinstance(given, str) and given in texts:
            form.files[name] = File("", texts[given])
        elif isinstance(given, str):
            fields[name] = given
        elif isinstance(given, int | float):
            fields[name] = str(given)
        else:
            raise BadRequest(f"the JSON field {name[:40]!r} is no text, number or boolean")
    return form
