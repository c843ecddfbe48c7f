"""rembg's API, so that its users can switch: `/api/remove`, GET with a URL and POST with a file.

Always a PNG, errors as `{"detail": ...}`, parameters by rembg's names in the query or the form.
Routes are made by `server.gateway.gateway`; docs/http.md says what each parameter becomes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import TypeVar

from starlette.responses import JSONResponse, Response

from mattestream.v1 import options_pb2
from models.errors import ModelNotFound
from server.gateway.answer import PictureAnswer
from server.gateway.body import Form, read_form
from server.gateway.door import Door
from server.gateway.errors import BadRequest, Failure
from server.gateway.exchange import Exchange
from server.gateway.fetch import Fetcher
from server.gateway.pictures import size_of
from server.model_host import ModelNotLoaded

T = TypeVar("T")

# Without `ppm` rembg's mask is soft; with it, it is opened by 3x3, blurred and cut at one half.
_CUT_AT = 0.5
_SPECKS_PX = 9
_BOOLS = {
    **dict.fromkeys(("true", "1", "on", "yes", "t", "y"), True),
    **dict.fromkeys(("false", "0", "off", "no", "f", "n"), False),
}
_POINTS = "sam_prompt"
# Models by rembg's name where ours is another. Its `sam` is asked with points, which the server's
# own promptable model answers as well.
_MODELS = {"u2net_human_seg": "u2net-human-seg", "sam": ""}


class RembgApi:
    """Handlers of `/api/remove`.

    Args:
        door: does the work.
        fetcher: brings what GET names.
        max_body_bytes: of one request.
    """

    def __init__(self, door: Door, fetcher: Fetcher, max_body_bytes: int) -> None:
        self._door = door
        self._fetcher = fetcher
        self._max_body_bytes = max_body_bytes

    async def by_url(self, exchange: Exchange) -> Response:
        """GET /api/remove?url=..."""
        query = exchange.request.query_params
        url = query.get("url")
        if not url:
            raise BadRequest("there is no url: name the picture as /api/remove?url=...")
        options = read_options(query)
        return await self._remove(exchange, await self._fetcher.fetch(url, exchange.hold), options)

    async def by_file(self, exchange: Exchange) -> Response:
        """POST /api/remove with the form's file `file`."""
        form: Form = await read_form(exchange.request, self._max_body_bytes, exchange.hold)
        file = form.files.get("file")
        if file is None:
            raise BadRequest("the form has no file `file`: send the picture under that name")
        # rembg reads most from the form and two from the query; here either will do.
        fields = {name: form.text(name) or "" for name in (*form.fields, *form.files)}
        options = read_options({**exchange.request.query_params, **fields})
        return await self._remove(exchange, file.data, options)

    async def _remove(
        self, exchange: Exchange, image: bytes, options: options_pb2.RemoveOptions
    ) -> Response:
        exchange.weigh((await size_of(image)).megapixels)
        try:
            removed = await exchange.while_connected(self._door.remove(image, options))
        except (ModelNotLoaded, ModelNotFound) as error:
            raise type(error)(f"{error}; without `model` this server's default is used") from None
        encoded = removed.result.encoded
        return PictureAnswer(encoded.data, encoded.media_type, {}, removed.release)


def rembg_words(failure: Failure, request_id: str) -> JSONResponse:
    """`{"detail": ...}`, as rembg's framework words it."""
    return JSONResponse({"detail": failure.message}, failure.status)


def read_options(given: Mapping[str, str]) -> options_pb2.RemoveOptions:
    """The options that rembg's parameters stand for; names that rembg does not have are ignored.

    Raises:
        BadRequest: a value makes no sense, or asks for what is not done here.
    """
    options = options_pb2.RemoveOptions(format=options_pb2.FORMAT_PNG)
    model = given.get("model", "").strip()
    options.model = _MODELS.get(model, model)
    for name, high in (("af", 255), ("ab", 255), ("ae", 10_000)):
        _read(given, name, lambda text, high=high: _whole(text, high), 0)  # type: ignore[misc]
    if _read(given, "a", _bool, False) or _read(given, "vm", _bool, False):
        options.edges.refine = options_pb2.REFINE_BEST
    if _read(given, "ppm", _bool, False):
        options.edges.threshold = _CUT_AT
        options.edges.remove_specks_px = _SPECKS_PX
    only_mask = _read(given, "om", _bool, False)
    if only_mask:
        options.output = options_pb2.OUTPUT_ALPHA
    elif _read(given, "dc", _bool, False):
        options.foreground.decontaminate = 1.0
    color = _read(given, "bgc", _color, "")
    if color and not only_mask:
        options.output = options_pb2.OUTPUT_COMPOSITE
        options.background.color = color
    _read_extras(given.get("extras", ""), options)
    return options


def _read(given: Mapping[str, str], name: str, read: Callable[[str], T], default: T) -> T:
    text = given.get(name, "").strip()
    if not text:
        return default
    try:
        return read(text)
    except ValueError as error:
        raise BadRequest(f"{name} is {text[:60]!r}: {error}") from None


def _bool(text: str) -> bool:
    if text.lower() not in _BOOLS:
        raise ValueError("it must be true or false")
    return _BOOLS[text.lower()]


def _whole(text: str, high: int) -> int:
    if not text.isascii() or not text.isdigit() or int(text[:9]) > high:
        raise ValueError(f"it must be a whole number from 0 to {high}")
    return int(text)


def _color(text: str) -> str:
    words = text.split(",")
    if len(words) not in {3, 4}:
        raise ValueError("it must be red, green, blue and alpha as 0 to 255, with commas")
    return "#" + "".join(f"{_whole(word.strip(), 255):02x}" for word in words)


def _read_extras(text: str, options: options_pb2.RemoveOptions) -> None:
    """Rembg's `extras`: of what it may hold, the points and boxes of a prompt."""
    if not text:
        return
    try:
        extras = json.loads(text)
    except (ValueError, RecursionError):
        raise BadRequest("extras is no JSON: send an object, or leave it out") from None
    if not isinstance(extras, dict) or set(extras) - {_POINTS}:
        raise BadRequest(
            f"extras holds something else than {_POINTS}: models are chosen by `model` here, and "
            "no path or key of a caller's is used"
        )
    marks = extras.get(_POINTS, [])
    for mark in marks if isinstance(marks, list) else [None]:
        _add_mark(mark, options)


def _add_mark(mark: object, options: options_pb2.RemoveOptions) -> None:
    try:
        assert isinstance(mark, dict)
        numbers = [float(number) for number in mark["data"]]
        if mark["type"] == "point":
            x, y = numbers
            options.subject.points.add(x=x, y=y, exclude=int(mark.get("label", 1)) == 0)
        elif mark["type"] == "rectangle":
            left, top, right, bottom = numbers
            box = options_pb2.Box(left=left, top=top, right=right, bottom=bottom)
            options.subject.box.CopyFrom(box)
        else:
            raise ValueError
    except (AssertionError, KeyError, TypeError, ValueError, OverflowError):
        raise BadRequest(
            f"extras.{_POINTS} holds something else than points and rectangles: each is "
            '{"type": "point", "data": [x, y], "label": 1} or {"type": "rectangle", "data": '
            "[left, top, right, bottom]}"
        ) from None
