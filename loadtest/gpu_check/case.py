"""One operation as it is really used, to be measured and watched; made in `cases` and its parts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from kernels.device import Kernel
from loadtest.gpu_check.bench import Bench, Queue, Size

AIM = 0.7  # of a copy of as many bytes
PLANE = (320, 320)  # the built-in network's


@dataclass(frozen=True, slots=True)
class Case:
    """One operation as it is used.

    Attributes:
        name: in the table.
        kernels: what it launches, in any order.
        nbytes: read and written for a picture of that size, scratch in memory included.
        prepare: makes the buffers; what it returns queues the operation once.
        aim: least share of a copy's bandwidth; None where memory is not what bounds it.
        of_plane: it works on the network's plane, whatever the picture: measured once.
    """

    name: str
    kernels: tuple[Kernel, ...]
    nbytes: Callable[[Size], int]
    prepare: Callable[[Bench, Size], Queue]
    aim: float | None = AIM
    of_plane: bool = False


def pixels(size: Size) -> int:
    """How many a picture has."""
    return size[0] * size[1]


def even(size: Size) -> Size:
    """The size with the even sides that NV12 has."""
    return max(2, size[0] // 2 * 2), max(2, size[1] // 2 * 2)


def a_pixel(count: float) -> Callable[[Size], int]:
    """`Case.nbytes` of an operation that moves `count` bytes for each pixel."""
    return lambda size: round(count * pixels(size))
