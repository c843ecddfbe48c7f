"""The flags that say which server and how, shared by every command with `--address`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from mattestream.aio import AsyncClient
from mattestream.channel import Tls
from mattestream.cli.sections import section
from mattestream.client import Client

# Adds --address, --api-key, --tls, --tls-ca and --timeout.
connection_flags = section(
    "On a server",
    click.option("--address", metavar="HOST:PORT", help="Use this server instead of this process."),
    click.option(
        "--api-key",
        envvar="MATTESTREAM_API_KEY",
        show_envvar=True,
        help="Key that the server asks for.",
    ),
    click.option("--tls", is_flag=True, help="Connect with TLS, trusting the system's roots."),
    click.option(
        "--tls-ca",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        help="PEM file of the roots to trust instead; switches TLS on.",
    ),
    click.option(
        "--timeout",
        "timeout_s",
        type=click.FloatRange(min=0, min_open=True),
        default=60.0,
        show_default=True,
        metavar="SECONDS",
        help="Limit of each request.",
    ),
)


def open_client(address: str, flags: Mapping[str, Any]) -> Client:
    """The client that the flags of `connection_flags` describe; other flags are not looked at."""
    return Client(address, timeout_s=flags["timeout_s"], api_key=flags["api_key"], tls=_tls(flags))


def open_async_client(address: str, flags: Mapping[str, Any]) -> AsyncClient:
    """The same for asyncio, to be called inside the running loop."""
    return AsyncClient(
        address, timeout_s=flags["timeout_s"], api_key=flags["api_key"], tls=_tls(flags)
    )


def _tls(flags: Mapping[str, Any]) -> Tls | bool:
    roots: Path | None = flags["tls_ca"]
    return Tls(roots.read_bytes()) if roots else bool(flags["tls"])
