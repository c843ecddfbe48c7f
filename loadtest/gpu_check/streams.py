"""Streams that remember on a GPU, frame by frame beside what is known of them.

steady      two streams by turns, each beside what the CPU's path makes of the same frames
recurrent   two streams by turns through an engine that answers a frame late: what one frame hands
            on must reach the next one of its own stream, and nothing at the first and at a cut
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from kernels.cpu import resize_normalise
from kernels.device import Device
from loadtest.gpu_check.flow import ALPHA, SECTION, Flow
from loadtest.gpu_check.own_engines import PLANE, LateEngine, RedEngine, model_of
from loadtest.gpu_check.rows import Row, passed_if
from models.manifest import Manifest
from server.codecs.encode import Encoded
from server.job import PixelFormat, RawSource
from server.streams.memory import StreamMemory

U8 = NDArray[np.uint8]
FRAMES = 24
SMOOTH = 0.8
CUT_AT = 5  # the frame that begins another scene
LEVELS = 1  # of 255: rounding


def check(device: Device, frames: int = FRAMES) -> Iterator[Row]:
    """A row for each kind of stream."""
    yield check_steady(device, frames)
    yield check_recurrent(device, frames)


def check_steady(device: Device, frames: int) -> Row:
    """Alphas steadied there and here."""
    flow = Flow(model_of(RedEngine(device), device))
    films = [film(seed, frames) for seed in (1, 2)]
    shown, notes = play(flow, films, SMOOTH)
    manifest, worst, steadied = flow.model.manifest, 0, 0
    for seen, pictures in zip(shown, films, strict=True):
        for alpha, (plain, expected) in zip(seen, steady_here(manifest, pictures), strict=True):
            worst = max(worst, int(np.abs(alpha.astype(int) - expected).max()))
            steadied += not np.array_equal(plain, expected)
    flow.model.close()
    return passed_if(
        worst <= LEVELS and steadied > 0 and not notes,
        SECTION,
        "a steady stream = the CPU's",
        f"{worst} of 255 apart",
        f"{steadied} frames were steadied; {'; '.join(notes) or 'copies and memory are right'}",
    )


def check_recurrent(device: Device, frames: int) -> Row:
    """States of each stream, handed on by the device."""
    flow = Flow(model_of(LateEngine(device), device))
    films = [film(seed, frames) for seed in (1, 2)]
    shown, notes = play(flow, films, 0.0)
    wrong = 0
    for seen, pictures in zip(shown, films, strict=True):
        reds = [alpha_here(flow.model.manifest, rgb) for rgb in pictures]
        late = [np.zeros_like(reds[0]), *reds[:-1]]
        if frames > CUT_AT:
            late[CUT_AT] = late[0]
        wrong += sum(
            np.abs(alpha.astype(int) - expected).max() > LEVELS
            for alpha, expected in zip(seen, late, strict=True)
        )
    flow.model.close()
    return passed_if(
        wrong == 0 and all(flow.graphs) and not notes,
        SECTION,
        "a recurrent stream's states",
        f"{wrong} of {2 * frames} frames wrong",
        f"{flow.graphs.count(False)} runs were no replays; "
        f"{'; '.join(notes) or 'copies and memory are right'}",
    )


def play(
    flow: Flow, films: Sequence[Sequence[U8]], smooth: float
) -> tuple[list[list[U8]], list[str]]:
    """The alphas of the films, shown by turns as streams of their own; and what was not as it
    should be of copies and memory.
    """
    memories = [StreamMemory(smooth) for _ in films]
    shown: list[list[U8]] = [[] for _ in films]
    notes: set[str] = set()
    blocks = 0
    for number, frames in enumerate(zip(*films, strict=True)):
        if number == 1:  # the streams have begun: what they keep is there
            blocks = flow.model.device.allocations
        for seen, rgb, memory in zip(shown, frames, memories, strict=True):
            source = RawSource(rgb.tobytes(), PixelFormat.RGB8, *PLANE)
            with flow.pipeline.seat() as seat:
                opened = flow.pipeline.open(source, ALPHA, seat)
                opened.memory = memory
                (answer,) = flow.pipeline.run([opened])
                outcome = flow.pipeline.close(opened, answer, ALPHA)
            assert isinstance(outcome.encoded, Encoded)  # raw alphas are bytes
            alpha = np.frombuffer(bytes(outcome.encoded.data), np.uint8)
            seen.append(alpha.reshape(PLANE[::-1]))
            copies = outcome.copies
            if (copies.host_to_device, copies.device_to_host) != (1, 1):
                notes.add(f"{copies.host_to_device} copies up, {copies.device_to_host} down")
    if more := flow.model.device.allocations - blocks:
        notes.add(f"{more} blocks of memory were taken after the first frames")
    for memory in memories:
        assert memory.there is not None
        memory.there.free()
    return shown, sorted(notes)


def film(seed: int, frames: int) -> list[U8]:
    """Pictures of the plane's size: a scene under noise, then another one from `CUT_AT` on."""
    rng = np.random.default_rng(seed)
    shape = (PLANE[1], PLANE[0], 3)
    scenes = [rng.integers(130, 180, shape), rng.integers(200, 245, shape)]
    noise = rng.integers(-5, 6, (frames, *shape))
    return [(scenes[number >= CUT_AT] + noise[number]).astype(np.uint8) for number in range(frames)]


def alpha_here(manifest: Manifest, rgb: U8) -> U8:
    """What the red channel of a picture is as an alpha, 0..255."""
    return _levels(_red(_prepared(manifest, rgb)))


def steady_here(manifest: Manifest, pictures: Sequence[U8]) -> Iterator[tuple[U8, U8]]:
    """Of each picture its plain alpha and the steadied one, 0..255, by the CPU's path."""
    memory = StreamMemory(SMOOTH)
    for rgb in pictures:
        tensor = _prepared(manifest, rgb)
        alpha = _red(tensor)
        seen = memory.look_at(tensor, manifest.input, PLANE)
        yield _levels(alpha), _levels(memory.remember(seen, alpha))


def _prepared(manifest: Manifest, rgb: U8) -> NDArray[np.float32]:
    wanted = manifest.input
    return resize_normalise(rgb, wanted.width, wanted.height, wanted.mean, wanted.std)


def _red(tensor: NDArray[np.float32]) -> NDArray[np.float32]:
    plane: NDArray[np.float32] = tensor[0, 0]
    return np.clip(plane, 0, 1)


def _levels(alpha: NDArray[np.float32]) -> U8:
    return np.rint(255 * alpha).astype(np.uint8)
