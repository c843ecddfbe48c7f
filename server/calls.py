"""One call as the logs, the reports and the errors see it: its id, its method, what is known of it
so far.

`server.interceptors` opens a `Call` for each RPC; services reach it by `current_call`.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable
from contextvars import ContextVar
from dataclasses import dataclass, field

from server.errors import REQUEST_ID, Metadata
from server.fair_queue import Priority

# What a caller may choose: printable in a log line and in a file name.
_SANE_ID = re.compile(r"[A-Za-z0-9._:/+=@-]{1,128}")


@dataclass(slots=True)
class Call:
    """An RPC under way.

    Attributes:
        request_id: the caller's `x-request-id` when it is sane, else made here.
        method: its short name, "Remove".
        fields: what its log line shall say besides; services add to it.
        caller: who shares one turn where work waits: the API key's owner, else the connection.
        owner: a digest of the caller's API key, "" without one.
        priority: as the caller asked.
    """

    request_id: str
    method: str
    fields: dict[str, object] = field(default_factory=dict)
    caller: str = ""
    owner: str = ""
    priority: Priority = Priority.NORMAL

    @property
    def headers(self) -> Metadata:
        """Initial metadata of a call that goes well. A refused call carries the id in its trailers
        only: once initial metadata was sent, a client's retry policy no longer retries.
        """
        return ((REQUEST_ID, self.request_id),)


_CURRENT: ContextVar[Call] = ContextVar("call")


def open_call(method: str, metadata: Iterable[tuple[str, str | bytes]]) -> Call:
    """The call that this task, and every task it starts, works for."""
    call = Call(_request_id(metadata), method.rpartition("/")[2])
    _CURRENT.set(call)
    return call


def current_call() -> Call:
    """The call this task works for; outside of one, a nameless one."""
    return _CURRENT.get(None) or Call("none", "none")


def _request_id(metadata: Iterable[tuple[str, str | bytes]]) -> str:
    for name, value in metadata:
        if name == REQUEST_ID and isinstance(value, str) and _SANE_ID.fullmatch(value):
            return value
    return secrets.token_hex(8)
