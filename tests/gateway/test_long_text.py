"""Base64 in pieces: the same answers as in one go, and nothing long on the event loop."""

from __future__ import annotations

import asyncio
import base64
import json
import random
import time
from collections.abc import Iterator
from functools import partial
from typing import Any

import httpx
import pytest

from mattestream.v1 import removal_pb2
from server.gateway.long_text import LONG_BYTES, decode, put_back, take_out
from tests.gateway.serving import Open, in_base64
from tests.server.fakes import picture

CHANCE = random.Random(7)
BIG = CHANCE.randbytes(3 * LONG_BYTES + 1)


def test_long_texts_come_out_and_short_ones_stay() -> None:
    other = CHANCE.randbytes(LONG_BYTES)
    sent = {"a": in_base64(BIG), "b": {"c": in_base64(other)}, "d": "short", "e": 3}
    small, taken = take_out(json.dumps(sent).encode())
    assert len(small) < 300
    assert [decode(text) for text in taken.values()] == [BIG, other]
    read = json.loads(small)
    assert (read["d"], read["e"]) == ("short", 3)
    assert base64.b64decode(read["a"]) in taken
    assert base64.b64decode(read["b"]["c"]) in taken


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b'"' + b"A" * (2 * LONG_BYTES),  # never closed
        b" " * (3 * LONG_BYTES),
        b'{"a": ' + b"1" * (3 * LONG_BYTES) + b"}",
        b'["' + b"A" * LONG_BYTES + b'\\n"]',  # an escape: not ours to understand
        b'["' + b"\xff" * (2 * LONG_BYTES) + b'"]',
        b'"' * (2 * LONG_BYTES),
    ],
)
def test_what_holds_no_long_base64_is_left_alone(data: bytes) -> None:
    assert take_out(data) == (data, {})


def test_pieces_of_every_length_are_decoded() -> None:
    for size in (0, 1, 2, 3, LONG_BYTES * 2 - 1, LONG_BYTES * 2, LONG_BYTES * 6 + 2):
        text = base64.b64encode(BIG[:size])
        assert decode(text) == BIG[:size]
        assert decode(text.rstrip(b"=")) == BIG[:size]
        assert (
            decode(b"\r\n".join(text[at : at + 76] for at in range(0, len(text), 76)))
            == (BIG[:size])
        )


@pytest.mark.parametrize("text", [b"a", b"=", b"ab=c", b"abc\xe4", b"ab==abcd", b"\0\0\0\0"])
def test_what_is_no_base64_is_refused(text: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        decode(text)
    whole_pieces = base64.b64encode(b"x" * (LONG_BYTES * 3))
    with pytest.raises(ValueError, match=r"."):
        decode(whole_pieces[:-4] + b"ab==" + text)  # also where a piece ends


def test_pictures_come_back_wherever_the_message_holds_them() -> None:
    message = removal_pb2.RemoveRequest()
    message.image.encoded, message.options.background.image.image.encoded = b"m1", b"m2"
    message.options.subject.trimap.raw.data = b"unknown"
    put_back(message, {b"m1": b"AAEC", b"m2": b"__8="})  # the second one is spelt for URLs
    assert message.image.encoded == b"\0\1\2"
    assert message.options.background.image.image.encoded == b"\xff\xff"
    assert message.options.subject.trimap.raw.data == b"unknown"


@pytest.fixture
def longest_ms() -> Iterator[list[float]]:
    """What each callback of the event loop took of the processor, ms; those above 1 ms."""
    took: list[float] = []
    plain = asyncio.events.Handle._run

    def timed(handle: asyncio.Handle) -> None:
        began = time.thread_time()
        plain(handle)  # type: ignore[arg-type]
        spent = (time.thread_time() - began) * 1e3
        if spent > 1:
            took.append(spent)

    asyncio.events.Handle._run = timed  # type: ignore[method-assign]
    yield took
    asyncio.events.Handle._run = plain  # type: ignore[method-assign]


async def test_a_large_picture_leaves_the_event_loop_free(
    open_gateway: Open, longest_ms: list[float]
) -> None:
    """30 MB of JSON took 160 ms of it: everyone else's calls stood still meanwhile."""
    image = picture(kind="PNG") + bytes(9_000_000)
    text = in_base64(image)
    sent: list[dict[str, Any]] = [
        {"url": "/v1/remove", "files": {"image": image}},
        {"url": "/v1/remove", "content": image, "headers": {"Content-Type": "image/png"}},
        {"url": "/v1/remove", "json": {"image": {"encoded": text}}},
        {"url": "/v1.0/removebg", "json": {"image_file_b64": text}},
        {"url": "/v1.0/removebg", "files": {"image_file_b64": (None, text)}},
        {"url": "/v1.0/removebg", "data": {"image_file_b64": text}},
    ]
    async with open_gateway(port=True) as it:
        with httpx.Client(base_url=it.base, timeout=30, trust_env=False) as client:
            for first in (picture(kind="PNG"), b"none"):  # what these import is imported once
                await asyncio.to_thread(client.post, "/v1/remove", files={"image": first})
            for request in sent:
                longest_ms.clear()
                answer = await asyncio.to_thread(partial(client.post, **request))
                assert answer.status_code == 200, request["url"]
                assert max(longest_ms, default=0) < 15, request["url"]
