"""Pictures by URL: which addresses are refused, that a name is looked up once, redirects, limits.

The servers that pictures are fetched from are real ones on the loopback, which the fetchers of
these tests are allowed to reach; no setting of the server does that.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from ipaddress import ip_address
from typing import Any

import pytest

from server.gateway.addresses import is_public
from server.gateway.errors import NotOffered
from server.gateway.fetch import BadUrl, Fetcher, FetchFailed
from server.gateway.intake import Hold, Room
from tests.gateway.serving import LOOPBACK, Open
from tests.server.fakes import picture


@pytest.mark.parametrize(
    "text",
    [
        "127.0.0.1",
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "0.0.0.0",
        "224.0.0.1",
        "255.255.255.255",
        "198.18.0.1",
        "192.0.2.1",
        "::",
        "::1",
        "::127.0.0.1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "::ffff:169.254.169.254",
        "64:ff9b::7f00:1",
        "2002:7f00:1::",
        "2001::1",
        "2001:db8::1",
        "fc00::1",
        "fd12::1",
        "fe80::1",
        "fe80::1%eth0",
        "fec0::1",
        "ff02::1",
    ],
)
def test_an_address_of_our_own_is_refused(text: str) -> None:
    assert not is_public(ip_address(text))


@pytest.mark.parametrize("text", ["1.1.1.1", "93.184.215.14", "2606:4700::1111", "::ffff:8.8.8.8"])
def test_a_public_address_is_not(text: str) -> None:
    assert is_public(ip_address(text))


Answer = Callable[[bytes], bytes]


@asynccontextmanager
async def web(answer: Answer) -> AsyncIterator[tuple[str, list[bytes]]]:
    """A server that gives `answer(request)`; its address, and the requests it has seen."""
    seen: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked = await reader.readuntil(b"\r\n\r\n")
        seen.append(asked)
        writer.write(answer(asked))
        try:
            await writer.drain()
            await reader.read()
        except ConnectionError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", seen
    finally:
        server.close()
        await server.wait_closed()


def fetcher(**settings: Any) -> Fetcher:
    return Fetcher(**{"is_allowed": True, "max_bytes": 100_000, "reachable": LOOPBACK, **settings})


def hold() -> Hold:
    return Hold(Room(1 << 20))


def ok(body: bytes, head: bytes = b"") -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n%s\r\n%s" % (len(body), head, body)


def redirect(to: str) -> bytes:
    return f"HTTP/1.1 302 Found\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n".encode()


async def test_a_picture_is_fetched_without_telling_who_asks() -> None:
    async with web(lambda _: ok(b"picture")) as (url, seen):
        assert await fetcher().fetch(f"{url}/a.jpg?x=1", hold()) == b"picture"
    assert seen[0].startswith(b"GET /a.jpg?x=1 HTTP/1.1\r\n")
    assert b"cookie" not in seen[0].lower()


async def test_nothing_is_fetched_unless_allowed() -> None:
    with pytest.raises(NotOffered, match="--allow-url-fetch"):
        await fetcher(is_allowed=False).fetch("http://127.0.0.1/", hold())


async def test_the_loopback_is_refused_outside_of_tests() -> None:
    async with web(lambda _: ok(b"secret")) as (url, seen):
        for target in (url, url.replace("127.0.0.1", "localhost"), "http://[::ffff:127.0.0.1]/"):
            with pytest.raises((BadUrl, FetchFailed)):
                await fetcher(reachable=()).fetch(target, hold())
        assert not seen


@pytest.mark.parametrize(
    "host", ["127.1", "2130706433", "0x7f.1", "0177.0.0.1", "localhost", "[::1]", "0"]
)
async def test_other_spellings_of_the_loopback_are_refused(host: str) -> None:
    with pytest.raises((BadUrl, FetchFailed)):
        await fetcher(reachable=()).fetch(f"http://{host}/", hold())


async def test_a_redirect_to_our_own_network_is_refused() -> None:
    async with web(lambda _: redirect("http://169.254.169.254/latest/meta-data")) as (url, _):
        with pytest.raises(BadUrl, match="public internet"):
            await fetcher().fetch(url, hold())


async def test_a_redirect_is_followed_and_counted() -> None:
    def answer(asked: bytes) -> bytes:
        return ok(b"there") if b"/2" in asked else redirect("/2")

    async with web(answer) as (url, seen):
        assert await fetcher().fetch(url, hold()) == b"there"
        assert len(seen) == 2
    async with web(lambda _: redirect("/again")) as (url, seen):
        with pytest.raises(FetchFailed, match="redirects more than 3"):
            await fetcher().fetch(url, hold())
        assert len(seen) == 4


async def test_a_redirect_to_another_kind_of_address_is_refused() -> None:
    async with web(lambda _: redirect("file:///etc/passwd")) as (url, _):
        with pytest.raises(BadUrl, match="http://"):
            await fetcher().fetch(url, hold())


async def test_a_name_is_resolved_once_and_its_address_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[str] = []
    async with web(lambda _: ok(b"pinned")) as (url, seen):
        port = int(url.rpartition(":")[2])
        loop = asyncio.get_running_loop()

        async def resolve(host: str, port: int, **_: object) -> list[object]:
            asked.append(host)
            # Whoever looked a second time would get another answer.
            address = "127.0.0.1" if len(asked) == 1 else "10.0.0.1"
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]

        real = loop.getaddrinfo

        async def either(host: Any, port: Any, **more: Any) -> Any:
            if host == "pictures.example":
                return await resolve(host, port)
            return await real(host, port, **more)

        monkeypatch.setattr(loop, "getaddrinfo", either)
        assert await fetcher().fetch(f"http://pictures.example:{port}/", hold()) == b"pinned"
    assert asked == ["pictures.example"]
    assert f"host: pictures.example:{port}".encode() in seen[0].lower()


async def test_one_private_address_among_a_names_is_enough(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def resolve(*_: object, **__: object) -> list[object]:
        return [
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 80))
            for address in ("1.1.1.1", "10.0.0.1")
        ]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", resolve)
    with pytest.raises(BadUrl, match="public internet"):
        await fetcher(reachable=()).fetch("http://both.example/", hold())


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (ok(b"x" * 100_001), "more than 100000 bytes"),
        (b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 100_001, "more than 100000 bytes"),
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", "answered 404"),
        (ok(b"x", b"Content-Encoding: gzip\r\n"), "compressed"),
        (b"nonsense\r\n\r\n", "cannot be fetched"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"y" * 40_000, "cannot be fetched"),
    ],
)
async def test_an_answer_that_is_no_picture_gets_a_sentence(answer: bytes, sentence: str) -> None:
    async with web(lambda _: answer) as (url, _):
        with pytest.raises(FetchFailed, match=sentence):
            await fetcher().fetch(url, hold())


async def test_a_server_that_says_nothing_is_left() -> None:
    async with web(lambda _: b"") as (url, _):
        with pytest.raises(FetchFailed, match=r"longer than 0\.05 s"):
            await fetcher(timeout_s=0.05).fetch(url, hold())


@pytest.mark.parametrize(
    "url",
    [
        "",
        "ftp://a.b/c",
        "file:///etc/passwd",
        "gopher://a",
        "http://",
        "http://user:word@a.b/",
        "http://a.b/\r\nX: y",
        "http://a.b/ c",
        "http://[::1",
        "http://a.b:99999/",
        "http://a.b:22/",
        "http://é.example/",
        "http://a.b/" + "x" * 3000,
    ],
)
async def test_what_is_no_url_is_refused(url: str) -> None:
    with pytest.raises(BadUrl):
        await fetcher(reachable=()).fetch(url, hold())


async def test_image_url_works_end_to_end_where_it_is_allowed(open_gateway: Open) -> None:
    async with (
        web(lambda _: ok(picture())) as (url, _),
        open_gateway(allow_url_fetch=True, reachable=LOOPBACK) as it,
    ):
        fields = {"image_url": f"{url}/a.jpg", "size": "auto"}
        response = await it.client.post("/v1.0/removebg", data=fields)
        assert response.status_code == 200, response.text
        rembg = await it.client.get("/api/remove", params={"url": f"{url}/a.jpg"})
        assert rembg.status_code == 200


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("ftp://a.b/c", "invalid_image_url"),
        ("http://169.254.169.254/", "invalid_image_url"),
        ("http://no.such.host.invalid/", "failed_image_download"),
    ],
)
async def test_remove_bg_has_a_word_for_it(open_gateway: Open, url: str, code: str) -> None:
    async with open_gateway(allow_url_fetch=True) as it:
        response = await it.client.post("/v1.0/removebg", json={"image_url": url})
    assert response.status_code == 400
    assert response.json()["errors"][0]["code"] == code
