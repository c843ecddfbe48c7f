"""Finished results, kept for a while so that an agent gets a link instead of megabytes of base64.

Called by `mattestream.mcp.tools`. Bounded in bytes: the oldest go first. Ids cannot be guessed,
since over HTTP several agents share one shelf.
"""

from __future__ import annotations

import secrets
from collections import OrderedDict
from dataclasses import dataclass

SCHEME = "mattestream://results/"
# An address ends as a file of its kind would: what reads it learns the type from that.
ENDINGS = {"image/png": ".png", "image/webp": ".webp", "image/jpeg": ".jpg"}


class Gone(Exception):
    """No result has this address, or has it any more."""


@dataclass(frozen=True, slots=True)
class Kept:
    """One result.

    Attributes:
        data: the file's bytes.
        media_type: as in "image/png".
    """

    data: bytes
    media_type: str


class Shelf:
    """The results; of one event loop.

    Args:
        max_bytes: all of them together; one that is larger alone is kept until the next comes.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._kept: OrderedDict[str, Kept] = OrderedDict()
        self._bytes = 0

    def put(self, data: bytes, media_type: str) -> str:
        """The result's address from now on: "mattestream://results/... .png"."""
        name = secrets.token_urlsafe(12) + ENDINGS.get(media_type, "")
        self._kept[name] = Kept(data, media_type)
        self._bytes += len(data)
        while self._bytes > self._max_bytes and len(self._kept) > 1:
            _, oldest = self._kept.popitem(last=False)
            self._bytes -= len(oldest.data)
        return SCHEME + name

    def get(self, address: str) -> Kept:
        """The result.

        Raises:
            Gone: there is none; the sentence says how to get it again.
        """
        kept = self._kept.get(address.removeprefix(SCHEME))
        if kept is None:
            raise Gone(
                f"{address} is not there (any more): results are kept until newer ones need the "
                "room; call the tool again, or have it save the file"
            )
        self._kept.move_to_end(address.removeprefix(SCHEME))
        return kept
