"""What goes wrong in this protocol alone; all else is as in our own services.

Raised in `server.kserve`; `server.errors` has their statuses, which are those that Triton's clients
expect.
"""

from __future__ import annotations


class WrongRequest(Exception):
    """The request makes no sense, or not for this model."""


class NotSupported(Exception):
    """A part of the protocol that this server does not have."""


class ModelNotServing(Exception):
    """The model is known, and not ready."""


class VersionUnknown(Exception):
    """The model has no such version."""


class RegionUnknown(Exception):
    """No shared memory is registered under that name."""


class RegionKnown(Exception):
    """Shared memory is registered under that name already."""
