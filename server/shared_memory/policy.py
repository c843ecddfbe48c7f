"""Who may name shared memory, and which: nobody unless the operator said so.

Asked by `server.shared_memory.door` for every range of every request, before a name is looked up.
"""

from __future__ import annotations

import ipaddress
import re
from functools import lru_cache
from urllib.parse import unquote

# What shm_open takes after its slash, without what could walk out of the folder. NAME_MAX is 255.
_NAME = re.compile(r"(?!\.)[A-Za-z0-9._-]{1,250}")
_SHOWN_CHARS = 60


class SharedMemoryRefused(Exception):
    """The operator does not allow this: off, not from there, or not that name."""


class SharedMemoryWrong(Exception):
    """The region or the range is not what the request says."""


class Policy:
    """What the operator allows.

    Args:
        prefixes: of the names that callers may use; none: shared memory is off.
    """

    def __init__(self, prefixes: tuple[str, ...] = ()) -> None:
        self.prefixes = prefixes

    @property
    def is_on(self) -> bool:
        """True when any name is allowed."""
        return bool(self.prefixes)

    def check_caller(self, peer: str) -> None:
        """Nothing when a caller at `peer` may name shared memory at all.

        Args:
            peer: as gRPC writes it: "ipv4:127.0.0.1:5000", "ipv6:%5B::1%5D:5000", "unix:/path".

        Raises:
            SharedMemoryRefused: it is off, or the caller sits on another machine.
        """
        if not self.is_on:
            raise SharedMemoryRefused(
                "shared memory is off on this server: send the bytes in the message, or start it "
                "with --shared-memory PREFIX"
            )
        if not is_local(peer):
            raise SharedMemoryRefused(
                f"shared memory was named by a caller at {unquote(peer)}: it is for callers of the "
                "same machine, over 127.0.0.1, ::1 or a unix socket; send the bytes in the message"
            )

    def check_name(self, name: str) -> str:
        """The name without its leading slash.

        Raises:
            SharedMemoryRefused: it is no plain name, or has none of the allowed prefixes.
        """
        plain = name.removeprefix("/")
        shown = repr(name if len(name) <= _SHOWN_CHARS else f"{name[:_SHOWN_CHARS]}...")
        if not _NAME.fullmatch(plain):
            raise SharedMemoryRefused(
                f"shared memory {shown} is no plain name: give 1 to 250 of the letters, digits and "
                ". _ - that do not begin with a dot, as shm_open takes them"
            )
        if not plain.startswith(self.prefixes):
            raise SharedMemoryRefused(
                f"shared memory {shown} is not one this server may open: its name must begin with "
                f"{' or '.join(self.prefixes)} (--shared-memory)"
            )
        return plain


@lru_cache(maxsize=1024)  # asked twice a frame, and a peer stays what it is
def is_local(peer: str) -> bool:
    """True for a caller on loopback or on a unix socket."""
    kind, _, rest = peer.partition(":")
    if kind in {"unix", "unix-abstract"}:
        return True
    if kind not in {"ipv4", "ipv6"}:
        return False
    host = unquote(rest).rpartition(":")[0].strip("[]")
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return bool((mapped or address).is_loopback)
