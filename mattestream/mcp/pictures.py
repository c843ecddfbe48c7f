"""What an agent may name as an image: a path, an earlier result, or a data URI.

Called by `mattestream.mcp.tools` for every tool's `image`.
"""

from __future__ import annotations

import base64
import binascii
from urllib.parse import unquote, urlsplit

from mattestream.mcp.places import NotAllowed, Places
from mattestream.mcp.shelf import SCHEME, Shelf


def read_picture(image: str, places: Places, shelf: Shelf) -> bytes:
    """The bytes of the image file that `image` names; it may block on a slow disk.

    Args:
        image: a path, "file:///...", "mattestream://results/..." or "data:image/png;base64,...".
        places: the folders that files may come from.
        shelf: the results of earlier calls.

    Raises:
        NotAllowed: it is none of these, or its file is not for agents.
        Gone: the earlier result is not kept any more.
        OSError: the file cannot be read.
    """
    if image.startswith(SCHEME):
        return shelf.get(image).data
    if image.startswith("data:"):
        return _data_uri(image)
    if image.startswith("file:"):
        parts = urlsplit(image)
        if parts.netloc not in {"", "localhost"}:
            raise NotAllowed(f"{image} is on another machine: name a file of this one")
        return places.read(unquote(parts.path))
    scheme, found, _ = image.partition("://")
    if found:
        raise NotAllowed(
            f"images are not fetched from {scheme}:// addresses: save the file into a folder "
            f"that is open to this server and give its path ({places.words})"
        )
    return places.read(image)


def _data_uri(image: str) -> bytes:
    head, found, body = image.partition(",")
    if not found or not head.endswith(";base64"):
        raise NotAllowed(
            f"the data URI begins {image[:40]!r}: it must be data:image/TYPE;base64,DATA"
        )
    try:
        return base64.b64decode(body, validate=True)
    except binascii.Error as error:
        raise NotAllowed(f"the data URI is no base64 ({error}): encode the file anew") from None
