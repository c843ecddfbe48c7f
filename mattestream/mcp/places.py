"""Which files an agent may read and write: those inside folders that a person has named.

Called by `mattestream.mcp.pictures` and `mattestream.mcp.tools`. An agent does what a text told it
to do, so a path is checked where it really leads: links are followed first, and what lies outside
of the folders is refused, whether it is there or not, with the same sentence.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from pathlib import Path

from mattestream.files import write_file


class NotAllowed(Exception):
    """A path, or what it leads to, is not for agents; the sentence says what is."""


class Places:
    """The folders.

    Args:
        folders: each with everything below it; none refuses every path.
        max_bytes: largest file that is read.

    Raises:
        NotADirectoryError: one of them is no folder.
    """

    def __init__(self, folders: Iterable[Path], *, max_bytes: int) -> None:
        self.folders = tuple(dict.fromkeys(folder.resolve() for folder in folders))
        self._max_bytes = max_bytes
        for folder in self.folders:
            if not folder.is_dir():
                raise NotADirectoryError(f"{folder} is no folder")

    @property
    def words(self) -> str:
        """Which folders there are, as a sentence."""
        if not self.folders:
            return "no folder is open to this server; start it with --allow FOLDER"
        return "open to this server is " + ", ".join(str(folder) for folder in self.folders)

    def read(self, path: str) -> bytes:
        """The whole file.

        Raises:
            NotAllowed: it lies outside the folders, is no file, or is too large.
            FileNotFoundError: nothing is there.
            OSError: it cannot be read.
        """
        real = self._inside(path)
        # Not blocking, because opening a pipe would wait for a writer; and no link any more, in
        # case one was put there since.
        handle = os.open(real, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
        with os.fdopen(handle, "rb") as file:
            status = os.fstat(handle)
            if not stat.S_ISREG(status.st_mode):
                raise NotAllowed(f"{path} is no file: name an image file")
            if status.st_size > self._max_bytes:
                raise NotAllowed(
                    f"{path} has {status.st_size / 2**20:.1f} MiB, this server reads up to "
                    f"{self._max_bytes / 2**20:.0f} MiB"
                )
            return file.read(self._max_bytes)

    def write(self, path: str, data: bytes, *, replace: bool) -> Path:
        """The file, written in one step; its real path.

        Raises:
            NotAllowed: it would lie outside the folders, or something is there and `replace` is
                False.
            OSError: it cannot be written.
        """
        real = self._inside(path)
        if not real.parent.is_dir():
            raise NotAllowed(f"{path} cannot be written: its folder is not there, make it first")
        if real.is_dir():
            raise NotAllowed(f"{path} is a folder: name a file in it")
        try:
            write_file(real, data, replace=replace)
        except FileExistsError:
            raise NotAllowed(
                f"{path} is there already: choose another name, or set overwrite"
            ) from None
        return real

    def _inside(self, path: str) -> Path:
        if "\0" in path:
            raise NotAllowed("the path has a zero byte in it: give a plain path")
        given = Path(path).expanduser()
        if not given.is_absolute() and self.folders:
            given = self.folders[0] / given
        try:
            real = given.resolve()
        except (OSError, RuntimeError):  # a loop of links, a name that is too long
            raise NotAllowed(f"{path} leads nowhere: {self.words}") from None
        if not any(real.is_relative_to(folder) for folder in self.folders):
            raise NotAllowed(f"{path} is not for this server: {self.words}")
        return real
