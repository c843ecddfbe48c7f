"""The bad input of issue 2 on the wire: the status, the sentence, and a server that is none the
worse for it.
"""

from __future__ import annotations

import asyncio
import io
import struct
import zlib
from collections.abc import AsyncIterator, Callable

import grpc
import numpy as np
import psutil
import pytest
from PIL import Image

from mattestream.v1 import image_pb2, options_pb2, removal_pb2
from tests.server.fakes import (
    config_message,
    eventually,
    frame_message,
    noise,
    picture,
    request,
)
from tests.server.serving import Serve, Served

INVALID = grpc.StatusCode.INVALID_ARGUMENT


@pytest.fixture
async def limited(serve: Serve) -> AsyncIterator[Served]:
    """A server that takes 4 megapixels and sides of 8192 pixels."""
    async with serve(max_megapixels=4, max_side_px=8192) as served:
        yield served


def encoded(data: bytes) -> removal_pb2.RemoveRequest:
    return request(data)


def raw(data: bytes, **layout: object) -> removal_pb2.RemoveRequest:
    image = image_pb2.RawImage(layout=image_pb2.PixelLayout(**layout), data=data)  # type: ignore[arg-type]
    return removal_pb2.RemoveRequest(image=image_pb2.Image(raw=image))


def png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_of(width: int, height: int, rows: bytes) -> bytes:
    """A grey PNG that claims a size, whatever its rows hold."""
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + png_chunk(b"IHDR", header)
        + png_chunk(b"IDAT", zlib.compress(rows, 9))
        + png_chunk(b"IEND", b"")
    )


def animated_gif(frames: int = 5) -> bytes:
    pictures = [Image.new("RGB", (40, 30), (index * 40, 0, 0)) for index in range(frames)]
    buffer = io.BytesIO()
    pictures[0].save(buffer, "GIF", save_all=True, append_images=pictures[1:])
    return buffer.getvalue()


def nan_tiff() -> bytes:
    pixels = np.full((20, 30), np.nan, np.float32)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "TIFF")
    return buffer.getvalue()


SMOOTH = options_pb2.Temporal(smooth=0.5)
REFUSED: list[tuple[str, Callable[[], removal_pb2.RemoveRequest], grpc.StatusCode, str]] = [
    ("nothing at all", removal_pb2.RemoveRequest, INVALID, "the image is empty: set encoded"),
    ("zero bytes", lambda: encoded(b""), INVALID, "0 bytes"),
    ("text", lambda: encoded(b"hello, this is no image"), INVALID, "send JPEG, PNG"),
    ("random bytes", lambda: encoded(bytes(range(7, 250)) * 3), INVALID, "send JPEG, PNG"),
    ("a PDF", lambda: encoded(b"%PDF-1.7\n" + b"x" * 500), INVALID, "PDF"),
    ("a truncated JPEG", lambda: encoded(noise(64, 64)[:1200]), INVALID, "JPEG is damaged"),
    ("a JPEG of its first bytes", lambda: encoded(picture()[:20]), INVALID, "JPEG is damaged"),
    ("a truncated PNG", lambda: encoded(picture(kind="PNG")[:-40]), INVALID, "PNG is damaged"),
    ("a truncated WebP", lambda: encoded(picture(kind="WEBP")[:-40]), INVALID, "WebP is damaged"),
    (
        "a gigapixel PNG",
        lambda: encoded(png_of(32768, 32768, bytes(99))),
        INVALID,
        "--max-megapixels 1074",
    ),
    ("30000 by 1", lambda: encoded(png_of(30000, 1, bytes(30001))), INVALID, "--max-side-px 30000"),
    ("0 by 10", lambda: encoded(png_of(0, 10, bytes(10))), INVALID, "0x10"),
    ("a TIFF full of NaN", lambda: encoded(nan_tiff()), INVALID, "not finite (NaN"),
    (
        "raw pixels, one byte short",
        lambda: raw(bytes(299), format=image_pb2.PIXEL_FORMAT_RGB8, width=10, height=10),
        INVALID,
        "300",
    ),
    (
        "raw pixels, one byte too many",
        lambda: raw(bytes(301), format=image_pb2.PIXEL_FORMAT_RGB8, width=10, height=10),
        INVALID,
        "300",
    ),
    (
        "raw pixels of no size",
        lambda: raw(b"", format=image_pb2.PIXEL_FORMAT_RGB8),
        INVALID,
        "0x0",
    ),
    (
        "raw pixels that claim a gigapixel",
        lambda: raw(b"x", format=image_pb2.PIXEL_FORMAT_RGB8, width=40_000, height=40_000),
        INVALID,
        "--max-megapixels 1600",
    ),
    (
        "strides below a row",
        lambda: raw(
            bytes(300), format=image_pb2.PIXEL_FORMAT_RGB8, width=10, height=10, strides=[29]
        ),
        INVALID,
        "stride",
    ),
    (
        "a stride too many",
        lambda: raw(
            bytes(300), format=image_pb2.PIXEL_FORMAT_RGB8, width=10, height=10, strides=[30, 30]
        ),
        INVALID,
        "stride",
    ),
    (
        "NV12 of odd size",
        lambda: raw(bytes(200), format=image_pb2.PIXEL_FORMAT_NV12, width=11, height=10),
        INVALID,
        "even",
    ),
    (
        "an unknown pixel format",
        lambda: raw(bytes(300), format=55, width=10, height=10),
        INVALID,
        "format is 55: it must be one of",
    ),
    (
        "an unknown model",
        lambda: request(options=options_pb2.RemoveOptions(model="tinny")),
        grpc.StatusCode.NOT_FOUND,
        "there is no model 'tinny'",
    ),
    (
        "an unknown output",
        lambda: request(options=options_pb2.RemoveOptions(output=42)),  # type: ignore[arg-type]
        INVALID,
        "option output is 42: it must be one of OUTPUT_CUTOUT, OUTPUT_ALPHA, OUTPUT_COMPOSITE",
    ),
    (
        "a feather of NaN",
        lambda: request(
            options=options_pb2.RemoveOptions(edges=options_pb2.Edges(feather_px=float("nan")))
        ),
        INVALID,
        "option edges.feather_px is nan",
    ),
    (
        "steadiness for a single image",
        lambda: request(options=options_pb2.RemoveOptions(temporal=SMOOTH)),
        INVALID,
        "option temporal.smooth is 0.5, but a single image has no frame before it",
    ),
]


@pytest.mark.parametrize(
    ("make", "code", "sentence"),
    [case[1:] for case in REFUSED],
    ids=[case[0] for case in REFUSED],
)
async def test_bad_input_is_refused_in_a_sentence_and_the_next_request_is_served(
    limited: Served,
    make: Callable[[], removal_pb2.RemoveRequest],
    code: grpc.StatusCode,
    sentence: str,
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await limited.removal.Remove(make())
    assert caught.value.code() is code
    assert sentence in str(caught.value.details())
    assert "internal" not in str(caught.value.details())
    admission = limited.app.admission
    await eventually(lambda: admission.images == admission.bytes == 0, "nothing is held")
    assert (await limited.removal.Remove(request())).result.width == 96


@pytest.mark.parametrize(
    ("make", "size", "note"),
    [
        (lambda: picture(1, 1, kind="PNG"), (1, 1), ""),
        (lambda: png_of(8000, 1, bytes(8001)), (8000, 1), ""),
        (lambda: png_of(1, 8000, bytes(2) * 8000), (1, 8000), ""),
        (animated_gif, (40, 30), "5 frames"),
        # No more is inflated than the header asks for; the test of the memory looks at it, too.
        (lambda: png_of(64, 64, bytes(50_000_000)), (64, 64), ""),
        (lambda: picture(40, 30, kind="PNG"), (40, 30), ""),  # whatever the file was called
    ],
    ids=["1 by 1", "8000 by 1", "1 by 8000", "animated", "inflates for ever", "wrong extension"],
)
async def test_odd_but_sound_input_is_worked_on(
    limited: Served, make: Callable[[], bytes], size: tuple[int, int], note: str
) -> None:
    reply = await limited.removal.Remove(request(make()))
    assert (reply.result.width, reply.result.height) == size
    assert note in " ".join(reply.report.notes)


async def test_bad_frames_of_a_stream_say_the_same_as_bad_single_images(limited: Served) -> None:
    stream = limited.removal.RemoveStream()
    await stream.write(config_message())
    await stream.read()
    cases = [case for case in REFUSED if not case[1]().HasField("options")]

    async def send() -> None:
        for frame_id, (_, make, _, _) in enumerate(cases):
            frame = removal_pb2.Frame(frame_id=frame_id, image=make().image)
            await stream.write(removal_pb2.RemoveStreamRequest(frame=frame))
        await stream.write(frame_message(99))
        await stream.done_writing()

    sending = asyncio.create_task(send())
    for frame_id, (name, _, code, sentence) in enumerate(cases):
        answer = (await stream.read()).frame
        assert answer.frame_id == frame_id
        assert answer.error.code == code.value[0], name
        assert sentence in answer.error.message, name
    assert (await stream.read()).frame.WhichOneof("outcome") == "result"
    await sending
    assert await stream.code() is grpc.StatusCode.OK


async def test_two_hundred_bad_images_leave_the_memory_where_it_was(limited: Served) -> None:
    bad = [case[1]() for case in REFUSED]
    bomb = request(png_of(64, 64, bytes(50_000_000)))
    process = psutil.Process()

    async def round_() -> None:
        await limited.removal.Remove(bomb)
        for message in bad:
            with pytest.raises(grpc.aio.AioRpcError):
                await limited.removal.Remove(message)

    for _ in range(3):  # caches and pools fill
        await round_()
    before = process.memory_info().rss
    for _ in range(8):
        await round_()
    grown_mib = (process.memory_info().rss - before) / (1 << 20)
    assert grown_mib < 24  # one leaked inflated PNG alone would be 48 MiB a round
    assert limited.app.admission.bytes == 0
