"""One image on its way through a GPU: what is wanted of it, and where it is.

Made by `server.device_pipeline`, which takes it through the stages.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kernels.cuda.finish import finish_bytes
from kernels.reference.finish import FinishOutput
from kernels.statistics import HEADER_BYTES, header_of
from server import device_edges
from server.codecs.decode import Decoded
from server.codecs.raw import raw_to_rgb
from server.cuda_memory.ranges import OpenRange
from server.device_sharing import check_fits
from server.device_slots import Slot
from server.finishing import Plan
from server.job import Color, Format, Output, RawSource, Source
from server.known_background import Found
from server.pipeline import Opened


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the last pass writes for an image."""

    output: FinishOutput
    color: tuple[int, int, int, int]
    nbytes: int  # of the result, its header included
    on_host: Plan | None = None  # what the host does with the alpha that comes down
    edges: Plan | None = None  # what the device does besides its last pass


@dataclass(slots=True, kw_only=True)
class DeviceOpened(Opened):
    """An image on its way to the device, in its slot."""

    slot: Slot
    image: NDArray[np.void]  # (1,) of dtype `kernels.image.IMAGE`
    wanted: Wanted
    source: Source
    decoded: Decoded | None  # None: raw pixels, or decoded on the device
    drawing: Found | None = None  # the subject, where the model need not be asked
    target: OpenRange | None = None  # where the pixels go instead of to the host

    @property
    def is_finished_there(self) -> bool:
        """True when the result is made on the device, and the host only packs it."""
        return self.drawing is None and self.wanted.on_host is None

    def deliver_to(self, target: OpenRange) -> None:
        """Sends the result's pixels to `target`; to be said before the image is run.

        Raises:
            SharedMemoryWrong: the range is too small for them.
        """
        if self.is_finished_there:
            check_fits(target, self.width, self.height, self.wanted.nbytes - HEADER_BYTES)
        self.target = target

    def counted(self) -> NDArray[np.void]:
        """What the last pass counted of the alpha, as it lies in front of the pixels."""
        host, _ = self.slot.output(self.wanted.nbytes)
        return header_of(host)

    def on_host(self) -> tuple[NDArray[np.uint8], NDArray[np.uint8] | None]:
        """The picture's own colours, (H, W, 3), and alpha, without a copy from the device."""
        if self.decoded is not None:
            return self.decoded.rgb, self.decoded.alpha
        assert isinstance(self.source, RawSource)
        return raw_to_rgb(self.source)


def wanted_of(plan: Plan, width: int, height: int, *, is_cut_out: bool) -> Wanted:
    """What the device makes of a picture, and what is left for the host.

    Args:
        plan: the options with their choices made.
        width: columns of the picture in pixels.
        height: rows of the picture in pixels.
        is_cut_out: it has an alpha of its own.
    """
    options = plan.options
    color = (0, 0, 0, 0)
    edges = None
    if not plan.is_plain and device_edges.are_done(plan) and not is_cut_out:
        edges = plan
    elif not plan.is_plain:
        nbytes = finish_bytes(FinishOutput.ALPHA, width, height)
        return Wanted(FinishOutput.ALPHA, color, nbytes, plan)
    if not options.output.has_colors or options.format is Format.ZIP:
        output = FinishOutput.ALPHA  # a zip's colours are the picture's own, still on the host
    elif options.output is Output.CUTOUT:
        output = FinishOutput.CUTOUT
    else:
        behind = options.background
        if not isinstance(behind, Color):
            raise ValueError("a composite needs a background; server.options should have said so")
        color = behind.rgba
        if behind.alpha == 0:
            output = FinishOutput.CUTOUT
        else:
            output = FinishOutput.OPAQUE if behind.is_opaque else FinishOutput.TRANSLUCENT
    return Wanted(output, color, finish_bytes(output, width, height), edges=edges)
