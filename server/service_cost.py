"""What an image will cost to serve, learnt from those that were served: seconds of worker threads
and of accelerators.

`server.remover` asks before it asks `server.admission` for room, which adds up what is outstanding,
and tells when an image is done. Two parts are learnt apart, because they vary with different
things: the network's with the model, the rest with the picture's size and what is made of it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable
from typing import NamedTuple

# Weight of the newest image in the running means: ten images move them by two thirds.
SMOOTHING = 0.1
# What a picture costs besides its pixels is about what this many megapixels cost; without it, a
# thumbnail would make megapixels look a hundred times dearer than they are.
LEAST_MEGAPIXELS = 0.25
# So many images back, the cheapest tells what is worth reading at all. Callers of thumbnails among
# callers of photos are among them; one that comes alone and for the first time in a while may be
# refused once too often, by a server that has no time for the others.
RECENT = 64


class Cost(NamedTuple):
    """Seconds that one image takes of one worker thread, and of one accelerator."""

    worker_s: float = 0.0
    device_s: float = 0.0


NO_COST = Cost()


class Margin:
    """How much longer than expected images take that wait behind others, at its 99.5th percentile.

    Images take turns by caller and by stage and overtake each other, costs scatter, and what is not
    an image's own stage is not in its cost; all of that grows with the load. So it is learnt: each
    image slower than the margin raises it by a tenth, each other one lowers it by so little that
    five in a thousand keep it where it is (stochastic approximation of a quantile, Robbins and
    Monro, 1951).
    """

    SLOWER_SHARE = 0.005
    GAIN = 0.1
    RANGE = (1.0, 4.0)

    def __init__(self) -> None:
        # A careful guess costs nothing: a queue of half a deadline keeps the workers as busy.
        self.value = 2.0

    def note(self, expected_s: float, took_s: float, *, is_done: bool) -> None:
        """An image took `took_s`, or has been at it so long when it was given up."""
        if took_s > expected_s * self.value:
            self.value *= 1 + self.GAIN * (1 - self.SLOWER_SHARE)
        elif is_done:
            self.value *= 1 - self.GAIN * self.SLOWER_SHARE
        low, high = self.RANGE
        self.value = min(high, max(low, self.value))


class ServiceCosts:
    """The running means; lives on the event loop.

    Of what was never seen nothing is expected, so that nothing is refused because of a guess.
    """

    def __init__(self) -> None:
        self._network_s: dict[Hashable, float] = {}
        self._megapixel_s: dict[Hashable, float] = {}
        self._recent: deque[Cost] = deque(maxlen=RECENT)

    def expected(
        self, network: Hashable, treatment: Hashable, megapixels: float, *, on_device: bool
    ) -> Cost:
        """What an image will probably take.

        Args:
            network: what runs, by anything that tells models apart.
            treatment: what is done besides, by anything that tells dear from cheap.
            megapixels: of the source.
            on_device: the network runs on an accelerator, not on a worker.
        """
        network_s = self._network_s.get(network, 0.0)
        rest_s = self._megapixel_s.get(treatment, 0.0) * max(megapixels, LEAST_MEGAPIXELS)
        cost = Cost(rest_s, network_s) if on_device else Cost(rest_s + network_s)
        self._recent.append(cost)
        return cost

    def least(self) -> Cost:
        """What an image of which nothing is known will probably take at least: as little as any of
        those that came lately.
        """
        return min(self._recent, key=sum, default=NO_COST)

    def note(
        self,
        network: Hashable,
        treatment: Hashable,
        megapixels: float,
        *,
        network_s: float,
        rest_s: float,
    ) -> None:
        """An image took `network_s`, its share of a batch, and `rest_s` of a worker besides."""
        _move(self._network_s, network, network_s)
        _move(self._megapixel_s, treatment, rest_s / max(megapixels, LEAST_MEGAPIXELS))


def _move(means: dict[Hashable, float], key: Hashable, value: float) -> None:
    before = means.get(key)
    means[key] = value if before is None else before + SMOOTHING * (value - before)
