"""The regions that are kept open from frame to frame: few, and only while their names lead to them.

Used by `server.shared_memory.door`, on the event loop; what is done here are a few system calls on
a file system without a disk, microseconds together.
"""

from __future__ import annotations

import errno
import os
import stat
from collections import OrderedDict
from contextlib import suppress
from pathlib import Path

from server.shared_memory.policy import SharedMemoryRefused, SharedMemoryWrong
from server.shared_memory.region import Region

FOLDER = Path("/dev/shm")  # noqa: S108 - where Linux keeps what shm_open opens
MOST_OPEN = 128  # descriptors; a client uses one or two regions for all its frames


class Regions:
    """Open regions by name, the one used longest ago closed first.

    Args:
        folder: where the objects are.
        most: kept open at once; one that is in use beyond that stays open until its user is done.
    """

    def __init__(self, folder: Path = FOLDER, most: int = MOST_OPEN) -> None:
        self._folder = folder
        self._before = f"{folder}/"  # names are looked up for every frame: no Path is made for it
        self._most = most
        self._open: OrderedDict[tuple[str, bool], Region] = OrderedDict()

    def __len__(self) -> int:
        return len(self._open)

    def get(self, name: str, *, writable: bool) -> Region:
        """The region that `name` leads to now.

        Args:
            name: a plain name that the policy lets pass.
            writable: open it for writing too.

        Raises:
            SharedMemoryWrong: there is none, or the server's user may not open it.
            SharedMemoryRefused: it is a link or no memory object.
        """
        key = (name, writable)
        known = self._open.get(key)
        if known is not None:
            if known.identity == self._identity(name):
                self._open.move_to_end(key)
                return known
            del self._open[key]  # removed, or made anew under the same name
        region = self.open(name, writable=writable)
        self._open[key] = region
        if len(self._open) > self._most:
            self._drop_vanished()
        while len(self._open) > self._most:
            self._open.popitem(last=False)
        return region

    def open(self, name: str, *, writable: bool) -> Region:
        """The region, opened anew and not kept here. Raises as `get`."""
        # Not followed, not waited for: a link could lead anywhere, a pipe could block.
        flags = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
        try:
            fd = os.open(self._folder / name, flags | (os.O_RDWR if writable else os.O_RDONLY))
        except OSError as error:
            raise _refusal(name, error, writable=writable) from None
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            os.close(fd)
            raise SharedMemoryRefused(
                f"{name!r} is no shared memory object: name one that shm_open made"
            )
        return Region(name, fd)

    def close(self) -> None:
        """Lets all go."""
        self._open.clear()

    def _identity(self, name: str) -> tuple[int, int] | None:
        with suppress(OSError):
            status = os.lstat(self._before + name)
            return status.st_dev, status.st_ino
        return None

    def _drop_vanished(self) -> None:
        for key in [key for key, region in self._open.items() if region.is_unlinked]:
            del self._open[key]


def _refusal(name: str, error: OSError, *, writable: bool) -> Exception:
    if error.errno == errno.ENOENT:
        return SharedMemoryWrong(
            f"there is no shared memory {name!r}: make it before it is named, in the same /dev/shm "
            "as the server's (containers have their own, unless they share it)"
        )
    if error.errno in {errno.EACCES, errno.EPERM}:
        doing = "write" if writable else "read"
        return SharedMemoryWrong(
            f"the server's user may not {doing} shared memory {name!r}: let both run as one user, "
            "or give it the mode that allows it"
        )
    if error.errno == errno.ELOOP:
        return SharedMemoryRefused(f"{name!r} is a link: name the shared memory object itself")
    return SharedMemoryWrong(f"shared memory {name!r} cannot be opened: {error.strerror}")
