"""A client of the server at --address, or of one that runs inside this process, behind a free port
of 127.0.0.1: either way a command gets what every other caller gets, through the same door.

Used by `mattestream mcp` and `mattestream segment`; `remove` has the flags and needs no door.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import tempfile
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import click

from mattestream.aio import AsyncClient
from mattestream.cli.connect import open_async_client
from mattestream.cli.sections import section

HOST = "127.0.0.1"
# Settings of the server inside this process that are flags here.
LOCAL_SETTINGS = ("device", "model_dirs", "accept_licenses", "max_megapixels")

# Adds --device, --model-dir, --accept-license and --max-megapixels.
in_process_flags = section(
    "In this process, without --address",
    click.option("--device", metavar="auto|cpu|cuda", help="Where models run."),
    click.option(
        "--model-dir",
        "model_dirs",
        multiple=True,
        metavar="DIR",
        help="Folder of your own manifests.",
    ),
    click.option(
        "--accept-license",
        "accept_licenses",
        multiple=True,
        metavar="NAME",
        help="Accept non-commercial weights.",
    ),
    click.option(
        "--max-megapixels",
        metavar="MP",
        help="Largest picture, read from its header.",
    ),
)


@contextlib.asynccontextmanager
async def connected(flags: dict[str, Any]) -> AsyncIterator[AsyncClient]:
    """Connected to --address, or to a server in this process."""
    if flags["address"] is not None:
        async with open_async_client(flags["address"], flags) as client:
            yield client
        return
    from server import logs
    from server.app import App
    from server.auth import hashed
    from server.config_sources import load_config

    key = secrets.token_urlsafe(32)
    with tempfile.NamedTemporaryFile("w", suffix=".keys") as keys:
        # Other users of the machine reach the port as well.
        keys.write(hashed(key) + "\n")
        keys.flush()
        settings = {name: flags[name] for name in LOCAL_SETTINGS} | {
            "host": HOST,
            "port": "0",
            "metrics_port": "-1",
            "http_port": "0",
            "api_keys_file": keys.name,
        }
        config = load_config(None, os.environ, settings)
        config = replace(config, tls_cert=None, tls_key=None)  # the way is inside this process
        logs.configure("auto", "warning")
        async with App(config) as app:
            address = f"{HOST}:{app.port}"
            async with AsyncClient(address, api_key=key, timeout_s=flags["timeout_s"]) as client:
                yield client
