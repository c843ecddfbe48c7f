"""What grpc itself says when a call cannot be made, in words that say what to do.

Servers of ours write sentences; these texts come from the library in the caller's process, and name
neither flags nor ways out. Called by `mattestream.errors`.
"""

from __future__ import annotations

import re

import grpc

TOO_LARGE = "over the limit of a message"
_MIB = 1024 * 1024
_SIZES = re.compile(r"message larger than max \((?P<seen>\d+) vs\. (?P<limit>\d+)\)")
# "... last error: UNKNOWN: ipv4:127.0.0.1:1: Failed to connect to remote host: Connection refused"
_LAST = re.compile(r"last error: \w+: (?P<place>\S+): (?P<why>.*)", re.DOTALL)
_BROKEN = re.compile(r"Stream removed \((?P<why>.*)\)", re.DOTALL)
# Part of the reason: what it means.
_REASONS = (
    (
        "http1.x server",
        "what answers there speaks HTTP/1: gRPC has a port of its own, 50051 by default",
    ),
    (
        "hostname verification",
        "its certificate is for another name: call it by that, or give Tls(server_name=)",
    ),
    (
        "handshake",
        (
            "no TLS connection: does the server speak TLS, with a certificate for this name that "
            "the roots given vouch for?"
        ),
    ),
    (
        "Socket closed",
        "the connection was closed at once: a server with TLS does so to a client without (tls=)",
    ),
    ("Connection reset", "the connection was closed at once: does the server speak TLS (tls=)?"),
)
_NOBODY = "nobody answers there: is the server running, and is this its address?"


def own_words(code: grpc.StatusCode, details: str) -> str:
    """`details` of a status as a sentence of ours where grpc made them, else as they are."""
    if code is grpc.StatusCode.UNAVAILABLE:
        return _unreachable(details)
    if code is grpc.StatusCode.DEADLINE_EXCEEDED and details in {"", "Deadline Exceeded"}:
        return "no answer came within timeout_s: allow more time, or send less at once"
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED and (sizes := _SIZES.search(details)):
        return _too_large(int(sizes["seen"]), int(sizes["limit"]), details)
    return details


def _unreachable(details: str) -> str:
    if broken := _BROKEN.fullmatch(details):
        return f"the connection broke while the call was under way: call again ({broken['why']})"
    last = _LAST.search(details)
    if last is None:
        if "resolv" in details or "lookup" in details:
            return f"the address has no host that can be found: check its name ({details})"
        return details
    place, why = last["place"], last["why"]
    meaning = next((text for part, text in _REASONS if part.lower() in why.lower()), _NOBODY)
    return f"no connection to {place}: {meaning} ({why})"


def _too_large(seen: int, limit: int, details: str) -> str:
    seen_mib, limit_mib = seen / _MIB, limit / _MIB
    if details.startswith("SERVER:"):
        what, cure = "request", f"start the server with --max-message-mb {-(-seen // _MIB)}"
        advice = f"send an encoded or a smaller image, or {cure}"
    else:
        what = "answer"
        advice = f"ask for another format, or raise max_message_mib to {-(-seen // _MIB)}"
    return f"the {what} is {seen_mib:.1f} MiB, {TOO_LARGE} ({limit_mib:g} MiB): {advice}"
