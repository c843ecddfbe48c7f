"""The stages of one image that is keyed on the colour of its screen, on the CPU.

    decode -> the screen's colour, the stream's or found -> alpha and colours -> edges, composite
    -> encode

Made by `server.replica` for models without a network, on whatever device the others run; see
`server.pipeline` for the contract. Only the colour is a stream's to remember, so only finding it
takes turns; the keying itself is part of `close`.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from time import perf_counter

import cv2
import numpy as np
from numpy.typing import NDArray

from kernels.cpu.chroma_key import chroma_key
from kernels.cpu.screen_color import Rgb, has_color, screen_color
from models.errors import EngineFailed
from models.key_model import KeyModel
from server.codecs.decode import Decoded, decode
from server.codecs.header import Limits
from server.job import ChromaKey, Color, Method, Options, Source
from server.known_background import Found, close_found
from server.pipeline import Opened, Outcome
from server.shrink import shrunk

_NO_SCREEN = (
    "no screen of one colour was found, so the whole picture was kept: name the screen's colour "
    "with chroma_key.color, or use another model"
)
_NOT_THERE = "nothing of the screen's colour is in the picture, so the whole of it was kept"


@dataclass(slots=True, kw_only=True)
class KeyOpened(Opened):
    """A decoded image and the colour that its caller named."""

    decoded: Decoded
    color: Color | None


class KeyPipeline:
    """Stages of one image; holds no state but the model and the limits."""

    seats = 0

    def __init__(self, model: KeyModel, limits: Limits) -> None:
        self.model = model
        self.limits = limits

    def seat(self) -> AbstractContextManager[None]:
        """Nothing: host memory is taken as it is needed."""
        return nullcontext()

    def open(self, source: Source, options: Options, seat: None = None) -> KeyOpened:
        """The image decoded.

        Raises:
            ImageRejected: the bytes are no picture this server takes; the sentence says why.
        """
        started = perf_counter()
        decoded = decode(source, self.limits, keep_metadata=options.keep_metadata)
        decoded = shrunk(decoded, options.max_megapixels)
        height, width = decoded.rgb.shape[:2]
        return KeyOpened(
            width=width,
            height=height,
            format=decoded.format,
            notes=decoded.notes,
            decode_ms=(perf_counter() - started) * 1e3,
            prepare_ms=0.0,
            decoded=decoded,
            color=options.chroma_key.color,
        )

    def run(self, batch: list[KeyOpened]) -> list[Rgb | None]:
        """The screens' colours, R G B 0..255; None where there is none."""
        return [_screen(opened) for opened in batch]

    def run_tensors(self, batch: list[NDArray[np.float32]]) -> NDArray[np.float32]:
        """See `server.pipeline.Pipeline`; nobody is offered it, see `server.kserve.names`."""
        raise EngineFailed(f"model '{self.model.manifest.name}' has no network to run on tensors")

    def close(self, opened: KeyOpened, answer: Rgb | None, options: Options) -> Outcome:
        """The result, keyed on the colour that `run` answered."""
        started = perf_counter()
        found = _keyed(opened.decoded.rgb, answer, options.chroma_key)
        keyed_ms = (perf_counter() - started) * 1e3
        outcome = close_found(opened.decoded, found, options, self.limits, opened.check)
        return replace(outcome, finish_ms=keyed_ms + outcome.finish_ms)

    def free(self) -> None:
        """Nothing: host memory goes with its last reference."""


def _keyed(rgb_u8: NDArray[np.uint8], screen: Rgb | None, wanted: ChromaKey) -> Found:
    method = Method.CHROMA_KEY
    if screen is None:
        whole = np.full(rgb_u8.shape[:2], 255, np.uint8)
        return Found(whole, rgb_u8, method, notes=(_NO_SCREEN,))
    alpha, colours = chroma_key(
        rgb_u8,
        screen,
        tolerance=wanted.tolerance,
        softness=wanted.softness,
        despill=wanted.despill,
    )
    notes = (_NOT_THERE,) if cv2.minMaxLoc(alpha)[0] == 255 else ()
    return Found(alpha, colours, method, _as_color(screen), notes)


def _screen(opened: KeyOpened) -> Rgb | None:
    if opened.color is not None:
        return opened.color.red, opened.color.green, opened.color.blue
    rgb, memory = opened.decoded.rgb, opened.memory
    if memory is None:
        return screen_color(rgb)
    # A stream keeps its screen's colour, even while somebody hides nearly all of it, so that edges
    # do not flicker; until a frame shows another screen and this one no more.
    if memory.screen is None or not has_color(rgb, memory.screen):
        memory.screen = screen_color(rgb) or memory.screen
    return memory.screen


def _as_color(rgb: Rgb) -> Color:
    red, green, blue = (round(value) for value in rgb)
    return Color(red, green, blue)
