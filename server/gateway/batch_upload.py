"""How a batch's pictures reach the disk: parts of a form as they come, archives taken apart.

Called by `server.gateway.batch_api`. Everything is counted while it comes: pictures, bytes of each,
bytes of all, also while an archive is unpacked, whose own numbers are claims.
"""

from __future__ import annotations

import asyncio
import errno
import zipfile
import zlib
from contextlib import aclosing
from pathlib import Path
from typing import IO

from mattestream.v1 import options_pb2
from server.gateway.batch_store import Batch
from server.gateway.batches import Batches, NoSpace
from server.gateway.body import ON_LOOP_BYTES, read_json
from server.gateway.errors import BadRequest, TooLarge, WrongMediaType
from server.gateway.exchange import Exchange
from server.gateway.intake import chunks
from server.gateway.multipart import PartBegins, PartEnds, boundary_of, parts
from server.gateway.own import from_json, to_json
from server.job import Format
from server.options import read_options

WRITE_BYTES = 1 << 20  # gathered before a thread is asked to write
IMAGES, ARCHIVE, OPTIONS = "images", "archive", "options"
_FILES = {Format.PNG, Format.WEBP, Format.JPEG, Format.ZIP}


async def receive(exchange: Exchange, batches: Batches, max_image_bytes: int) -> Batch:
    """The batch that the request brings, on disk and queued.

    Raises:
        WrongMediaType, BadRequest, TooLarge, NoSpace, InvalidOption, NotBuilt, ...: nothing of it
            stays.
    """
    request = exchange.request
    content_type = request.headers.get("content-type", "")
    if content_type.partition(";")[0].strip().lower() != "multipart/form-data":
        raise WrongMediaType(
            f"send multipart/form-data: pictures as `{IMAGES}`, zips as `{ARCHIVE}`, options as "
            f"`{OPTIONS}`"
        )
    boundary = boundary_of(content_type)
    upload = _Upload(batches, max_image_bytes)
    try:
        # The disk's limit is the only one on the whole.
        stream = chunks(request, 1 << 50)
        async with aclosing(parts(stream, boundary, 2 * batches.max_images + 16)) as events:
            async for event in events:
                if isinstance(event, PartBegins):
                    upload.begin(event)
                elif isinstance(event, PartEnds):
                    await upload.end()
                else:
                    await upload.write(event)
        if not upload.names:
            raise BadRequest(
                f"there are no pictures: send them as `{IMAGES}`, or in a zip as `{ARCHIVE}`"
            )
        batch = Batch(
            id=upload.id,
            owner=exchange.call.owner,
            options=_options(upload.options),
            names=upload.names,
            created_at=batches.wall_clock(),
            disk_bytes=upload.taken,
        )
        await batches.submit(batch)
    except BaseException as error:
        await asyncio.to_thread(batches.store.delete, upload.id)
        if isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise NoSpace(
                "the disk that batches lie on is full: delete finished ones, or make room on it"
            ) from error
        raise
    finally:
        upload.close()
    return batch


def _options(text: str) -> dict[str, object]:
    """The options, looked at now: a mistake in them is one answer, not one for each picture."""
    message = options_pb2.RemoveOptions()
    if text:
        from_json(read_json(text.encode()), message)
    read = read_options(message, stream=False)
    if read.format not in _FILES:
        raise BadRequest(
            f"option format is {read.format.upper()}: a batch makes files, choose PNG, WEBP, JPEG "
            "or ZIP"
        )
    return to_json(message)


class _Upload:
    """The parts of one request, on their way to the disk."""

    def __init__(self, batches: Batches, max_image_bytes: int) -> None:
        self.id = batches.store.begin()
        self.names: list[str] = []
        self.options = ""
        self.taken = 0
        self._batches = batches
        self._max_image_bytes = max_image_bytes
        self._begun: PartBegins | None = None
        self._file: IO[bytes] | None = None
        self._waiting = bytearray()
        self._part_bytes = 0

    def begin(self, begun: PartBegins) -> None:
        if begun.name not in {IMAGES, ARCHIVE, OPTIONS}:
            raise BadRequest(
                f"the field {begun.name[:40]!r} is not known here: the fields are {IMAGES}, "
                f"{ARCHIVE} and {OPTIONS}"
            )
        self._begun, self._part_bytes = begun, 0
        self._waiting.clear()
        if begun.name == IMAGES:
            self._file = self._add(begun.filename or "image").open("wb")
        elif begun.name == ARCHIVE:
            self._file = self._archive.open("wb")

    async def write(self, data: bytes) -> None:
        assert self._begun is not None
        self._part_bytes += len(data)
        if self._begun.name == IMAGES and self._part_bytes > self._max_image_bytes:
            raise _image_too_large(self._begun.filename or "image", self._max_image_bytes)
        if self._begun.name == OPTIONS and self._part_bytes > ON_LOOP_BYTES:
            raise TooLarge(f"the options have more than {ON_LOOP_BYTES} bytes")
        if self._begun.name != OPTIONS:
            self.take(len(data))
        self._waiting += data
        if self._file is not None and len(self._waiting) >= WRITE_BYTES:
            await self._flush()

    async def end(self) -> None:
        assert self._begun is not None
        if self._begun.name == OPTIONS:
            self.options = self._waiting.decode("utf-8", errors="replace")
            return
        await self._flush()
        assert self._file is not None
        self._file.close()
        self._file = None
        if self._begun.name == ARCHIVE:
            await asyncio.to_thread(self._unpack)

    def close(self) -> None:
        """What lies on disk is the batch's from here on, or is gone."""
        if self._file is not None:
            self._file.close()
        self._batches.unreserve(self.taken)

    def take(self, count: int) -> None:
        self._batches.reserve(count)
        self.taken += count

    @property
    def _archive(self) -> Path:
        return self._batches.store.folder / self.id / "upload.zip"

    def _add(self, name: str) -> Path:
        """The place of one picture more."""
        most = self._batches.max_images
        if len(self.names) >= most:
            raise TooLarge(
                f"the batch has more than {most} pictures: send it as several, or start with a "
                "larger --batch-max-images"
            )
        self.names.append(name)
        return self._batches.store.source(self.id, len(self.names) - 1)

    async def _flush(self) -> None:
        assert self._file is not None
        data = bytes(self._waiting)
        self._waiting.clear()
        await asyncio.to_thread(self._file.write, data)

    def _unpack(self) -> None:
        """Every file of the archive becomes a picture of the batch; runs in a thread."""
        try:
            with zipfile.ZipFile(self._archive) as archive:
                for entry in archive.infolist():
                    if not entry.is_dir() and not _is_clutter(entry.filename):
                        self._unpack_one(archive, entry)
        except (zipfile.BadZipFile, RuntimeError, NotImplementedError, zlib.error) as error:
            raise BadRequest(
                f"the archive cannot be unpacked ({str(error)[:200]}): send a plain zip"
            ) from None
        except (EOFError, ValueError, OverflowError, UnicodeError) as error:
            raise BadRequest(f"the archive is damaged ({type(error).__name__})") from None
        finally:
            self._archive.unlink(missing_ok=True)

    def _unpack_one(self, archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> None:
        size = 0
        with archive.open(entry) as packed, self._add(entry.filename).open("wb") as file:
            while piece := packed.read(1 << 16):
                size += len(piece)
                if size > self._max_image_bytes:
                    raise _image_too_large(entry.filename, self._max_image_bytes)
                self.take(len(piece))
                file.write(piece)


def _is_clutter(name: str) -> bool:
    """What archivers add of their own."""
    words = name.replace("\\", "/").split("/")
    return "__MACOSX" in words or words[-1].startswith(".") or words[-1] == "Thumbs.db"


def _image_too_large(name: str, most: int) -> TooLarge:
    return TooLarge(
        f"the picture {name[-80:]!r} has more than {most} bytes ({most >> 20} MiB): send a smaller "
        "one, or start with a larger --http-max-body-mb",
        reason="file_too_large",
    )
