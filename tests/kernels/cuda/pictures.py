"""Random pictures on a device, in every layout, with what they show: for tests of kernels that read
pictures.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kernels.device import Device, Memory
from kernels.image import PixelFormat, YCbCr, image_struct
from kernels.reference.ycbcr_to_rgb import ycbcr_to_rgb
from tests.kernels.cuda.arrays import put

BT601 = YCbCr.of(0.299, 0.114, full_range=False)


@dataclass(frozen=True)
class Picture:
    """A picture in device memory, and the truth about it."""

    struct: NDArray[np.void]  # (1,) IMAGE
    rgb: NDArray[np.float64]  # (H, W, 3), 0..255, not rounded
    alpha: NDArray[np.uint8] | None  # (H, W), the source's own
    memory: tuple[Memory, ...]  # keeps it alive

    @property
    def rgb_u8(self) -> NDArray[np.uint8]:
        """(H, W, 3), rounded."""
        return np.rint(self.rgb).astype(np.uint8)


def put_picture(
    device: Device,
    width: int,
    height: int,
    pixel_format: PixelFormat = PixelFormat.RGB8,
    *,
    alpha: bool = False,
    padding: int = 0,
    seed: int = 7,
) -> Picture:
    """Noise, so that every pixel counts.

    Args:
        device: where.
        width: columns in pixels.
        height: rows in pixels.
        pixel_format: layout of the samples.
        alpha: the source has an alpha plane of its own beside the samples.
        padding: bytes between the rows of every plane.
        seed: of the noise.
    """
    random = np.random.default_rng(seed)
    memory: list[Memory] = []

    def plane(*shape: int) -> NDArray[np.uint8]:
        return random.integers(0, 256, shape, np.uint8)

    def up(samples: NDArray[np.uint8]) -> tuple[int, int]:
        rows = samples.reshape(samples.shape[0], -1)
        memory.append(put(device, np.pad(rows, ((0, 0), (0, padding)), constant_values=99)))
        return memory[-1].address, rows.shape[1] + padding

    half = ((height + 1) // 2, (width + 1) // 2)
    own_alpha: NDArray[np.uint8] | None = None
    ycbcr: YCbCr | None = None
    planes: tuple[tuple[int, int], ...]
    if pixel_format in (PixelFormat.NV12, PixelFormat.I420):
        ycbcr = BT601
        luma, cb, cr = plane(height, width), plane(*half), plane(*half)
        rgb = ycbcr_to_rgb(luma, cb, cr, ycbcr)
        chroma = (np.dstack([cb, cr]),) if pixel_format is PixelFormat.NV12 else (cb, cr)
        planes = tuple(up(samples) for samples in (luma, *chroma))
    else:
        sizes = {PixelFormat.RGBA8: 4, PixelFormat.GRAY8: 1}
        samples = plane(height, width, sizes.get(pixel_format, 3))
        planes = (up(samples),)
        if pixel_format is PixelFormat.RGBA8:
            own_alpha = samples[..., 3]
        if pixel_format is PixelFormat.BGR8:
            samples = samples[..., ::-1]
        rgb = np.broadcast_to(samples[..., :3], (height, width, 3)).astype(np.float64)
    beside = (0, 0)
    if alpha:
        own_alpha = plane(height, width)
        own_alpha[: height // 3] = 0
        beside = up(own_alpha)
    struct = image_struct(planes, width, height, pixel_format, alpha=beside, ycbcr=ycbcr)
    return Picture(struct, rgb, own_alpha, tuple(memory))
