"""What streams remember on one device: taken at a stream's first frame there, kept while the stream
or its time to be taken up again lasts.

Made by `server.device_pipeline`. A stream's `server.streams.memory` holds on to its state; here is
only known which states lie on this device, so that a lost device and a model that is unloaded leave
none behind. There are at most two for each of `max_streams`: the open streams, and those that ended
and may be taken up again, which `stream_resume_mb` bounds in bytes too.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from weakref import WeakSet

from kernels.device import DeviceFull
from models.device_model import DeviceModel
from models.stream_state import StreamFrame, StreamState
from server.pipeline import Opened

Frames = Sequence[StreamFrame | None]


class DeviceStreams:
    """The states of the streams on one device; any number of threads may share it.

    Args:
        model: on that device.
        make_room: called once when the device is full, before it is asked again.
    """

    def __init__(self, model: DeviceModel, make_room: Callable[[], None]) -> None:
        self._model = model
        self._make_room = make_room
        self._states: WeakSet[StreamState] = WeakSet()
        self._books = threading.Lock()

    def frames(self, batch: Sequence[Opened]) -> Frames:
        """For each image what its stream remembers, None where it is no frame of one that does.

        Raises:
            DeviceFull: there is no room for a stream that begins.
        """
        return [
            None
            if opened.memory is None
            else StreamFrame(self._state_of(opened), (opened.width, opened.height))
            for opened in batch
        ]

    def succeeded(self, frames: Frames) -> None:
        """The streams go on from these frames."""
        for frame in frames:
            if frame is not None:
                frame.state.go_on(frame.size)

    def forget(self) -> None:
        """Frees all states: those streams begin anew with their next frame."""
        with self._books:
            states = list(self._states)
            self._states.clear()
        for state in states:
            state.free()

    def _state_of(self, opened: Opened) -> StreamState:
        memory = opened.memory
        assert memory is not None
        with self._books:
            kept = memory.there
            if isinstance(kept, StreamState) and kept in self._states:
                return kept
        # The first frame here: of the stream, or after its device was lost.
        try:
            state = self._model.new_state(memory.smooth)
        except DeviceFull:
            self._make_room()
            state = self._model.new_state(memory.smooth)
        with self._books:
            self._states.add(state)
        memory.there = state
        return state
