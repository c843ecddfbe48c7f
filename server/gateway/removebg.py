"""remove.bg's API, so that its callers change the address and nothing else: `/v1.0/removebg`,
`/v1.0/account`, `/v1.0/improve`.

What each parameter means is `server.gateway.removebg_parameters`'; docs/removebg.md holds what
differs. Routes are made by `server.gateway.gateway`.
"""

from __future__ import annotations

import asyncio
import base64
import json

from starlette.responses import JSONResponse, Response

from mattestream.v1 import options_pb2, report_pb2
from server.admission import NeverFits
from server.codecs import errors as codecs
from server.gateway.answer import PictureAnswer, wants_json
from server.gateway.body import Form, read_form
from server.gateway.door import Door, Removed
from server.gateway.errors import BadRequest, Failure
from server.gateway.exchange import Exchange
from server.gateway.fetch import BadUrl, Fetcher, FetchFailed
from server.gateway.intake import Hold
from server.gateway.long_text import LONG_BYTES, decode
from server.gateway.pictures import Size, size_of
from server.gateway.removebg_parameters import MAX_PNG_MP, Wish, read_wish
from server.shrink import size_within

# Nothing is sold here. Clients warn below some number of credits, so there are always many.
CREDITS = 1_000_000
_SOURCES = ("image_file", "image_file_b64", "image_url")


class RemoveBgApi:
    """Handlers of `/v1.0/...`.

    Args:
        door: does the work.
        fetcher: brings `image_url` and `bg_image_url`.
        max_body_bytes: of one request.
    """

    def __init__(self, door: Door, fetcher: Fetcher, max_body_bytes: int) -> None:
        self._door = door
        self._fetcher = fetcher
        self._max_body_bytes = max_body_bytes

    async def remove(self, exchange: Exchange) -> Response:
        """POST /v1.0/removebg."""
        form = await read_form(exchange.request, self._max_body_bytes, exchange.hold)
        wish = read_wish(form)
        image = await self._source(form, exchange.hold)
        source = await size_of(image)
        options = wish.options(source)
        exchange.weigh(source.megapixels)
        if wish.has_picture:
            options.background.image.image.encoded = await self._background(form, exchange.hold)
        removed = await exchange.while_connected(self._door.remove(image, options))
        try:
            return _answer(removed, wish, source, as_json=wants_json(exchange.request))
        except BaseException:
            removed.release()
            raise

    async def account(self, exchange: Exchange) -> Response:
        """GET /v1.0/account: credits without end."""
        credits_ = {"total": CREDITS, "subscription": 0, "payg": CREDITS, "enterprise": 0}
        attributes = {"credits": credits_, "api": {"free_calls": CREDITS, "sizes": "all"}}
        return JSONResponse({"data": {"attributes": attributes}})

    async def improve(self, exchange: Exchange) -> Response:
        """POST /v1.0/improve: thanks, and nothing is kept."""
        form = await read_form(exchange.request, self._max_body_bytes, exchange.hold)
        await size_of(await self._source(form, exchange.hold))
        return JSONResponse(
            {
                "id": exchange.call.request_id,
                "kept": False,
                "detail": "the picture was not kept: this server learns nothing from its callers",
            }
        )

    async def _source(self, form: Form, hold: Hold) -> bytes:
        """The picture's bytes, from whichever of the three ways."""
        given = [name for name in _SOURCES if form.text(name) or _file(form, name)]
        if not given:
            raise BadRequest(
                f"there is no picture: send one of {', '.join(_SOURCES)}", reason="missing_source"
            )
        if len(given) > 1:
            raise BadRequest(
                f"there are {len(given)} pictures ({', '.join(given)}): send one of them",
                reason="multiple_sources",
            )
        if given[0] == "image_file":
            return _file(form, "image_file") or form.fields["image_file"].encode()
        if given[0] == "image_file_b64":
            text = _file(form, given[0]) or form.fields[given[0]].encode()
            if len(text) <= LONG_BYTES:
                return _from_base64(text)
            return await asyncio.to_thread(_from_base64, text)
        return await self._fetched(form.text("image_url") or "", "image", hold)

    async def _background(self, form: Form, hold: Hold) -> bytes:
        url = form.text("bg_image_url")
        if url is None:
            picture = _file(form, "bg_image_file")
        else:
            picture = await self._fetched(url, "bg", hold)
        try:
            await size_of(picture)
        except codecs.ImageRejected as error:
            raise BadRequest(f"the background: {error}", reason=_word_of(error)) from None
        return picture

    async def _fetched(self, url: str, what: str, hold: Hold) -> bytes:
        try:
            return await self._fetcher.fetch(url, hold)
        except BadUrl as error:
            word = "invalid_image_url" if what == "image" else "invalid_bg_image_url"
            raise BadRequest(str(error), reason=word) from None
        except FetchFailed as error:
            raise BadRequest(str(error), reason=error.reason or f"failed_{what}_download") from None


def remove_bg_words(failure: Failure, request_id: str) -> JSONResponse:
    """`{"errors": [{"title", "detail", "code"}]}`; a bad key is 403 and not 401, as there."""
    status = failure.status
    if status in {401, 413, 415}:
        status = 403 if status == 401 else 400
    title, _, detail = failure.message.partition(": ")
    error = {"title": title, "detail": detail or failure.message, "code": _word(failure)}
    return JSONResponse({"errors": [error]}, status)


# By kind of error; the nearest base class decides.
_WORDS: dict[type[Exception], str] = {
    codecs.NotAnImage: "invalid_file_type",
    codecs.CodecMissing: "invalid_file_type",
    codecs.ImageTooLarge: "resolution_too_high",
    NeverFits: "resolution_too_high",
    codecs.ImageRejected: "failed_to_read_image",
}
_WORDS_OF_STATUS = {
    401: "auth_failed",
    403: "auth_failed",
    404: "not_found",
    408: "request_timeout",
    413: "file_too_large",
    415: "invalid_content_type",
    429: "rate_limit_exceeded",
    501: "not_built",
    503: "unavailable",
    504: "timeout",
}


def _word(failure: Failure) -> str:
    otherwise = "internal_error" if failure.is_internal else "invalid_parameter"
    return (
        failure.reason or _word_of(failure.error) or _WORDS_OF_STATUS.get(failure.status, otherwise)
    )


def _word_of(error: Exception) -> str:
    """The word for that kind of error, "" where there is none."""
    return next((_WORDS[kind] for kind in type(error).__mro__ if kind in _WORDS), "")


def _file(form: Form, name: str) -> bytes:
    file = form.files.get(name)
    return b"" if file is None else file.data


def _from_base64(text: bytes) -> bytes:
    """The bytes; a data URI's head, line breaks and missing padding are forgiven."""
    if text[:5].lower() == b"data:":
        text = text.partition(b",")[2]
    try:
        return decode(text)
    except ValueError:
        raise BadRequest(
            "image_file_b64 is no base64: send the file's bytes in the standard alphabet",
            reason="failed_to_read_image",
        ) from None


def _answer(removed: Removed, wish: Wish, source: Size, *, as_json: bool) -> Response:
    report, result = removed.report, removed.result
    if report.no_subject:
        raise BadRequest(
            "no subject was found in the picture: send one in which it is larger or clearer",
            reason="unknown_foreground",
        )
    place = _foreground(report)
    largest = size_within(source.width, source.height, MAX_PNG_MP if wish.packed == "png" else 25.0)
    headers = {
        "X-Credits-Charged": "0",
        "X-Width": str(result.width),
        "X-Height": str(result.height),
        "X-Max-Width": str(largest[0]),
        "X-Max-Height": str(largest[1]),
        **{f"X-Foreground-{name.title()}": str(value) for name, value in place.items()},
    }
    if wish.x_type:
        headers["X-Type"] = wish.x_type
    data = result.encoded.data
    if not as_json:
        return PictureAnswer(data, result.encoded.media_type, headers, removed.release)
    found = {f"foreground_{name}": value for name, value in place.items()}
    body = {"data": {"result_b64": base64.b64encode(data).decode("ascii"), **found}}
    return PictureAnswer(json.dumps(body).encode(), "application/json", headers, removed.release)


def _foreground(report: report_pb2.Report) -> dict[str, int]:
    """Where the subject stood before anything was cropped, in pixels at the answer's resolution."""
    box: options_pb2.Box = report.subject_box
    return {
        "top": round(box.top),
        "left": round(box.left),
        "width": round(box.right - box.left),
        "height": round(box.bottom - box.top),
    }
