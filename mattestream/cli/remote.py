"""Removing on a server. Called by `mattestream.cli.remove` when `--address` is given."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from mattestream.client import Client
from mattestream.errors import MattestreamError
from mattestream.reply import Removal
from mattestream.v1 import options_pb2


class RemoteRemover:
    """A client with one set of options; the channel is shared by the threads that call `remove`."""

    errors = (MattestreamError,)

    def __init__(self, client: Client, options: options_pb2.RemoveOptions) -> None:
        self.client = client
        self.options = options

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.client.close()

    def remove(self, data: bytes) -> Removal:
        """The result; raises one of `errors` when it fails."""
        return self.client.remove(data, options=self.options)
