"""One POSIX shared memory object of this process: made with its pages reserved, mapped, unlinked.

Used by `mattestream.shared_frames`. An object is locked for as long as its maker lives, and locks
end with a process however it ends: what a killed process left under the same prefix is found by
its missing lock and removed when the next region is made. Process ids would not do: containers that
share /dev/shm do not share those.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import re
import secrets
import sys
import weakref
from contextlib import suppress
from functools import cached_property
from pathlib import Path

from mattestream.errors import MattestreamError
from mattestream.values import whole

FOLDER = Path("/dev/shm")  # noqa: S108 - where Linux keeps what shm_open opens
_PREFIX = re.compile(r"(?!sem\.)[A-Za-z0-9_-][A-Za-z0-9._-]{2,63}")
_TRIES = 8  # each a name of 64 random bits; a second one only when a sweeper came between
_LARGEST_BYTES = 2**62


class Region:
    """A range of memory that the server can open by `name`.

    It is unlinked with `unlink`, with the last reference to it, or at the interpreter's end. Its
    mapping lives as long as anything refers to `memory`.

    Args:
        prefix: one that the server was started with (`--shared-memory`).
        nbytes: its size, 1 or more.
        mode: who may open it, as of a file: the server's user must be able to.

    Raises:
        MattestreamError: there is no room, or no such memory on this system.
    """

    def __init__(self, prefix: str, nbytes: int, mode: int = 0o600) -> None:
        nbytes = whole("nbytes", nbytes, 1, _LARGEST_BYTES, "of 1 or more")
        self.nbytes = nbytes
        self.name, fd = _new(prefix, mode)
        # Whatever happens from here on, the object goes; a forked child leaves its parent's alone.
        self._unlink = weakref.finalize(self, _forget, FOLDER / self.name, fd, os.getpid())
        try:
            # Else a full /dev/shm would end this process at its first write (SIGBUS).
            os.posix_fallocate(fd, 0, nbytes)
            self.memory = mmap.mmap(fd, nbytes)
        except OSError as error:
            self.unlink()
            raise MattestreamError(
                f"cannot reserve {nbytes} bytes of shared memory ({error.strerror}): make fewer or "
                f"smaller frames, or give {FOLDER} more room"
            ) from error

    @cached_property
    def address(self) -> int:
        """Where `memory` begins in this process; good for as long as that is referred to."""
        return ctypes.addressof(ctypes.c_char.from_buffer(self.memory))

    def unlink(self) -> None:
        """Takes the name away and lets the lock go; who has the object open or mapped keeps it."""
        self._unlink()


def sweep(prefix: str) -> int:
    """Removes what killed processes of this user left under `prefix`; returns how many objects."""
    ours = re.compile(re.escape(prefix) + r"ring-[0-9a-f]{16}")
    removed = 0
    for path in FOLDER.glob(f"{prefix}ring-*") if FOLDER.is_dir() else ():
        if ours.fullmatch(path.name):
            with suppress(OSError):
                removed += _swept(path)
    return removed


def check_room(nbytes: int) -> None:
    """Nothing when so much could be reserved. Asked before a byte is: reserving takes real memory,
    and where /dev/shm has no limit of its own, too much of it would end the process.

    Raises:
        MattestreamError: there is less.
    """
    if not FOLDER.is_dir():
        return  # `Region` says what that means
    status = os.statvfs(FOLDER)
    free = status.f_bavail * status.f_frsize
    if nbytes > free:
        raise MattestreamError(
            f"the frames take {nbytes} bytes together, {FOLDER} has room for {free}: make fewer or "
            "smaller ones, or give it more room"
        )


def check_prefix(prefix: str) -> str:
    """`prefix`, when a server could allow it.

    Raises:
        MattestreamError: it could not.
    """
    if not _PREFIX.fullmatch(prefix):
        raise MattestreamError(
            f"prefix is {prefix!r}: give the one that the server was started with "
            "(--shared-memory), 3 to 64 of the letters, digits and . _ -"
        )
    return prefix


def _new(prefix: str, mode: int) -> tuple[str, int]:
    """A new object's name and its descriptor, which holds the lock."""
    if sys.platform != "linux":
        raise MattestreamError(
            f"frames in shared memory need Linux, this is {sys.platform}: send pixels in messages"
        )
    import fcntl

    for _ in range(_TRIES):
        name = f"{check_prefix(prefix)}ring-{secrets.token_hex(8)}"
        try:
            fd = os.open(FOLDER / name, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, mode)
        except FileExistsError:
            continue
        except OSError as error:
            raise MattestreamError(
                f"cannot make shared memory in {FOLDER} ({error.strerror}): it takes the right "
                "to write there"
            ) from error
        with suppress(OSError):
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(fd).st_nlink:  # a sweeper may have come between the two calls
                os.fchmod(fd, mode)  # whatever the umask is
                return name, fd
        os.close(fd)
    raise MattestreamError(f"cannot make shared memory in {FOLDER}: every name was taken")


def _swept(path: Path) -> bool:
    """True when the object had no living maker and is gone now."""
    import fcntl

    fd = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        status = os.fstat(fd)
        if status.st_uid != os.getuid():
            return False
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        path.unlink()
    except OSError as error:
        if error.errno in {errno.EWOULDBLOCK, errno.ENOENT}:
            return False
        raise
    finally:
        os.close(fd)
    return True


def _forget(path: Path, fd: int, maker: int) -> None:
    """Ends an object; in a forked child only its copy of the descriptor."""
    if os.getpid() == maker:
        path.unlink(missing_ok=True)
    os.close(fd)
