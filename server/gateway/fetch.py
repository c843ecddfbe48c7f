"""A picture by its URL: off by default, and never from where a caller could not go himself.

The guard against server-side request forgery: a host's name is resolved once, every address it has
must be public, and the connection goes to the address that was looked at, so that a name that
changes between look and use (DNS rebinding) changes nothing. A redirect is a new URL and passes all
of it again. Called by the APIs of `server.gateway` through `Fetcher.fetch`.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import SplitResult, urljoin, urlsplit

import h11

from mattestream import __version__
from server.gateway.addresses import Network, is_public, read_address
from server.gateway.errors import HttpRefused, NotOffered
from server.gateway.intake import Hold

MAX_REDIRECTS = 3
MAX_URL_CHARS = 2048
MAX_HEADER_BYTES = 1 << 14
TIMEOUT_S = 15.0  # for everything: names, connections, redirects and the last byte
PORTS = {"http": 80, "https": 443}
_REDIRECTS = frozenset((301, 302, 303, 307, 308))


class FetchFailed(HttpRefused):
    """The picture could not be had."""


class BadUrl(HttpRefused):
    """The text is no URL that may be fetched."""


@dataclass(frozen=True, slots=True)
class _Target:
    parts: SplitResult
    host: str
    port: int
    addresses: tuple[str, ...]


class Fetcher:
    """Fetches pictures.

    Args:
        is_allowed: whether the operator allows it at all.
        max_bytes: of one picture.
        reachable: networks that count as public, and whose ports are all open. For tests, which
            serve pictures on the loopback: there is no setting that fills it.
        timeout_s: for one picture.
    """

    def __init__(
        self,
        *,
        is_allowed: bool,
        max_bytes: int,
        reachable: Sequence[Network] = (),
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        self._is_allowed = is_allowed
        self._max_bytes = max_bytes
        self._reachable = tuple(reachable)
        self._timeout_s = timeout_s
        self._tls: ssl.SSLContext | None = None

    async def fetch(self, url: str, hold: Hold) -> bytes:
        """The bytes that lie at `url`.

        Args:
            url: http or https.
            hold: takes room for them, as for a body.

        Raises:
            NotOffered: the operator does not allow it.
            BadUrl: it is no URL, or none that may be fetched.
            FetchFailed: nothing came of it; the sentence says why.
            Overloaded: the server has no room for it.
        """
        if not self._is_allowed:
            raise NotOffered(
                "this server fetches no URLs: send the picture itself, or start the server with "
                "--allow-url-fetch"
            )
        try:
            async with asyncio.timeout(self._timeout_s):
                for _ in range(MAX_REDIRECTS + 1):
                    answer = await self._get(await self._look(url), hold)
                    if isinstance(answer, bytes):
                        return answer
                    url = urljoin(url, answer)
        except TimeoutError:
            raise FetchFailed(
                f"{_shown(url)} took longer than {self._timeout_s:g} s: send the picture itself"
            ) from None
        except (OSError, h11.RemoteProtocolError) as error:  # ssl.SSLError is an OSError
            raise FetchFailed(f"{_shown(url)} cannot be fetched ({type(error).__name__})") from None
        raise FetchFailed(f"{_shown(url)} redirects more than {MAX_REDIRECTS} times")

    async def _look(self, url: str) -> _Target:
        """The URL taken apart, its host resolved and looked at."""
        parts, host, port = _read(url)
        if port not in PORTS.values() and not self._reachable:
            raise BadUrl(f"{_shown(url)} names port {port}: only 80 and 443 are fetched from")
        loop = asyncio.get_running_loop()
        try:
            found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError):
            raise FetchFailed(f"{_shown(url)}: there is no host of that name") from None
        addresses = [str(entry[4][0]) for entry in found]
        for text in addresses:
            if not is_public(read_address(text), self._reachable):
                raise BadUrl(f"{_shown(url)} does not lie on the public internet")
        return _Target(parts, host, port, tuple(dict.fromkeys(addresses)))

    async def _get(self, target: _Target, hold: Hold) -> bytes | str:
        """The body, or where it is said to be."""
        reader, writer = await self._connected(target)
        try:
            return await self._exchange(target, reader, writer, hold)
        finally:
            writer.transport.abort()
            with suppress(Exception):
                await writer.wait_closed()

    async def _connected(
        self, target: _Target
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection to the first address that answers: an IPv6 one may lead nowhere."""
        tls = None
        if target.parts.scheme == "https":
            tls = self._tls = self._tls or ssl.create_default_context()
        name = target.host if tls else None
        for address in target.addresses[:-1]:
            with suppress(OSError):
                return await asyncio.open_connection(
                    address, target.port, ssl=tls, server_hostname=name
                )
        last = target.addresses[-1]
        return await asyncio.open_connection(last, target.port, ssl=tls, server_hostname=name)

    async def _exchange(
        self,
        target: _Target,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        hold: Hold,
    ) -> bytes | str:
        wire = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_HEADER_BYTES)
        path = target.parts.path or "/"
        if target.parts.query:
            path += f"?{target.parts.query}"
        request = h11.Request(
            method="GET",
            target=path.encode("ascii"),
            headers=[
                ("Host", target.parts.netloc),
                ("Accept", "image/*"),
                ("Accept-Encoding", "identity"),
                ("User-Agent", f"mattestream/{__version__}"),
                ("Connection", "close"),
            ],
        )
        writer.write((wire.send(request) or b"") + (wire.send(h11.EndOfMessage()) or b""))
        await writer.drain()
        body = bytearray()
        while True:
            event = wire.next_event()
            if event is h11.NEED_DATA:
                wire.receive_data(await reader.read(1 << 16))
            elif isinstance(event, h11.Response):
                to = _judged(target, event, self._max_bytes)
                if to:
                    return to
            elif isinstance(event, h11.Data):
                if len(body) + len(event.data) > self._max_bytes:
                    raise _too_large(target, self._max_bytes)
                hold.take(len(event.data))
                body += event.data
            elif isinstance(event, h11.EndOfMessage):
                return bytes(body)
            elif isinstance(event, h11.ConnectionClosed):
                raise FetchFailed(f"{_shown(target.parts.geturl())} closed without an answer")


def _judged(target: _Target, response: h11.Response, max_bytes: int) -> str:
    """Where a redirect leads, "" for an answer whose body may be read."""
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in response.headers}
    if response.status_code in _REDIRECTS and headers.get("location"):
        return headers["location"]
    if response.status_code != 200:
        raise FetchFailed(
            f"{_shown(target.parts.geturl())} answered {response.status_code}: check the URL"
        )
    if headers.get("content-encoding", "identity").lower() != "identity":
        raise FetchFailed(
            f"{_shown(target.parts.geturl())} came compressed, which was not asked for"
        )
    length = headers.get("content-length", "0")
    if length.isdigit() and int(length) > max_bytes:
        raise _too_large(target, max_bytes)
    return ""


def _too_large(target: _Target, max_bytes: int) -> FetchFailed:
    return FetchFailed(
        f"{_shown(target.parts.geturl())} has more than {max_bytes} bytes: send a smaller picture",
        reason="file_too_large",
    )


def _read(url: str) -> tuple[SplitResult, str, int]:
    """The URL's parts, its host and port."""
    if len(url) > MAX_URL_CHARS or not url.isascii() or any(ord(each) <= 32 for each in url):
        raise BadUrl(
            f"the URL {_shown(url)!r} is no URL: use up to {MAX_URL_CHARS} printable ASCII "
            "characters, others percent-encoded"
        )
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise BadUrl(f"the URL {_shown(url)!r} is no URL ({error})") from None
    if parts.scheme not in PORTS or not host:
        raise BadUrl(f"the URL {_shown(url)!r} is none of http:// or https:// with a host")
    if parts.username is not None or parts.password is not None:
        raise BadUrl("the URL holds a user name or password: send the picture itself instead")
    return parts, host, PORTS[parts.scheme] if port is None else port


def _shown(url: str) -> str:
    """A URL as a sentence may hold it: without its query, which may be a secret."""
    return url.partition("?")[0][:120]
