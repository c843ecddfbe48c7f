"""How a stream as a whole can fail. Raised in `server.streams` and by `server.services.streams`."""

from __future__ import annotations


class StreamBroken(Exception):
    """The client broke the stream's form: no config, two configs, an empty message."""


class StreamStalled(Exception):
    """The client reads none of its answers, or sends nothing to answer."""


class StreamTakenOver(Exception):
    """A newer stream came with the same resume_id."""
