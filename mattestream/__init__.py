"""mattestream: background removal over gRPC. What a user imports.

Reading order: `client` (and `aio`, the same for asyncio), `picture`, `keywords` and `request` (what
goes in), `reply` (what comes out), `errors`; then `sender` and `aio_sender` for streams, and what
both clients share: `stream`, `channel`, `calls`. `cli` is the command, `v1` the generated contract.

Names are loaded on first use: `mattestream --help` must not wait for grpc.
"""

from __future__ import annotations

import importlib
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mattestream.aio import AsyncClient
    from mattestream.channel import Tls
    from mattestream.client import Client
    from mattestream.cuda_frame import CudaFrame
    from mattestream.errors import (
        BadImage,
        Cancelled,
        DeadlineExceeded,
        InvalidRequest,
        MattestreamError,
        MessageTooLarge,
        ModelNotFound,
        ModelNotReady,
        NotAllowed,
        NotBuilt,
        Overloaded,
        ServerError,
        Unavailable,
    )
    from mattestream.picture import raw_image
    from mattestream.reply import FrameFailed, Removal
    from mattestream.request import Frame
    from mattestream.segmentation import Segmentation, Subject
    from mattestream.shared_frame import SharedFrame
    from mattestream.shared_frames import SharedFrames

try:
    __version__ = version("mattestream")
except PackageNotFoundError:  # a checkout on the path, not installed
    __version__ = "0+checkout"

_HOMES = {
    "AsyncClient": "aio",
    "Client": "client",
    "CudaFrame": "cuda_frame",
    "Tls": "channel",
    "Frame": "request",
    "FrameFailed": "reply",
    "Removal": "reply",
    "Segmentation": "segmentation",
    "SharedFrame": "shared_frame",
    "SharedFrames": "shared_frames",
    "Subject": "segmentation",
    "raw_image": "picture",
}
_ERRORS = (
    "BadImage",
    "Cancelled",
    "DeadlineExceeded",
    "InvalidRequest",
    "MattestreamError",
    "MessageTooLarge",
    "ModelNotFound",
    "ModelNotReady",
    "NotAllowed",
    "NotBuilt",
    "Overloaded",
    "ServerError",
    "Unavailable",
)
_HOMES.update(dict.fromkeys(_ERRORS, "errors"))

__all__ = [
    "AsyncClient",
    "BadImage",
    "Cancelled",
    "Client",
    "CudaFrame",
    "DeadlineExceeded",
    "Frame",
    "FrameFailed",
    "InvalidRequest",
    "MattestreamError",
    "MessageTooLarge",
    "ModelNotFound",
    "ModelNotReady",
    "NotAllowed",
    "NotBuilt",
    "Overloaded",
    "Removal",
    "Segmentation",
    "ServerError",
    "SharedFrame",
    "SharedFrames",
    "Subject",
    "Tls",
    "Unavailable",
    "__version__",
    "raw_image",
]


def __getattr__(name: str) -> Any:
    """The named thing, imported from its own module on first use."""
    if name not in _HOMES:
        raise AttributeError(f"module 'mattestream' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"mattestream.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
