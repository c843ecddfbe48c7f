"""The path of one image between its bytes and the finished bytes, with no wire in it.

    source -> decode -> prepare -> (engine) -> alpha to source size -> composite -> encode

The gRPC services run `open` and `close` in worker threads with the batcher between them; the CLI's
local mode calls `remove`, which is the same three steps in the caller's thread.
"""

from __future__ import annotations

from dataclasses import dataclass
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from kernels import cpu
from models.model import Model
from server.codecs.decode import Decoded, decode
from server.codecs.encode import Encoded, encode_result
from server.codecs.header import Limits
from server.job import Format, Options, Output, Source

WHITE = (255, 255, 255, 255)


@dataclass(frozen=True, slots=True)
class Opened:
    """A decoded image and what the model takes of it."""

    decoded: Decoded
    tensor: NDArray[np.float32]  # one prepared image: (1, C, h, w) or (1, h, w, C)
    decode_ms: float
    prepare_ms: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """A finished image and what there is to report of it."""

    opened: Opened
    encoded: Encoded
    statistics: cpu.AlphaStatistics
    infer_ms: float
    finish_ms: float
    encode_ms: float


class Pipeline:
    """Stages of one image; holds no state but the limits, so any number of threads may share it."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits

    def open(self, source: Source, options: Options, model: Model) -> Opened:
        """The image decoded and prepared for `model`.

        Raises:
            ImageRejected: the bytes are no picture this server takes; the sentence says why.
        """
        started = perf_counter()
        decoded = decode(source, self.limits, keep_metadata=options.keep_metadata)
        decoded_at = perf_counter()
        visible = decoded.rgb
        if decoded.alpha is not None:
            # What lies under a transparent pixel is arbitrary; on white the network sees what a
            # viewer does.
            visible = cpu.composite(decoded.rgb, decoded.alpha, WHITE)
        tensor = model.prepare(visible)
        prepared_at = perf_counter()
        return Opened(
            decoded=decoded,
            tensor=tensor,
            decode_ms=(decoded_at - started) * 1e3,
            prepare_ms=(prepared_at - decoded_at) * 1e3,
        )

    def close(
        self,
        opened: Opened,
        alpha: NDArray[np.float32],
        options: Options,
        model: Model,
        *,
        infer_ms: float,
    ) -> Outcome:
        """The result made of `opened` and its network alpha.

        Args:
            opened: from `open`, with the same options and model.
            alpha: (h, w) float32 in [0, 1] at the network's size.
            options: what to make.
            model: the model that gave `alpha`; its manifest knows how the source was fitted in.
            infer_ms: what the engine's run took, carried into the outcome.
        """
        started = perf_counter()
        decoded = opened.decoded
        height, width = decoded.rgb.shape[:2]
        alpha_u8 = cpu.alpha_to_source(alpha, width, height, fit=model.manifest.fit)
        if decoded.alpha is not None:
            # What was transparent before stays so: a cut-out put in again grows no background.
            alpha_u8 = cpu.multiply_alpha(alpha_u8, decoded.alpha)
        statistics = cpu.alpha_statistics(alpha_u8)
        pixels = _finish(decoded.rgb, alpha_u8, options)
        finished_at = perf_counter()
        encoded = encode_result(pixels, alpha_u8, options, icc=decoded.icc, dpi=decoded.dpi)
        encoded_at = perf_counter()
        return Outcome(
            opened=opened,
            encoded=encoded,
            statistics=statistics,
            infer_ms=infer_ms,
            finish_ms=(finished_at - started) * 1e3,
            encode_ms=(encoded_at - finished_at) * 1e3,
        )

    def remove(self, source: Source, options: Options, model: Model) -> Outcome:
        """The whole path in the caller's thread, without batching.

        Raises:
            ImageRejected: as `open`.
            EngineFailed: the engine could not run.
        """
        opened = self.open(source, options, model)
        started = perf_counter()
        alphas = model.run(opened.tensor)  # (1, h, w)
        infer_ms = (perf_counter() - started) * 1e3
        return self.close(opened, alphas[0], options, model, infer_ms=infer_ms)


def _finish(
    rgb: NDArray[np.uint8], alpha: NDArray[np.uint8], options: Options
) -> NDArray[np.uint8]:
    """The pixels that are encoded: (H, W) alpha, (H, W, 3) RGB or (H, W, 4) RGBA."""
    if options.output is Output.ALPHA:
        return alpha
    if options.output is Output.COMPOSITE:
        color = options.background
        if color is None:
            raise ValueError("a composite needs a background; server.options should have said so")
        return cpu.composite(rgb, alpha, (color.red, color.green, color.blue, color.alpha))
    if options.format is Format.ZIP:
        return rgb  # colours and alpha travel as two files
    return cpu.cutout(rgb, alpha)
