"""Refined edges and clean colours on the device, for the options that kernels do.

    network's alpha -> source size -> guided refinement -> the subject's colours -> cut-out or
    composite

Called by `server.device_runs` in the place of its one pass over the picture. What else
`server.finishing` does to an edge is the host's work, with the alpha that comes down.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from kernels.cpu import window_cells
from kernels.cuda import alpha_statistics, alpha_to_source, finish, foreground, guided_refine
from kernels.device import Device, Stream
from kernels.image import PixelFormat, image_struct
from kernels.letterbox import Placement
from kernels.reference import AlphaStatistics
from kernels.reference.finish import FinishOutput
from kernels.statistics import HEADER_BYTES, STATISTICS, header_of, read_statistics
from server.device_slots import ALIGNMENT
from server.finishing import Plan
from server.job import Edges, Format, Refine

KERNELS = (
    *alpha_to_source.KERNELS,
    *guided_refine.KERNELS,
    *foreground.KERNELS,
    *alpha_statistics.KERNELS,
    finish.FINISH_WITH_ALPHA,
)
# Of the model's own alpha, behind the counts of the refined one and within the result's header.
SEEN_AT = HEADER_BYTES // 2
assert STATISTICS.itemsize <= SEEN_AT


def are_done(wanted: Plan) -> bool:
    """True when kernels do all that is wanted, in pictures without an alpha of their own."""
    options = wanted.options
    return (
        wanted.refine in (Refine.OFF, Refine.FAST)
        and options.edges == Edges()
        and options.subject is None
        and options.trimap is None
        and options.despill is None
        and options.format is not Format.ZIP  # its colours are the host's
        and wanted.look.is_plain
    )


def has_own_alpha(image: NDArray[np.void]) -> bool:
    """True for a picture that was cut out already, (1,) `kernels.image.IMAGE`."""
    return bool(image["alpha"][0]) or int(image["format"][0]) == PixelFormat.RGBA8


def scratch_bytes(width: int, height: int, cell_px: float) -> int:
    """Device memory that `queue` needs besides picture and result."""
    return sum(_parts(width, height, _scale(cell_px)))


def queue(
    device: Device,
    stream: Stream,
    *,
    wanted: Plan,
    image: NDArray[np.void],
    alpha: int,
    plane_wh: tuple[int, int],
    at: Placement,
    flags: int,
    scratch: int,
    target: int,
    output: FinishOutput,
    color: tuple[int, int, int, int],
) -> None:
    """Queues the result of one image, as `kernels.cuda.finish.finish` lays it out.

    Args:
        device: where.
        stream: its queue.
        wanted: what to make, of which `are_done` is true.
        image: (1,) `kernels.image.IMAGE` without an alpha of its own.
        alpha: device address of the network's plane, (h, w) float32 in [0, 1].
        plane_wh: columns and rows of the plane.
        at: the part of it that the image covers.
        flags: device address of the image's flag from `activate`.
        scratch: of `scratch_bytes`, a multiple of 256.
        target: of the result.
        output: what its pixels are.
        color: behind the subject.
    """
    width, height = int(image["width"][0]), int(image["height"][0])
    cell_px = max(width / plane_wh[0], height / plane_wh[1])
    scale = _scale(cell_px)
    sizes = _parts(width, height, scale)
    seen, refined, colours, room = (scratch + sum(sizes[:index]) for index in range(len(sizes)))
    alpha_to_source.alpha_to_source(
        device,
        stream,
        alpha=alpha,
        plane_width=plane_wh[0],
        at=at,
        target=seen,
        width=width,
        height=height,
    )
    if wanted.refine is Refine.FAST:
        guided_refine.guided_refine(
            device,
            stream,
            image=image,
            alpha=seen,
            target=refined,
            scratch=room,
            width=width,
            height=height,
            scale=scale,
        )
    else:
        refined = seen
    if wanted.decontaminate:
        foreground.foreground(
            device,
            stream,
            image=image,
            alpha=refined,
            target=colours,
            scratch=room,
            width=width,
            height=height,
            strength=wanted.decontaminate,
        )
        image = image_struct(((colours, 3 * width),), width, height, PixelFormat.RGB8)
    finish.finish_with_alpha(
        device,
        stream,
        image=image,
        alpha=refined,
        target=target,
        output=output,
        color=color,
        flags=flags,
    )
    alpha_statistics.alpha_statistics(
        device, stream, alpha=seen, target=target + SEEN_AT, width=width, height=height
    )


def statistics_of(result: NDArray[np.uint8], width: int, height: int) -> AlphaStatistics:
    """Box and coverage of the refined alpha; how sure the model was does not change by refining.

    Args:
        result: as it came down, header first.
        width: columns of the picture in pixels.
        height: rows of the picture in pixels.
    """
    after = read_statistics(header_of(result), width, height)
    seen = read_statistics(header_of(result[SEEN_AT:]), width, height)
    return AlphaStatistics(after.box, after.coverage, seen.uncertainty)


def _scale(cell_px: float) -> int:
    return min(window_cells(cell_px), guided_refine.MAX_SCALE)


def _parts(width: int, height: int, scale: int) -> list[int]:
    """Bytes of the model's alpha, the refined one, the colours, and the kernels' own scratch."""
    pixels = width * height
    room = max(
        guided_refine.scratch_bytes(width, height, scale), foreground.scratch_bytes(width, height)
    )
    return [-(-nbytes // ALIGNMENT) * ALIGNMENT for nbytes in (pixels, pixels, 3 * pixels, room)]
