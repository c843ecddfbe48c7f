"""The stages of one image on the CPU: OpenCV around an engine that takes host memory.

    decode -> resize, normalise -> (engine) -> alpha to source size -> edges, colours,
    composite -> encode

Made by `server.model_host`; see `server.pipeline` for the contract.
"""

from __future__ import annotations

import math
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from kernels import cpu
from kernels.cpu.resize import LEFT_BY_HALVING
from models.errors import EngineFailed
from models.model import Model
from models.recurrent import RecurrentModel
from server.codecs.decode import Decoded, decode
from server.codecs.encode import encode_result
from server.codecs.header import Limits
from server.finishing import DEFAULTS, finish, needs_colours, plan
from server.job import WHITE, Options, Source
from server.known_background import Found, close_found, find_drawing, why_not
from server.pipeline import Opened, Outcome
from server.shrink import shrunk
from server.streams.memory import Seen

_NOT_ASKED = np.empty((0, 0), np.float32)


@dataclass(slots=True, kw_only=True)
class HostOpened(Opened):
    """A decoded image and what the model takes of it."""

    decoded: Decoded
    tensor: NDArray[np.float32]  # one prepared image: (1, C, h, w) or (1, h, w, C)
    found: Found | None = None  # the subject, where the model need not be asked


class HostPipeline:
    """Stages of one image; holds no state but the model and the limits."""

    seats = 0

    def __init__(self, model: Model, limits: Limits) -> None:
        self.model = model
        self.limits = limits
        # Columns and rows that a JPEG may be decoded to where the network alone looks at it: as
        # many as halving would leave.
        plane = model.manifest.input
        columns, rows = plane.width * LEFT_BY_HALVING, plane.height * LEFT_BY_HALVING
        self._least = (math.ceil(columns), math.ceil(rows))

    def seat(self) -> AbstractContextManager[None]:
        """Nothing: host memory is taken as it is needed."""
        return nullcontext()

    def open(self, source: Source, options: Options, seat: None = None) -> HostOpened:
        """The image decoded and prepared for the model.

        Raises:
            ImageRejected: the bytes are no picture this server takes; the sentence says why.
        """
        started = perf_counter()
        least = None if needs_colours(options) else self._least
        decoded = decode(source, self.limits, keep_metadata=options.keep_metadata, least=least)
        decoded = shrunk(decoded, options.max_megapixels)
        decoded_at = perf_counter()
        found = find_drawing(decoded.rgb, decoded.alpha, options)
        notes = () if found is not None else why_not(decoded.alpha, options)
        tensor = _NOT_ASKED if found is not None else self._prepared(decoded)
        width, height = decoded.size
        return HostOpened(
            width=width,
            height=height,
            format=decoded.format,
            notes=decoded.notes + notes,
            decode_ms=(decoded_at - started) * 1e3,
            prepare_ms=(perf_counter() - decoded_at) * 1e3,
            decoded=decoded,
            tensor=tensor,
            found=found,
        )

    def _prepared(self, decoded: Decoded) -> NDArray[np.float32]:
        visible = decoded.rgb
        if decoded.alpha is not None:
            # What lies under a transparent pixel is arbitrary; on white the network sees what a
            # viewer does.
            visible = cpu.composite(decoded.rgb, decoded.alpha, WHITE.rgba)
        return self.model.prepare(visible)

    def run(self, batch: list[HostOpened]) -> list[NDArray[np.float32]]:
        """Alphas, (h, w) float32 in [0, 1] at the network's size; an empty one where the model is
        not asked.

        Raises:
            EngineFailed: the engine could not run, or answered nonsense.
        """
        asked = [opened for opened in batch if opened.found is None]
        alphas = iter(self._run(asked) if asked else ())
        return [next(alphas) if opened.found is None else _NOT_ASKED for opened in batch]

    def _run(self, batch: list[HostOpened]) -> NDArray[np.float32]:
        if isinstance(self.model, RecurrentModel):
            return np.stack([self._step(self.model, opened) for opened in batch])
        tensors = [opened.tensor for opened in batch]
        alphas = self.model.run(tensors[0] if len(tensors) == 1 else np.concatenate(tensors))
        for place, opened in enumerate(batch):
            if opened.memory is not None:
                alphas[place] = opened.memory.remember(self._seen(opened), alphas[place])
        return alphas

    def run_tensors(self, batch: list[NDArray[np.float32]]) -> NDArray[np.float32]:
        """See `server.pipeline.Pipeline`; each image of a recurrent model is a first frame."""
        answers = self.model.engine.run(batch[0] if len(batch) == 1 else np.concatenate(batch))
        if len(answers) != len(batch):
            name = self.model.manifest.name
            raise EngineFailed(f"model '{name}' answered {len(answers)} images for {len(batch)}")
        return answers

    def _step(self, model: RecurrentModel, opened: HostOpened) -> NDArray[np.float32]:
        """The alpha of one frame of its stream, with the states of the frame before."""
        if opened.memory is None:
            return model.step(opened.tensor, None)[0]
        seen = self._seen(opened)
        alpha, states = model.step(opened.tensor, opened.memory.states_for(seen))
        return opened.memory.remember(seen, alpha, states)

    def _seen(self, opened: HostOpened) -> Seen:
        assert opened.memory is not None
        size = (opened.width, opened.height)
        return opened.memory.look_at(opened.tensor, self.model.manifest.input, size)

    def close(self, opened: HostOpened, answer: NDArray[np.float32], options: Options) -> Outcome:
        """The result made of `opened` and its network alpha.

        Args:
            opened: from `open`, with the same options.
            answer: (h, w) float32 in [0, 1] at the network's size.
            options: what to make.
        """
        if opened.found is not None:
            return close_found(opened.decoded, opened.found, options, self.limits, opened.check)
        started = perf_counter()
        decoded = opened.decoded
        alpha_u8 = cpu.alpha_to_source(
            answer, opened.width, opened.height, fit=self.model.manifest.fit
        )
        if decoded.alpha is not None:
            # What was transparent before stays so: a cut-out put in again grows no background.
            alpha_u8 = cpu.multiply_alpha(alpha_u8, decoded.alpha)
        cell_px = max(opened.width / answer.shape[1], opened.height / answer.shape[0])
        wanted = plan(options, DEFAULTS, cell_px)
        finished = finish(
            decoded.rgb,
            alpha_u8,
            decoded.alpha,
            wanted,
            cell_px=cell_px,
            check=opened.check,
            limits=self.limits,
        )
        finished_at = perf_counter()
        encoded = encode_result(
            finished.pixels, finished.alpha_u8, options, icc=decoded.icc, dpi=decoded.dpi
        )
        return Outcome(
            encoded=encoded,
            statistics=finished.statistics,
            finish_ms=(finished_at - started) * 1e3,
            encode_ms=(perf_counter() - finished_at) * 1e3,
            refine=finished.refine,
            decontaminate=finished.decontaminate,
            notes=finished.notes,
            shown=finished.shown,
        )

    def free(self) -> None:
        """Nothing: host memory goes with its last reference."""
