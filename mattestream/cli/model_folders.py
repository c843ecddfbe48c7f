"""Where the CLI looks for models: the flags that say it, and the registry they make.

Used by `mattestream models` and `mattestream models build`.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from models.registry import Registry
    from server.config import Config

_FOLDERS = (
    click.option(
        "--model-dir",
        "model_dirs",
        multiple=True,
        metavar="DIR",
        help="Folder of your own manifests.",
    ),
    click.option("--cache-dir", metavar="DIR", help="Folder of downloaded weights."),
    click.option(
        "--accept-license",
        "accept_licenses",
        multiple=True,
        metavar="NAME",
        help="Accept non-commercial weights, by their licence's or the model's name.",
    ),
)


def folder_flags(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the flags to a command; they arrive in its keyword arguments."""
    for flag in reversed(_FOLDERS):
        command = flag(command)
    return command


def registry_of(flags: dict[str, Any]) -> tuple[Registry, Config]:
    """The registry as a server started with these flags would have it, and its settings."""
    from server.catalogue import open_registry
    from server.config_sources import load_config

    wanted = {name: flags[name] for name in ("model_dirs", "cache_dir", "accept_licenses")}
    config = load_config(None, os.environ, wanted)
    return open_registry(config), config
