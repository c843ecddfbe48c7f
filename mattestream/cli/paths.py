"""What lies at a path, asked so that every path gets an answer; used by all of `remove`.

The methods of `Path` raise for names that are too long and for links that go in circles, some only
on some Python versions. The functions of `os.path` do not: such a file fails when it is read, as
one failure among the others, and not before.
"""

from __future__ import annotations

import os
from pathlib import Path


def identity(path: Path) -> str:
    """The same for every way to one file: absolute, links followed."""
    return os.path.realpath(path)


def is_folder(path: Path) -> bool:
    """True for a folder, or a link to one."""
    return os.path.isdir(path)  # noqa: PTH112 - see above


def is_file(path: Path) -> bool:
    """True for a regular file, or a link to one."""
    return os.path.isfile(path)  # noqa: PTH113 - see above


def is_taken(path: Path) -> bool:
    """True when anything has this name, be it a link to nothing."""
    return os.path.lexists(path)
