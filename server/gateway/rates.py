"""How much each caller may send in a minute, weighed by megapixels as remove.bg does.

A bucket per caller that fills evenly (token bucket): a burst up to the whole minute's share is
fine, and nobody waits for a full minute to begin. `server.gateway.exchange` takes from it when an
API knows how large the picture is.
"""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from server.gateway.errors import TooMany

LEAST_MP = 1.0  # a thumbnail costs a connection and an answer, too
MOST_CALLERS = 10_000  # without keys a caller is an address, and those are many
_MINUTE_S = 60.0


@dataclass(slots=True)
class _Bucket:
    megapixels: float
    filled_at: float


class Rates:
    """A bucket of `limit_mp` megapixels for each caller, refilled within a minute.

    Args:
        limit_mp: megapixels a minute; 0: no limit, and no headers that speak of one.
        clock: seconds that only grow.
        wall_clock: seconds since 1970, for the header that callers compare with theirs.
    """

    def __init__(
        self,
        limit_mp: float,
        *,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._limit = limit_mp
        self._clock = clock
        self._wall_clock = wall_clock
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()

    def take(self, caller: str, megapixels: float) -> None:
        """Nothing when `caller` may send a picture of this size now.

        Raises:
            TooMany: it may not; the error says when it may.
        """
        if not self._limit:
            return
        bucket = self._bucket(caller)
        # A picture larger than the whole minute's share goes when the bucket is full.
        cost = min(max(megapixels, LEAST_MP), self._limit)
        missing = cost - bucket.megapixels
        if missing > 1e-9:
            wait_s = missing / self._limit * _MINUTE_S
            raise TooMany(
                f"the limit of {self._limit:g} megapixels a minute is used up: send the picture of "
                f"{megapixels:.2f} megapixels again in {math.ceil(wait_s)} s",
                reason="rate_limit_exceeded",
                retry_after_s=wait_s,
            )
        bucket.megapixels -= cost

    def headers(self, caller: str) -> dict[str, str]:
        """remove.bg's three headers: the minute's share, what is left of it, and when it is whole
        again (seconds since 1970); none without a limit.
        """
        if not self._limit:
            return {}
        left = self._bucket(caller).megapixels
        full_in_s = (self._limit - left) / self._limit * _MINUTE_S
        return {
            "X-RateLimit-Limit": f"{math.floor(self._limit)}",
            "X-RateLimit-Remaining": f"{math.floor(left + 1e-9)}",
            "X-RateLimit-Reset": f"{math.ceil(self._wall_clock() + full_in_s)}",
        }

    def _bucket(self, caller: str) -> _Bucket:
        now = self._clock()
        bucket = self._buckets.setdefault(caller, _Bucket(self._limit, now))
        grown = (now - bucket.filled_at) / _MINUTE_S * self._limit
        bucket.megapixels = min(self._limit, bucket.megapixels + grown)
        bucket.filled_at = now
        self._buckets.move_to_end(caller)
        while len(self._buckets) > MOST_CALLERS:
            self._buckets.popitem(last=False)  # the one that was quiet longest
        return bucket
