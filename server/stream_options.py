"""A stream's first message to what the stream will do; frames' options are `server.options`' own.

Called by `server.services.removal`.
"""

from __future__ import annotations

from dataclasses import dataclass

from mattestream import __version__
from mattestream.v1 import removal_pb2
from server.job import Options
from server.option_rules import InvalidOption, NotBuilt
from server.options import read_options

_IN_ORDER = (removal_pb2.DELIVERY_UNSPECIFIED, removal_pb2.DELIVERY_IN_ORDER)


@dataclass(frozen=True, slots=True)
class StreamPlan:
    """What a stream will do with each frame, and how many it holds."""

    options: Options
    window: int


def read_stream_config(config: removal_pb2.StreamConfig, *, max_window: int) -> StreamPlan:
    """The plan that `config` asks for.

    Args:
        config: the stream's first message.
        max_window: frames that one stream may hold here; a larger wish is cut to it.

    Raises:
        InvalidOption, NotBuilt: see `server.options`.
    """
    if config.delivery not in _IN_ORDER:
        if config.delivery == removal_pb2.DELIVERY_LATEST:
            raise _not_built("delivery DELIVERY_LATEST", "use DELIVERY_IN_ORDER, or leave it unset")
        raise InvalidOption(
            f"option delivery is {config.delivery}: it must be DELIVERY_IN_ORDER or unset"
        )
    if config.resume_id:
        raise _not_built("resume_id", "leave it unset")
    if config.skip_unchanged:
        raise _not_built("skip_unchanged", "leave it unset")
    window = min(config.window or max_window, max_window)
    return StreamPlan(read_options(config.options, stream=True), window)


def _not_built(option: str, instead: str) -> NotBuilt:
    return NotBuilt(f"option {option} is not built yet in this server ({__version__}): {instead}")
