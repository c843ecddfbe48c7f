"""What a stream keeps on a device from frame to frame: what the network was shown, the alpha that
was shown, and a recurrent network's states.

`server.device_streams` has one for each stream that remembers; `models.device_batch` queues its
steps around the network. On the CPU `server.streams.memory` and `models.recurrent` do the same.

Everything has two places. A frame is computed into one while it goes by the other, and its place
becomes the one to go by when it has succeeded: a frame that failed changes nothing, as on the CPU.
Nothing is copied to or from the host, and nothing is allocated for a frame.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import NamedTuple

from kernels.cuda.carry_states import KERNELS as CARRYING
from kernels.cuda.carry_states import carry_states
from kernels.cuda.resize_normalise import resize_normalise
from kernels.cuda.store_jobs import store_jobs
from kernels.cuda.temporal_blend import CHANGE_BYTES, cut_at, temporal_blend, temporal_luma
from kernels.cuda.temporal_blend import KERNELS as STEADYING
from kernels.device import Device, Memory, Stream
from kernels.image import JOB, PixelFormat, image_struct, job_struct
from kernels.letterbox import Placement
from models.device_engine import StateSpec
from models.manifest import Input

KERNELS = (*CARRYING, *STEADYING)
ALIGNMENT = 256  # of everything within a block
_AS_IT_IS = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)  # mean and std that change nothing

Size = tuple[int, int]  # columns, rows


class StateRoom:
    """Where the states of one stream lie within a block, one behind the other.

    Attributes:
        nbytes: of the block; 0 where the network has none.
    """

    def __init__(self, specs: Sequence[StateSpec]) -> None:
        self._offsets: list[int] = []
        self.nbytes = 0
        for spec in specs:
            self._offsets.append(self.nbytes)
            self.nbytes += aligned(spec.nbytes)

    def addresses(self, start: int) -> list[int]:
        """Of each state, in a block that starts there."""
        return [start + offset for offset in self._offsets]


@dataclass(frozen=True, slots=True)
class Planes:
    """The sizes that a stream's memory has to do with.

    Attributes:
        input: how the network is shown a picture.
        alpha: columns and rows of its alpha.
        states: of the network.
    """

    input: Input
    alpha: Size
    states: StateRoom

    @property
    def plane(self) -> Size:
        """Columns and rows of what the network is shown."""
        return self.input.width, self.input.height

    @property
    def cut(self) -> int:
        """The change of a plane from which on it shows another scene."""
        return cut_at(*self.plane)


class Place(NamedTuple):
    """Device addresses of what is kept of one frame."""

    luma: int  # at the plane's size, uint8
    alpha_luma: int  # at the alpha's; the same one where the two are of one size
    alpha: int  # as shown, float32
    states: int


class StreamState:
    """The memory of one stream on one device. Used by one thread at a time; one may free it.

    Args:
        device: where.
        planes: of the model.
        smooth: weight of the alpha before where nothing moves, 0..0.95; 0: alphas are not kept.

    Raises:
        DeviceFull: there is not enough memory.
    """

    def __init__(self, device: Device, planes: Planes, smooth: float) -> None:
        self.smooth = smooth
        pixels, alpha_pixels = _area(planes.plane), _area(planes.alpha)
        other_size = planes.alpha != planes.plane
        sizes = (
            aligned(pixels),
            aligned(alpha_pixels) if smooth and other_size else 0,
            aligned(4 * alpha_pixels) if smooth else 0,
            planes.states.nbytes,
        )
        self._memory: Memory | None = device.allocate(2 * sum(sizes))
        self._places = [_placed(self._memory.address + side * sum(sizes), sizes) for side in (0, 1)]
        self._now = 0
        self._size_before: Size | None = None

    @property
    def nbytes(self) -> int:
        """Device memory that it holds."""
        return 0 if self._memory is None else self._memory.nbytes

    @property
    def is_freed(self) -> bool:
        """True when nothing is left of it."""
        return self._memory is None

    @property
    def now(self) -> Place:
        """Where this frame is kept."""
        return self._places[self._now]

    def before(self, size: Size) -> Place | None:
        """What a frame of that many columns and rows goes by; None: it is the first one, or the one
        before had another size. Whether the scene was cut between them only the device knows.
        """
        return self._places[1 - self._now] if self._size_before == size else None

    def go_on(self, size: Size) -> None:
        """The frame has succeeded: the next one goes by it."""
        self._now, self._size_before = 1 - self._now, size

    def free(self) -> None:
        """Gives the memory back, after the work that uses it; may be called twice."""
        self._memory, self._size_before = None, None


class StreamFrame(NamedTuple):
    """One frame on its way through the network."""

    state: StreamState
    size: Size  # columns and rows of the picture

    @property
    def before(self) -> Place | None:
        """What it goes by."""
        return self.state.before(self.size)


class StreamSteps:
    """Queues what is done for a stream's frame around the network; one for each batch in flight,
    whose scratch memory it has.

    Args:
        device: where.
        planes: of the model.
        half: the network is shown float16, else float32.
    """

    def __init__(self, device: Device, planes: Planes, *, half: bool) -> None:
        self._device = device
        self._planes = planes
        self._half = half
        self._change = device.allocate(CHANGE_BYTES)
        self._scratch: Memory | None = None
        if planes.alpha != planes.plane:
            self._scratch = device.allocate(aligned(JOB.itemsize) + 12 * _area(planes.alpha))

    def look(self, frame: StreamFrame, plane: int, stream: Stream) -> None:
        """What the network is shown, at the address `plane`, is looked at: its luma is kept, and
        what has changed since the frame before is counted.
        """
        before, wanted = frame.before, self._planes.input
        temporal_luma(
            self._device,
            stream,
            plane=plane,
            luma=frame.state.now.luma,
            width=wanted.width,
            height=wanted.height,
            mean=wanted.mean,
            std=wanted.std,
            luma_before=before.luma if before else 0,
            change=self._change.address,
            layout=wanted.layout,
            channels=wanted.channels,
            half=self._half,
        )

    def load(self, frame: StreamFrame | None, target: int, stream: Stream) -> None:
        """States for the run, at the address `target`: those of the frame before, or the first
        ones. Behind `look`.
        """
        before = frame.before if frame else None
        carry_states(
            self._device,
            stream,
            source=before.states if before else 0,
            target=target,
            nbytes=self._planes.states.nbytes,
            change=self._change.address if before else 0,
            cut=self._planes.cut,
        )

    def keep(self, frame: StreamFrame, source: int, stream: Stream) -> None:
        """What the network handed on, at the address `source`, is kept for the next frame."""
        carry_states(
            self._device,
            stream,
            source=source,
            target=frame.state.now.states,
            nbytes=self._planes.states.nbytes,
        )

    def steady(self, frame: StreamFrame, alpha: int, stream: Stream) -> None:
        """The alpha at that address becomes the one to show. Behind `look`."""
        if not frame.state.smooth:
            return
        now, before = frame.state.now, frame.before
        width, height = self._planes.alpha
        if self._scratch is not None:
            self._bring_to_alpha(now, self._scratch.address, stream)
        temporal_blend(
            self._device,
            stream,
            alpha=alpha,
            kept=now.alpha,
            target=alpha,
            luma=now.alpha_luma,
            width=width,
            height=height,
            smooth=frame.state.smooth,
            alpha_before=before.alpha if before else 0,
            luma_before=before.alpha_luma if before else 0,
            change=self._change.address,
            cut=self._planes.cut,
        )

    def _bring_to_alpha(self, place: Place, scratch: int, stream: Stream) -> None:
        """The luma at the alpha's size, by the kernels that bring pictures to the network's."""
        (width, height), (columns, rows) = self._planes.alpha, self._planes.plane
        mean, std = _AS_IT_IS
        jobs, plane = scratch, scratch + aligned(JOB.itemsize)
        image = image_struct(((place.luma, columns),), columns, rows, PixelFormat.GRAY8)
        job = job_struct(image, Placement(0, 0, width, height))
        store_jobs(self._device, stream, job, target=jobs)
        resize_normalise(
            self._device,
            stream,
            jobs=jobs,
            batch=1,
            target=plane,
            width=width,
            height=height,
            mean=mean,
            std=std,
        )
        temporal_luma(
            self._device,
            stream,
            plane=plane,
            luma=place.alpha_luma,
            width=width,
            height=height,
            mean=mean,
            std=std,
        )


def aligned(nbytes: int) -> int:
    """`nbytes` and the padding behind it."""
    return -(-nbytes // ALIGNMENT) * ALIGNMENT


def _placed(start: int, sizes: tuple[int, int, int, int]) -> Place:
    luma, alpha_luma, alpha, states = accumulate(sizes[:3], initial=start)
    return Place(luma, alpha_luma if sizes[1] else luma, alpha, states)


def _area(size: Size) -> int:
    return size[0] * size[1]
