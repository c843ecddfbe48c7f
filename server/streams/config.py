"""A stream's first message to what the stream will do; frames' options are `server.options`' own.

Called by `server.services.streams`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from mattestream.v1 import removal_pb2
from server.job import Options
from server.option_rules import InvalidOption
from server.options import read_options
from server.options.temporal import read_smooth

_DELIVERIES = {
    removal_pb2.DELIVERY_UNSPECIFIED: False,
    removal_pb2.DELIVERY_IN_ORDER: False,
    removal_pb2.DELIVERY_LATEST: True,
}
_RESUME_ID = re.compile(r"[A-Za-z0-9._:/+=@-]{1,128}")


@dataclass(frozen=True, slots=True)
class StreamPlan:
    """What a stream will do with each frame, and how many it holds.

    Attributes:
        options: of every frame.
        window: frames in work at once.
        latest: overtaken frames are let go of.
        smooth: weight of the alpha before where nothing moves, 0..0.95.
        skip_unchanged: a frame that equals the one before has its result.
        resume_id: "" when the stream cannot be taken up again.
        fingerprint: of the options, as bytes: what is kept of a stream fits these alone.
    """

    options: Options
    window: int
    latest: bool = False
    smooth: float = 0.0
    skip_unchanged: bool = False
    resume_id: str = ""
    fingerprint: bytes = b""


def read_stream_config(
    config: removal_pb2.StreamConfig,
    *,
    max_window: int,
    threads: int = 1,
    keeps_broken: bool = True,
) -> StreamPlan:
    """The plan that `config` asks for.

    Args:
        config: the stream's first message.
        max_window: frames that one stream may hold here; a larger wish is cut to it.
        threads: that work on images: a stream that wants the latest frame begins no more than
            these by itself, since what waits behind them is not the latest any more.
        keeps_broken: the server keeps what broken streams remember.

    Raises:
        InvalidOption, NotBuilt: see `server.options`.
    """
    if config.delivery not in _DELIVERIES:
        raise InvalidOption(
            f"option delivery is {config.delivery}: it must be DELIVERY_IN_ORDER, DELIVERY_LATEST "
            "or unset"
        )
    if config.resume_id and not _RESUME_ID.fullmatch(config.resume_id):
        raise InvalidOption(
            f"option resume_id is {config.resume_id[:40]!r}: it must be 1 to 128 of "
            "A-Za-z0-9._:/+=@-"
        )
    if config.resume_id and not keeps_broken:
        raise InvalidOption(
            "option resume_id is set, but this server keeps no broken streams (stream_resume_s is "
            "0): leave it unset"
        )
    latest = _DELIVERIES[config.delivery]
    default = min(max_window, threads) if latest else max_window
    return StreamPlan(
        options=read_options(config.options, stream=True),
        window=min(config.window or default, max_window),
        latest=latest,
        smooth=read_smooth(config.options.temporal),
        skip_unchanged=config.skip_unchanged,
        resume_id=config.resume_id,
        fingerprint=config.options.SerializeToString(deterministic=True),
    )
