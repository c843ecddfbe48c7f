"""The project's own API over HTTP, one to one with the messages: `/v1/remove`, `/v1/segment`,
`/v1/models`.

Options are protobuf's JSON form of RemoveOptions; pictures come as files of a form, as the whole
body, or as base64 in JSON. Routes are made by `server.gateway.gateway`.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import TypeVar

from google.protobuf import json_format
from google.protobuf.message import Message
from starlette.responses import JSONResponse, Response

from mattestream.v1 import image_pb2, models_pb2, options_pb2, removal_pb2
from server.gateway.answer import PictureAnswer, wants_json
from server.gateway.body import Form, is_unicode, read_form, read_json
from server.gateway.door import Door, Removed
from server.gateway.errors import BadRequest, WrongMediaType
from server.gateway.exchange import Exchange
from server.gateway.intake import whole
from server.gateway.long_text import LONG_BYTES, put_back, take_out
from server.gateway.pictures import size_of

REPORT = "X-Mattestream-Report"
RESULT = "X-Mattestream-Result"
# Proxies and clients take 8 KiB of headers together.
MAX_HEADER_CHARS = 5000
_OPTIONS = "options"
# Files of a form that stand for pictures within the options.
_FORM_FILES = ("background", "mask", "trimap")

M = TypeVar("M", bound=Message)
ListModels = Callable[[], Awaitable[models_pb2.ListModelsResponse]]


class OwnApi:
    """Handlers of `/v1/...`.

    Args:
        door: does the work.
        list_models: every model.
        max_body_bytes: of one request.
    """

    def __init__(self, door: Door, list_models: ListModels, max_body_bytes: int) -> None:
        self._door = door
        self._list_models = list_models
        self._max_body_bytes = max_body_bytes

    async def remove(self, exchange: Exchange) -> Response:
        """POST /v1/remove: a picture and options in, the result out."""
        asked = removal_pb2.RemoveRequest()
        picture = await self._read(exchange, asked, asked.options)
        image = asked.image if picture is None else picture
        exchange.weigh(await _megapixels(image))
        removed = await exchange.while_connected(self._door.remove(image, asked.options))
        try:
            if wants_json(exchange.request):
                return _json_answer(removed)
            return _picture_answer(removed)
        except BaseException:
            removed.release()
            raise

    async def segment(self, exchange: Exchange) -> Response:
        """POST /v1/segment: a picture in, its subjects out, as JSON."""
        asked = removal_pb2.SegmentRequest()
        picture = await self._read(exchange, asked, asked)
        if picture is not None:
            asked.image.encoded = picture
        exchange.weigh(await _megapixels(asked.image))
        segmented = await exchange.while_connected(self._door.segment(asked))
        try:
            body = json.dumps(to_json(segmented.response)).encode()
        except BaseException:
            segmented.release()
            raise
        return PictureAnswer(body, "application/json", {}, segmented.release)

    async def models(self, exchange: Exchange) -> Response:
        """GET /v1/models: every model, loaded or not."""
        return JSONResponse(to_json(await self._list_models()))

    async def _read(self, exchange: Exchange, asked: Message, options: Message) -> bytes | None:
        """The picture's bytes, or None where the request message holds the picture; fills the
        messages from whatever came.

        Args:
            exchange: its body not read yet.
            asked: the whole request message, for JSON bodies.
            options: the part of it that a form's JSON, or the query's, is read into.
        """
        request = exchange.request
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind == "application/json":
            data = await whole(request, self._max_body_bytes, exchange.hold)
            await _fill(asked, data)
            return None
        if kind == "multipart/form-data":
            form = await read_form(request, self._max_body_bytes, exchange.hold)
            form.refuse_others(("image", _OPTIONS, *_FORM_FILES))
            image = form.files.get("image")
            if image is None:
                raise BadRequest("the form has no file `image`: send the picture under that name")
            given = form.data(_OPTIONS)
            encoded = image.data
        elif kind.startswith("image/") or kind == "application/octet-stream":
            given = request.query_params.get(_OPTIONS, "").encode()
            encoded = await whole(request, self._max_body_bytes, exchange.hold)
            form = Form()
        else:
            raise WrongMediaType(
                f"the Content-Type is {kind[:60] or 'missing'!r}: send multipart/form-data with "
                "the files `image` and `options`, application/json, or the picture itself as "
                "image/*"
            )
        if given.strip():
            await _fill(options, given)
        _attach(form, options)
        return encoded


async def _fill(message: Message, data: bytes) -> None:
    """Reads `data`, protobuf's JSON form of it, into `message`; what is long in a thread."""
    if len(data) <= LONG_BYTES:
        from_json(read_json(data), message)
    else:
        await asyncio.to_thread(_fill_long, message, data)


def _fill_long(message: Message, data: bytes) -> None:
    data, taken = take_out(data)
    from_json(read_json(data), message)
    try:
        put_back(message, taken)
    except ValueError as error:
        raise BadRequest(f"the JSON holds base64 that is none ({error})") from None


def from_json(value: object, message: M) -> M:
    """`message`, filled from protobuf's JSON form of it.

    Raises:
        BadRequest: it is not of that form; the sentence names the field.
    """
    if not isinstance(value, dict):
        raise BadRequest(f"the JSON is no object: send a {message.DESCRIPTOR.name} as an object")
    try:
        json_format.ParseDict(value, message)
    except (json_format.Error, ValueError, TypeError, AttributeError, RecursionError) as error:
        # "Message type X has no field named Y at Z": protobuf's own words name the place.
        said = str(error).splitlines()[0][:300] if str(error) else type(error).__name__
        if not is_unicode(said):
            said = "half a surrogate pair, which is no text"
        raise BadRequest(f"the JSON is no {message.DESCRIPTOR.name}: {said}") from None
    return message


def to_json(message: Message) -> dict[str, object]:
    """Protobuf's JSON form of `message`, field names as in the contract."""
    made: dict[str, object] = json_format.MessageToDict(message, preserving_proto_field_name=True)
    return made


def _attach(form: Form, options: Message) -> None:
    """Puts the form's further files where the options have pictures."""
    subject = getattr(options, "subject", None)
    for name in _FORM_FILES:
        file = form.files.get(name)
        if file is None:
            continue
        if name == "background":
            if not isinstance(options, options_pb2.RemoveOptions):
                raise BadRequest("a background means nothing here: send no file `background`")
            options.background.image.image.encoded = file.data
        elif subject is not None:
            getattr(subject, name).encoded = file.data


async def _megapixels(image: bytes | image_pb2.Image) -> float:
    if isinstance(image, bytes):
        return (await size_of(image)).megapixels
    kind = image.WhichOneof("source")
    if kind == "encoded":
        return (await size_of(image.encoded)).megapixels
    if kind == "raw":
        return image.raw.layout.width * image.raw.layout.height / 1e6
    return 0.0


def _json_answer(removed: Removed) -> Response:
    response = removal_pb2.RemoveResponse(result=removed.result, report=removed.report)
    body = json.dumps(to_json(response)).encode()
    return PictureAnswer(body, "application/json", {}, removed.release)


def _picture_answer(removed: Removed) -> Response:
    result = removed.result
    described = image_pb2.Result()
    described.CopyFrom(result)
    match result.WhichOneof("data"):
        case "encoded":
            data, media_type = result.encoded.data, result.encoded.media_type
            described.encoded.data = b""
        case "raw":
            data, media_type = result.raw.data, "application/octet-stream"
            described.raw.data = b""
        case "tensor":
            data, media_type = result.tensor.data, "application/octet-stream"
            described.tensor.data = b""
        case _:  # run lengths are text
            return _json_answer(removed)
    report = to_json(removed.report)
    if len(json.dumps(report)) > MAX_HEADER_CHARS:
        report.pop("notes", None)
    headers = {REPORT: json.dumps(report), RESULT: json.dumps(to_json(described))}
    return PictureAnswer(data, media_type, headers, removed.release)
