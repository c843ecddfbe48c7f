"""What a soak sends: pictures of every size and type, bad ones, streams, impatient callers.

Called by `soak`. All pictures are made here, so the mix is the same on every machine for one seed.
Sizes vary from picture to picture on purpose: a server that keeps one buffer per size would grow.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache, partial
from random import Random

import numpy as np
from numpy.typing import NDArray
from PIL import Image, features

from loadtest.photos import jpeg, scene
from mattestream.keywords import RemoveKeywords
from mattestream.picture import ImageInput
from mattestream.v1 import image_pb2, options_pb2

OK = "OK"
BAD, LATE = "INVALID_ARGUMENT", "DEADLINE_EXCEEDED"
FRAMES = 6  # of one stream
IMPATIENT_S = 0.002  # less than any picture of a megapixel takes


@dataclass(frozen=True, slots=True)
class Size:
    """One class of picture sizes."""

    name: str
    share: float  # of the requests, in per cent
    sides: tuple[int, int]  # shortest and longest side in pixels
    variety: int  # different pictures made


# Without the model about 30 ms of CPU a request: 10,000 take minutes on two cores, not hours.
SIZES = (
    Size("tiny", 18.0, (64, 160), 24),
    Size("small", 36.0, (200, 640), 48),
    Size("medium", 20.0, (720, 1280), 24),
    Size("full HD", 12.0, (1080, 1920), 6),
    Size("12 MP", 2.0, (3000, 4000), 2),
)
THIN_SHARE, BAD_SHARE, STREAM_SHARE, LEFT_SHARE, IMPATIENT_SHARE = 1.5, 6.0, 3.0, 0.5, 1.0

OUTPUTS: tuple[tuple[float, RemoveKeywords], ...] = (
    (45, {}),
    (10, {"output": "alpha"}),
    (8, {"output": "alpha", "format": "zlib"}),
    (4, {"output": "alpha", "format": "raw"}),
    (4, {"output": "cutout", "format": "raw"}),
    (5, {"format": "zip"}),
    (12, {"output": "composite", "format": "jpeg", "background": "white"}),
    (7, {"output": "composite", "background": "#33669980"}),
    (5, {"keep_metadata": True}),
)
# Lossy WebP costs more than all the rest of a request: only small pictures ask for it.
SMALL_OUTPUTS: tuple[tuple[float, RemoveKeywords], ...] = (*OUTPUTS, (4, {"format": "webp"}))


@dataclass(frozen=True, slots=True)
class Item:
    """One thing a caller does, and the status it must end with."""

    name: str
    image: ImageInput
    options: RemoveKeywords = field(default_factory=RemoveKeywords)
    expected: str = OK
    timeout_s: float | None = None  # None: the client's own
    frames: int = 0  # above 0: a stream of that many; every frame is a request of its own
    leave_after: int = 0  # above 0: the caller walks away from the stream after so many results


class Mix:
    """An endless, repeatable sequence of items."""

    def __init__(self, seed: int = 1) -> None:
        self._random = Random(seed)
        self._pictures = {size.name: self._plan(size) for size in SIZES}
        self._pictures["thin"] = [
            partial(_file, 3000, 24, 5, "PNG"),
            partial(_file, 17, 2200, 6, "JPEG"),
        ]
        self._bad = _bad_items()

    def __iter__(self) -> Iterator[Item]:
        shares = [size.share for size in SIZES]
        extras = [THIN_SHARE, BAD_SHARE, STREAM_SHARE / FRAMES, LEFT_SHARE, IMPATIENT_SHARE]
        kinds = [*(size.name for size in SIZES), "thin", "bad", "stream", "left", "impatient"]
        while True:
            yield self._item(self._random.choices(kinds, [*shares, *extras])[0])

    def _item(self, kind: str) -> Item:
        if kind == "bad":
            return self._random.choice(self._bad)
        if kind == "thin":
            return Item("thin", self._picture("thin"))
        if kind == "stream":
            return Item("stream", self._picture("small"), frames=FRAMES)
        if kind == "left":
            image = self._picture("small")
            return Item("stream left early", image, frames=FRAMES, leave_after=1)
        if kind == "impatient":
            image = self._picture("full HD")
            return Item("impatient caller", image, expected=LATE, timeout_s=IMPATIENT_S)
        table = SMALL_OUTPUTS if kind in {"tiny", "small"} else OUTPUTS
        weights, options = zip(*table, strict=True)
        return Item(kind, self._picture(kind), self._random.choices(options, weights)[0])

    def _picture(self, kind: str) -> ImageInput:
        return self._random.choice(self._pictures[kind])()

    def _plan(self, size: Size) -> list[Callable[[], ImageInput]]:
        """What makes each picture of a class; made at its first use and kept."""
        pictures: list[Callable[[], ImageInput]] = []
        for number in range(size.variety):
            width = self._random.randint(*size.sides)
            height = self._random.randint(*size.sides)
            if size.sides[1] > 1280:  # cameras have fixed sizes, upright or not
                width, height = self._random.sample([size.sides[0], size.sides[1]], 2)
            kinds = ("JPEG",) if size.sides[1] > 1280 else _file_kinds()
            pictures.append(partial(_file, width, height, number, kinds[number % len(kinds)]))
        if size.name == "small":
            pictures += [partial(_rgb8, 640, 480), partial(_nv12, 640, 360)]
        return pictures


def _file_kinds() -> tuple[str, ...]:
    """Types that Pillow can write here; every second one a JPEG, as in life."""
    others = ["PNG", "WEBP", "BMP", "GIF", "TIFF"] + (["AVIF"] if features.check("avif") else [])
    return tuple(kind for other in others for kind in ("JPEG", other))


@cache
def _file(width: int, height: int, seed: int, kind: str) -> bytes:
    pixels = scene(width, height, seed)
    if kind == "JPEG":
        return jpeg(pixels)
    picture = Image.fromarray(pixels)
    if kind == "PNG" and seed % 3 == 0:
        picture.putalpha(Image.linear_gradient("L").resize(picture.size))
    buffer = io.BytesIO()
    picture.save(buffer, kind)
    return buffer.getvalue()


@cache
def _rgb8(width: int, height: int) -> NDArray[np.uint8]:
    return scene(width, height, 99)


@cache
def _nv12(width: int, height: int) -> image_pb2.Image:
    layout = image_pb2.PixelLayout(format=image_pb2.PIXEL_FORMAT_NV12, width=width, height=height)
    luma = scene(width, height, 7)[:, :, 0].tobytes()
    return image_pb2.Image(
        raw=image_pb2.RawImage(layout=layout, data=luma + bytes([128]) * (width * height // 2))
    )


def _bad_items() -> list[Item]:
    """Requests that must be refused, each with its status."""
    good = jpeg(scene(640, 480, 3))
    png = _file(300, 200, 1, "PNG")
    layout = image_pb2.PixelLayout(format=image_pb2.PIXEL_FORMAT_RGB8, width=640, height=480)
    short_raw = image_pb2.Image(raw=image_pb2.RawImage(layout=layout, data=bytes(1000)))
    noise = np.random.default_rng(0).bytes(50_000)
    newer = options_pb2.RemoveOptions.FromString(b"\xa2\x1f\x01x")  # a field 500
    return [
        Item("cut JPEG", good[: len(good) // 3], expected=BAD),
        Item("cut PNG", png[: len(png) // 2], expected=BAD),
        Item("noise", noise, expected=BAD),
        Item("text", b"<html><body>404</body></html>", expected=BAD),
        Item("nothing", b"", expected=BAD),
        Item("unset image", image_pb2.Image(), expected=BAD),
        Item("short raw image", short_raw, expected=BAD),
        Item("gigapixel PNG", _gigapixel(png), expected=BAD),
        Item("JPEG cutout", good, {"format": "jpeg"}, expected=BAD),
        Item("bad colour", good, {"output": "composite", "background": "#zz"}, expected=BAD),
        Item("unknown model", good, {"model": "no-such-model"}, expected="NOT_FOUND"),
        Item("newer option", good, {"options": newer}, expected="UNIMPLEMENTED"),
    ]


def _gigapixel(png: bytes) -> bytes:
    """A PNG whose header says 40000x30000 pixels; the checksum is right, the rest is not read."""
    header = b"IHDR" + struct.pack(">II", 40_000, 30_000) + png[24:29]
    return png[:12] + header + struct.pack(">I", zlib.crc32(header)) + png[33:]
