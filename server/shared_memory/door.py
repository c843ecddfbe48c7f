"""Ranges of requests to sources and targets: every use passes the policy, then the bounds.

`server.services.intake` asks here for images and results that lie in shared memory. Bytes are read
later, in a worker and after admission (`SharedSource.read`): a refused frame costs no copy.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from mattestream.v1 import image_pb2
from server.codecs.errors import ImageTooLarge
from server.codecs.header import Header, read_header
from server.codecs.raw import planes
from server.job import EncodedSource, Format, Options, RawSource, Source
from server.option_rules import InvalidOption
from server.options.source import read_layout
from server.shared_memory.policy import Policy, SharedMemoryWrong
from server.shared_memory.region import Region
from server.shared_memory.regions import Regions

# Where a file's size in pixels is looked for first: a header that lies behind more than this
# (a large preview in a JPEG) is found in the whole file.
HEAD_BYTES = 256 << 10

Room = Callable[[int], NDArray[np.uint8]]


def _fresh(nbytes: int) -> NDArray[np.uint8]:
    return np.empty(nbytes, np.uint8)


@dataclass(slots=True)
class SharedSource:
    """A picture that lies in shared memory, not read yet.

    Attributes:
        layout: a raw picture without its bytes; None: the range holds an encoded file.
    """

    region: Region
    offset: int
    nbytes: int
    layout: RawSource | None = None
    _admitted: Header | None = field(default=None, init=False)  # of an encoded file

    @property
    def kind(self) -> str:
        """For the log: "shared encoded", "shared rgb8"."""
        return f"shared {'encoded' if self.layout is None else self.layout.format}"

    def header(self) -> Header:
        """Its size in pixels, before it is read.

        Raises:
            ImageRejected: an encoded file whose header makes no sense.
            SharedMemoryWrong: the region has been cut short.
        """
        if self.layout is not None:
            return Header("raw", self.layout.width, self.layout.height, 1)
        self._admitted = self._header()
        return self._admitted

    def _header(self) -> Header:
        head = self.region.read(self.offset, min(self.nbytes, HEAD_BYTES)).tobytes()
        try:
            return read_header(head)
        except Exception:
            if len(head) == self.nbytes:
                raise
        return read_header(self.region.read(self.offset, self.nbytes).tobytes())

    def read(self, room: Room = _fresh) -> Source:
        """The picture, copied: what its owner does to the memory from now on changes nothing.

        Args:
            room: where pixels are copied to, by their number of bytes; on a GPU a slot's
                page-locked memory, from where they go up.

        Raises:
            SharedMemoryWrong: the region has been cut short, or holds another file by now.
        """
        if self.layout is None:
            file = self.region.read(self.offset, self.nbytes).tobytes()
            admitted = self._admitted
            if admitted is not None:
                found = read_header(file)
                if (found.width, found.height) != (admitted.width, admitted.height):
                    raise SharedMemoryWrong(
                        f"shared memory {self.region.name!r} held a picture of "
                        f"{admitted.width}x{admitted.height} when it was named and one of "
                        f"{found.width}x{found.height} now: leave it alone until it is answered"
                    )
            return EncodedSource(file)
        self.region.check(self.offset, self.nbytes)
        pixels = room(self.nbytes)
        self.region.read_into(self.offset, pixels)
        return replace(self.layout, data=pixels.data)


@dataclass(frozen=True, slots=True)
class SharedTarget:
    """Where a result's pixels go."""

    region: Region
    offset: int
    nbytes: int


class SharedMemory:
    """All of the server's shared memory.

    Args:
        policy: who may name what.
        max_encoded_bytes: largest encoded file, as for one in a message.
        regions: those that are open.
    """

    def __init__(
        self, policy: Policy, *, max_encoded_bytes: int, regions: Regions | None = None
    ) -> None:
        self.policy = policy
        self.regions = regions or Regions()
        self._max_encoded_bytes = max_encoded_bytes

    def source(
        self, message: image_pb2.SharedMemoryImage, peer: str, name: str = "image"
    ) -> SharedSource:
        """The picture that `message` names, its range checked.

        Args:
            message: as it came.
            peer: who sent it, as gRPC writes it.
            name: the field it came in, for the sentences.

        Raises:
            SharedMemoryRefused, SharedMemoryWrong: see `server.shared_memory.policy`.
            InvalidOption, RawLayoutWrong: the layout makes no sense, or not with that many bytes.
            ImageTooLarge: an encoded file of more bytes than a message may have.
        """
        self.policy.check_caller(peer)
        span = message.range
        region = self.regions.get(self.policy.check_name(span.name), writable=False)
        region.check(span.offset, span.byte_size)
        layout = None
        if message.HasField("layout"):
            layout = read_layout(message.layout, f"{name}.shared_memory")
            planes(layout, nbytes=span.byte_size)
        return self._checked(SharedSource(region, span.offset, span.byte_size, layout))

    def within(
        self, region: Region, offset: int, nbytes: int, layout: RawSource | None
    ) -> SharedSource:
        """A picture in a region that was opened before. Raises as `source`."""
        region.check(offset, nbytes)
        if layout is not None:
            planes(layout, nbytes=nbytes)
        return self._checked(SharedSource(region, offset, nbytes, layout))

    def target(
        self, span: image_pb2.SharedMemoryRange, options: Options, peer: str
    ) -> SharedTarget:
        """Where the result goes.

        Args:
            span: `shared_memory_output`, of the options or of a frame.
            options: what the result will be.
            peer: who sent it, as gRPC writes it.

        Raises:
            SharedMemoryRefused, SharedMemoryWrong: see `server.shared_memory.policy`.
            InvalidOption: the result is no raw pixels.
        """
        self.policy.check_caller(peer)
        if not options.output.has_pixels:
            raise InvalidOption(
                f"shared_memory_output is set, but the output is a {options.output}, which "
                "comes in the reply: choose another output with FORMAT_RAW, or leave it unset"
            )
        if options.format is not Format.RAW:
            raise InvalidOption(
                f"shared_memory_output is set, but the format is {options.format.upper()}: choose "
                "FORMAT_RAW, or leave shared_memory_output unset"
            )
        region = self.regions.get(self.policy.check_name(span.name), writable=True)
        region.check(span.offset, span.byte_size)
        return SharedTarget(region, span.offset, span.byte_size)

    def _checked(self, source: SharedSource) -> SharedSource:
        if source.layout is None and source.nbytes > self._max_encoded_bytes:
            raise ImageTooLarge(
                f"the file in shared memory is {source.nbytes} bytes, this server takes up to "
                f"{self._max_encoded_bytes}: name the file's own bytes, or start with a larger "
                "--max-message-mb"
            )
        return source
