"""The arithmetic of a measurement: percentiles, ratios of runs, growth; no I/O.

Called by every program in `loadtest`; each function is tested by hand-worked numbers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean, median


def percentile(values: Sequence[float], percent: float) -> float:
    """The value below which `percent` of `values` lie, interpolated between neighbours.

    Args:
        values: one or more numbers in any order.
        percent: 0..100.

    Raises:
        ValueError: no values, or `percent` outside 0..100.
    """
    if not values:
        raise ValueError("percentile of no values: give one or more")
    if not 0 <= percent <= 100:
        raise ValueError(f"percent is {percent}: give 0 to 100")
    ordered = sorted(values)
    place = (len(ordered) - 1) * percent / 100
    below = math.floor(place)
    above = math.ceil(place)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)


def median_ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """Median of `ours[i] / theirs[i]`: each round is divided by its neighbour in time.

    A shared machine drifts by tens of per cent within minutes, so the quotient of two medians
    would mix a fast minute of one with a slow minute of the other.

    Raises:
        ValueError: the sequences differ in length or are empty.
    """
    if len(ours) != len(theirs) or not ours:
        raise ValueError(
            f"{len(ours)} rounds of ours, {len(theirs)} of theirs: give as many, 1 or more"
        )
    return median(mine / other for mine, other in zip(ours, theirs, strict=True))


def slope(xs: Sequence[float], ys: Sequence[float]) -> float:
    """Rise of the least-squares line through the points, in units of y per unit of x.

    Raises:
        ValueError: fewer than two different x.
    """
    if len(set(xs)) < 2:
        raise ValueError(f"a slope needs two different x, there are {len(set(xs))}")
    mean_x, mean_y = fmean(xs), fmean(ys)
    covariance = sum((x - mean_x) * (y - mean_y) for x, y in zip(xs, ys, strict=True))
    return covariance / sum((x - mean_x) ** 2 for x in xs)


def slope_error(xs: Sequence[float], ys: Sequence[float]) -> float:
    """Standard error of `slope`, in its unit: what the points' scatter alone lets it be off by.

    Raises:
        ValueError: fewer than two different x, or fewer than three points.
    """
    if len(xs) < 3:
        raise ValueError(f"the error of a slope needs three points, there are {len(xs)}")
    rise, mean_x, mean_y = slope(xs, ys), fmean(xs), fmean(ys)
    misses = sum((y - mean_y - rise * (x - mean_x)) ** 2 for x, y in zip(xs, ys, strict=True))
    return math.sqrt(misses / (len(xs) - 2) / sum((x - mean_x) ** 2 for x in xs))
