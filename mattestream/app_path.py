"""Puts the application's folders (`server`, `models`, `kernels`) first on this process's path.

They are top-level packages in a checkout and lie under `mattestream/_app/` in a wheel, so that an
installation adds no general names to site-packages (docs/decisions/0001-wheel-layout.md). Called by
the CLI before it imports any of them; the SDK never needs them.
"""

from __future__ import annotations

import sys
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent


def application_folder(package: Path = PACKAGE) -> Path:
    """The folder that holds `server/`, `models/` and `kernels/`.

    Args:
        package: the folder of the `mattestream` package.

    Raises:
        FileNotFoundError: neither a wheel's nor a checkout's layout is there.
    """
    for folder in (package / "_app", package.parent):
        if (folder / "server" / "config.py").is_file():
            return folder
    raise FileNotFoundError(
        f"the application is not beside {package}: reinstall mattestream, or run from a checkout"
    )


def activate(path: list[str] = sys.path) -> Path:
    """The application's folder, now first on `path`.

    First, because a folder called `server` where the user happens to stand must not win.
    """
    folder = application_folder()
    text = str(folder)
    if path[:1] != [text]:
        path[:] = [text, *(entry for entry in path if entry != text)]
    return folder
