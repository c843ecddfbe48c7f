"""The one full-size pass of an image: alpha at its size, counted, and the pixels to send back.

Called by `server.device_runs` for every image; the result's bytes are copied to the host as
they lie: header, pixels, and the alpha behind them where it was asked for.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from kernels.cuda.launch import address, check_sizes
from kernels.cuda.network import network_struct
from kernels.device import Argument, Device, Kernel, Stream
from kernels.letterbox import Placement
from kernels.reference.finish import FinishOutput
from kernels.statistics import HEADER_BYTES, launch_shape

FINISH = Kernel("finish", "finish")
FINISH_WITH_ALPHA = Kernel("finish", "finish_with_alpha")
KERNELS = (FINISH, FINISH_WITH_ALPHA)

_COLOR = np.dtype([("channel", np.int32, 4)])
_ALIGNED = 16  # bytes, of the alpha behind the pixels
TRANSPARENT = (0, 0, 0, 0)


def alpha_offset(output: FinishOutput, width: int, height: int) -> int:
    """Bytes from the start of a result to the alpha plane behind its pixels."""
    return HEADER_BYTES + -(-output.channels * width * height // _ALIGNED) * _ALIGNED


def finish_bytes(output: FinishOutput, width: int, height: int) -> int:
    """Size of a result: header and pixels, and for RGB the alpha behind them."""
    if output is FinishOutput.RGB:
        return alpha_offset(output, width, height) + width * height
    return HEADER_BYTES + output.channels * width * height


def finish(
    device: Device,
    stream: Stream,
    *,
    image: NDArray[np.void],
    alpha: int,
    plane_wh: tuple[int, int],
    at: Placement,
    target: int,
    output: FinishOutput,
    color: tuple[int, int, int, int] = TRANSPARENT,
    flags: int = 0,
) -> None:
    """Queues the result of one image from the network's alpha: `finish_bytes` bytes.

    The alpha is brought to the source's size and multiplied by the source's own; the header's
    statistics are of that product.

    Args:
        device: where.
        stream: its queue.
        image: (1,) `kernels.image.IMAGE`, the source.
        alpha: device address of the network's plane, (h, w) float32 in [0, 1].
        plane_wh: columns and rows of the plane.
        at: the part of it that the image covers; of each axis, its samples times the source's
            pixels are below 2^30.
        target: of the result, a multiple of 16.
        output: what its pixels are; for RGB the alpha follows at `alpha_offset`.
        color: red, green, blue, alpha behind the subject, 0..255; its alpha is 255 for OPAQUE.
        flags: device address of the image's flag from `activate`, copied into the header; 0: none.

    Raises:
        ValueError: a size is below 1, or colour and output do not fit.
    """
    check_sizes(plane_width=plane_wh[0], plane_height=plane_wh[1])
    network = network_struct(alpha, plane_wh[0], at)
    _launch(
        device,
        stream,
        FINISH,
        network,
        image=image,
        flags=flags,
        target=target,
        output=output,
        color=color,
    )


def finish_with_alpha(
    device: Device,
    stream: Stream,
    *,
    image: NDArray[np.void],
    alpha: int,
    target: int,
    output: FinishOutput,
    color: tuple[int, int, int, int] = TRANSPARENT,
    flags: int = 0,
) -> None:
    """Queues the result of one image from an alpha that has its size already.

    Args:
        device: where.
        stream: its queue.
        image: (1,) `kernels.image.IMAGE`, the source; its own alpha is multiplied in here too.
        alpha: device address of (height, width) uint8, a multiple of 4.
        target: as for `finish`.
        output: as for `finish`.
        color: as for `finish`.
        flags: as for `finish`.

    Raises:
        ValueError: a size is below 1, or colour and output do not fit.
    """
    _launch(
        device,
        stream,
        FINISH_WITH_ALPHA,
        address(alpha),
        image=image,
        flags=flags,
        target=target,
        output=output,
        color=color,
    )


def _launch(
    device: Device,
    stream: Stream,
    kernel: Kernel,
    source: Argument,
    *,
    image: NDArray[np.void],
    flags: int,
    target: int,
    output: FinishOutput,
    color: tuple[int, int, int, int],
) -> None:
    width, height = int(image["width"][0]), int(image["height"][0])
    check_sizes(width=width, height=height)
    if output is FinishOutput.OPAQUE and color[3] != 255:
        raise ValueError(f"output OPAQUE needs a colour with alpha 255, not {color[3]}")
    behind = np.zeros(1, _COLOR)
    behind["channel"] = color
    with_alpha = output is FinishOutput.RGB
    args = (
        image,
        source,
        address(flags),
        address(target),
        address(target + HEADER_BYTES),
        address(target + alpha_offset(output, width, height) if with_alpha else 0),
        np.int32(output),
        behind,
    )
    device.clear(target, HEADER_BYTES, stream)
    device.launch(kernel, *launch_shape(width, height), args, stream)
