"""One open shared memory object: its bounds asked anew at each use, its bytes copied by the kernel.

The object is never mapped. Its owner can cut it short at any moment, and touching a page of a
mapping that is gone ends the process (SIGBUS); `preadv` and `pwrite` on the same object answer with
fewer bytes instead. It costs 0.33 ms for a frame of 1080p RGB where a copy out of a mapping takes
0.10 (docs/shared-memory.md), and the copy is also what keeps a caller from changing a file while it
is being parsed. Made by `server.shared_memory.regions`.
"""

from __future__ import annotations

import os
import weakref

import numpy as np
from numpy.typing import NDArray

from server.shared_memory.policy import SharedMemoryWrong


class Region:
    """An object under /dev/shm. Safe to use from several threads.

    It is closed with the last reference to it, so that letting it go from a table or a cache while
    a frame is read out of it harms nobody.

    Args:
        name: without the leading slash.
        fd: open; this owns it from now on.
    """

    def __init__(self, name: str, fd: int) -> None:
        self.name = name
        self._fd = fd
        status = os.fstat(fd)
        self.identity = (status.st_dev, status.st_ino)
        weakref.finalize(self, os.close, fd)

    @property
    def nbytes(self) -> int:
        """Its size now."""
        return os.fstat(self._fd).st_size

    @property
    def is_unlinked(self) -> bool:
        """True when no name leads to it any more."""
        return os.fstat(self._fd).st_nlink == 0

    def check(self, offset: int, nbytes: int) -> None:
        """Nothing when the range lies within the object as it is now.

        Raises:
            SharedMemoryWrong: it does not.
        """
        size = self.nbytes
        if nbytes < 1:
            raise SharedMemoryWrong(
                f"the range of shared memory {self.name!r} is {nbytes} bytes: set byte_size to 1 "
                "or more"
            )
        if offset < 0 or offset + nbytes > size:
            raise SharedMemoryWrong(
                f"the range {offset} to {offset + nbytes} is outside of shared memory "
                f"{self.name!r}, which has {size} bytes: correct offset and byte_size"
            )

    def read(self, offset: int, nbytes: int) -> NDArray[np.uint8]:
        """A copy of the range, (nbytes,) uint8.

        Raises:
            SharedMemoryWrong: the range is not (or no longer) within the object.
        """
        self.check(offset, nbytes)
        copy = np.empty(nbytes, np.uint8)
        self.read_into(offset, copy)
        return copy

    def read_into(self, offset: int, target: NDArray[np.uint8]) -> None:
        """Fills `target`, (n,) uint8, from the object at `offset`.

        Raises:
            SharedMemoryWrong: the object ends before that.
        """
        done = 0
        while done < target.nbytes:
            came = os.preadv(self._fd, [target.data[done:]], offset + done)
            if came == 0:
                raise SharedMemoryWrong(
                    f"shared memory {self.name!r} was cut short while it was read: keep a region "
                    "as it is until its answer is there"
                )
            done += came

    def write(self, offset: int, data: bytes | memoryview) -> None:
        """Puts `data` at `offset`.

        Cut short in the very moment between the check and the write, the object grows back to the
        end of the range, and no further.

        Raises:
            SharedMemoryWrong: the range is not within the object, or the machine has no memory for
                it.
        """
        left = memoryview(data).cast("B")
        self.check(offset, left.nbytes)
        try:
            while left:
                written = os.pwrite(self._fd, left, offset)
                left, offset = left[written:], offset + written
        except OSError as error:
            raise SharedMemoryWrong(
                f"shared memory {self.name!r} cannot be written ({error.strerror}): give /dev/shm "
                "more room, and reserve a region's pages when making it (posix_fallocate)"
            ) from error
