"""A result onto the disk in one step: a crash leaves the old file or the new one, never half.

Called by `mattestream.reply.Removal.save`.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path


def write_file(path: Path, data: bytes, *, replace: bool) -> None:
    """Writes `data` to `path`.

    Args:
        path: where to; its folder must be there.
        data: all of the file.
        replace: False leaves alone what is there, also what came while `data` was being made.

    Raises:
        FileExistsError: something is at `path`, and `replace` is False.
        OSError: it cannot be written; names `path`.
    """
    # Not made from the target's name, which may be as long as a name can be.
    part = path.with_name(f".{secrets.token_hex(8)}.part")
    try:
        part.write_bytes(data)
        if replace:
            part.replace(path)
        else:
            _publish(part, path)
    except OSError as error:
        # The caller knows `path` only; the name of a part would tell it nothing.
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        with contextlib.suppress(OSError):  # gone when all went well; else the error above counts
            part.unlink()


def _publish(part: Path, path: Path) -> None:
    """Gives the finished file its name, unless the name is taken."""
    try:
        os.link(part, path)  # unlike a rename, fails when the name is taken
    except FileExistsError:
        raise
    except OSError:  # FAT, some network and container file systems have no hard links
        path.touch(exist_ok=False)  # takes the name; a crash before the next line leaves it empty
        part.replace(path)
