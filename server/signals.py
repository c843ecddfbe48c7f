"""The signals that stop a server, kept waiting until somebody handles them.

`mattestream serve` holds them before anything heavy is imported, and so across the restart of
`server.allocator`: a process that replaces itself keeps them held. `server.app` lets them in once
its handlers are set, so a SIGTERM in the first half second ends the start with exit code 0.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager

STOPPING = (signal.SIGTERM, signal.SIGINT)


@contextmanager
def held() -> Iterator[None]:
    """A block in which the signals wait until `let_in`, at the latest until its end."""
    signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)
    try:
        yield
    finally:
        let_in()


def let_in() -> None:
    """Those that waited come now; harmless when none are held."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPPING)
