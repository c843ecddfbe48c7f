"""What remove.bg's foreign clients send, byte for byte: these run where there is no npm and no net.

Recorded from the clients themselves (`test_foreign_clients` runs those where they can be had), with
the picture, its length and the key filled in here. Each differs in something that a server may trip
over: npm's `remove.bg` ends its form without a line break, PyPI's names no type for its file.
"""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from PIL import Image

from tests.gateway.serving import KEY, Gateway, Open, in_base64, keys_file
from tests.server.fakes import picture

PHOTO = picture(960, 640)
DASHES = "-" * 26


@pytest.fixture
async def it(open_gateway: Open, tmp_path: Path) -> AsyncIterator[Gateway]:
    async with open_gateway(port=True, api_keys_file=keys_file(tmp_path)) as running:
        yield running


async def exchanged(it: Gateway, head: str, body: bytes) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of what a raw request is answered with."""
    reader, writer = await asyncio.open_connection("127.0.0.1", it.http.port)
    lines = head.format(length=len(body), key=KEY, host=f"127.0.0.1:{it.http.port}").splitlines()
    writer.write("\r\n".join([*lines, "", ""]).encode() + body)
    answered = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").splitlines()
    headers = {
        name.lower(): value for name, _, value in (line.partition(": ") for line in answered[1:])
    }
    data = await reader.readexactly(int(headers["content-length"]))
    writer.close()
    await writer.wait_closed()
    return int(answered[0].split()[1]), headers, data


def size_of(data: bytes) -> tuple[str | None, tuple[int, int]]:
    with Image.open(io.BytesIO(data)) as image:
        return image.format, image.size


def form(*parts: tuple[str, bytes], boundary: str, end: str) -> bytes:
    """A multipart body: what stands between name and value is the client's own."""
    pieces = [
        f"--{boundary}\r\nContent-Disposition: form-data; name={head}\r\n\r\n".encode() + value
        for head, value in parts
    ]
    return b"\r\n".join([*pieces, f"--{boundary}--{end}".encode()])


NPM_HEAD = """POST /v1.0/removebg HTTP/1.1
X-Api-Key: {key}
Accept: application/json
Content-Type: application/json
host: {host}
content-length: {length}
Connection: keep-alive"""


async def test_npms_remove_bg_with_a_file_ends_its_form_without_a_line_break(it: Gateway) -> None:
    boundary = DASHES + "873539860962639392664354"
    head = f"""POST /v1.0/removebg HTTP/1.1
content-type: multipart/form-data; boundary={boundary}
x-api-key: {{key}}
accept: application/json
Host: {{host}}
Content-Length: {{length}}
Connection: keep-alive"""
    body = form(
        ('"size"', b"auto"),
        ('"type"', b"person"),
        ('"crop"', b"false"),
        ('"image_file"; filename="photo.jpg"\r\nContent-Type: image/jpeg', PHOTO),
        boundary=boundary,
        end="",
    )
    status, headers, data = await exchanged(it, head, body)
    assert status == 200, data
    assert (headers["x-type"], headers["x-width"], headers["x-height"]) == ("person", "960", "640")
    assert "result_b64" in json.loads(data)["data"]


async def test_npms_remove_bg_with_base64_sends_json_with_a_boolean(it: Gateway) -> None:
    body = '{{"size":"auto","type":"auto","crop":false,"image_file_b64":"{}"}}'
    status, headers, _ = await exchanged(it, NPM_HEAD, body.format(in_base64(PHOTO)).encode())
    assert status == 200
    assert headers["x-width"] == "960"


async def test_npms_remove_bg_with_a_url_hears_that_none_is_fetched(it: Gateway) -> None:
    body = b'{"size":"preview","type":"auto","crop":false,"image_url":"http://a.example/a.jpg"}'
    status, _, data = await exchanged(it, NPM_HEAD, body)
    assert status == 501
    (error,) = json.loads(data)["errors"]
    assert set(error) == {"title", "detail", "code"}


async def test_npms_removebg_wrapper_sends_the_file_before_the_fields(it: Gateway) -> None:
    boundary = DASHES + "447718942400234099144564"
    head = f"""POST /v1.0/removebg HTTP/1.1
X-Api-Key: {{key}}
host: {{host}}
content-type: multipart/form-data; boundary={boundary}
content-length: {{length}}
Connection: keep-alive"""
    image = '"image_file"; filename="photo.jpg"\r\nContent-Type: image/jpeg'
    body = form((image, PHOTO), ('"size"', b"auto"), boundary=boundary, end="\r\n")
    status, _, data = await exchanged(it, head, body)
    assert status == 200
    assert size_of(data) == ("PNG", (960, 640))


PYPI_HEAD = """HTTP/1.1
Host: {{host}}
User-Agent: python-requests/2.34.2
Accept-Encoding: gzip, deflate, br
Accept: */*
Connection: keep-alive
X-Api-Key: {{key}}"""


async def test_pypis_removebg_names_no_type_for_its_file(it: Gateway) -> None:
    boundary = "8669b89c6c542667fed9ecbee7017e9f"
    head = f"""POST /v1.0/removebg {PYPI_HEAD.format()}
Content-Length: {{length}}
Content-Type: multipart/form-data; boundary={boundary}"""
    image = ('"image_file"; filename="photo.jpg"', PHOTO)
    body = form(('"size"', b"regular"), image, boundary=boundary, end="\r\n")
    status, _, data = await exchanged(it, head, body)
    assert status == 200
    assert size_of(data) == ("PNG", (612, 408))


async def test_pypis_removebg_cli_sends_its_defaults_and_asks_for_the_account(it: Gateway) -> None:
    boundary = "4693e39f3bf69c27108c7d945e391510"
    head = f"""POST /v1.0/removebg {PYPI_HEAD.format()}
Content-Length: {{length}}
Content-Type: multipart/form-data; boundary={boundary}"""
    fields = [("size", "auto"), ("format", "png"), ("type", "auto"), ("bg_color", "white")]
    body = form(
        *((f'"{name}"', value.encode()) for name, value in fields),
        ('"image_file"; filename="photo.jpg"', PHOTO),
        boundary=boundary,
        end="\r\n",
    )
    status, _, data = await exchanged(it, head, body)
    assert status == 200
    assert size_of(data) == ("PNG", (960, 640))
    status, _, data = await exchanged(it, f"GET /v1.0/account {PYPI_HEAD.format()}", b"")
    assert status == 200
    assert json.loads(data)["data"]["attributes"]["api"]["free_calls"] > 0
