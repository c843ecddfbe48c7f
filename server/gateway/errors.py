"""How a request fails, before any API has put it into its own words; the only place that knows HTTP
statuses of the server's exceptions.

    HttpRefused              refused by the gateway itself; carries its status
    |- BadRequest       400  the body or a parameter makes no sense
    |- NoSuchPage       404  nothing lies under this address
    |- WrongMethod      405  something does, but not for this method
    |- TooSlow          408  the body stopped coming
    |- NotNow           409  there, but not in a state for this
    |- TooLarge         413  more than is taken
    |- WrongMediaType   415  a body of a kind that is not read here
    |- TooMany          429  over the caller's own limit
    `- NotOffered       501  switched off in this server

Everything else is `server.errors`' table, whose statuses have their HTTP twins here. `failure_of`
is called by `server.gateway.exchange`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from grpc import StatusCode

from server.errors import status_of


class HttpRefused(Exception):
    """The gateway itself refuses; the message is a sentence for the caller.

    Attributes:
        status: of the answer.
        code: the gRPC status that means the same, for logs and metrics.
        reason: what remove.bg calls it, where it has a word.
        retry_after_s: when to come back, 0 when that does not help.
    """

    status = 400
    code = "INVALID_ARGUMENT"

    def __init__(self, message: str, *, reason: str = "", retry_after_s: float = 0) -> None:
        super().__init__(message)
        self.reason = reason
        self.retry_after_s = retry_after_s


class BadRequest(HttpRefused):
    """The body or a parameter makes no sense."""


class NoSuchPage(HttpRefused):
    """Nothing lies under this address."""

    status, code = 404, "NOT_FOUND"


class WrongMethod(HttpRefused):
    """Something lies under this address, but not for this method."""

    status, code = 405, "UNIMPLEMENTED"


class TooSlow(HttpRefused):
    """The body stopped coming."""

    status, code = 408, "DEADLINE_EXCEEDED"


class NotNow(HttpRefused):
    """It is there, but not in a state for this."""

    status, code = 409, "FAILED_PRECONDITION"


class TooLarge(HttpRefused):
    """More than this server takes."""

    status, code = 413, "INVALID_ARGUMENT"


class WrongMediaType(HttpRefused):
    """A body of a kind that is not read here."""

    status, code = 415, "INVALID_ARGUMENT"


class TooMany(HttpRefused):
    """Over the caller's own limit."""

    status, code = 429, "RESOURCE_EXHAUSTED"


class NotOffered(HttpRefused):
    """Switched off in this server."""

    status, code = 501, "UNIMPLEMENTED"


_HTTP: Mapping[StatusCode, int] = {
    StatusCode.INVALID_ARGUMENT: 400,
    StatusCode.UNAUTHENTICATED: 401,
    StatusCode.PERMISSION_DENIED: 403,
    StatusCode.NOT_FOUND: 404,
    StatusCode.FAILED_PRECONDITION: 409,
    StatusCode.ALREADY_EXISTS: 409,
    StatusCode.ABORTED: 409,
    StatusCode.OUT_OF_RANGE: 400,
    StatusCode.RESOURCE_EXHAUSTED: 429,
    StatusCode.UNIMPLEMENTED: 501,
    StatusCode.UNAVAILABLE: 503,
    StatusCode.DEADLINE_EXCEEDED: 504,
}


@dataclass(frozen=True, slots=True)
class Failure:
    """A request that failed.

    Attributes:
        status: HTTP's.
        code: gRPC's name of it.
        message: the sentence for the caller.
        error: what was raised; its kind decides remove.bg's word.
        reason: that word, where the raiser knew it.
        retry_after_s: when to try again; 0 when that does not help.
        is_internal: the error is ours; the log must hold its trace.
    """

    status: int
    code: str
    message: str
    error: Exception
    reason: str = ""
    retry_after_s: float = 0
    is_internal: bool = False


def failure_of(error: Exception, request_id: str) -> Failure:
    """What `error` means to the caller."""
    if isinstance(error, HttpRefused):
        return Failure(
            error.status, error.code, str(error), error, error.reason, error.retry_after_s
        )
    status = status_of(error, request_id)
    return Failure(
        _HTTP.get(status.code, 500),
        status.code.name,
        status.message,
        error,
        retry_after_s=status.retry_after_ms / 1e3,
        is_internal=status.is_internal,
    )
