"""The fastest calls known for each stage of one request: the server is held against their sum.

Called by `stages`. A stage has one call or several: which is fastest differs between machines, so
all are timed and the best median counts. The project's own functions are among them; where one of
them is not the fastest, the table shows it. Every call runs on one thread and makes what the server
makes: an antialiased input, an RGBA cut-out with colour zeroed under alpha 0, a whole PNG.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import TypeVar, cast

import cv2
import numpy as np
import onnxruntime
import simplejpeg
from numpy.typing import NDArray

from kernels import cpu
from loadtest.networks import IMAGENET_MEAN, IMAGENET_STD, SIDE_PX
from server.codecs import deflate
from server.codecs.png import write_png

U8 = NDArray[np.uint8]
F32 = NDArray[np.float32]
Made = TypeVar("Made")
STAGES = ("decode", "prepare", "infer", "alpha up", "composite", "encode")
_SCALE = [1 / (255 * std) for std in IMAGENET_STD]
_SHIFT = [mean / std for mean, std in zip(IMAGENET_MEAN, IMAGENET_STD, strict=True)]


@dataclass(slots=True)
class Timed:
    """Milliseconds of every call, by stage and by the call's name."""

    ms: dict[str, dict[str, list[float]]] = field(
        default_factory=lambda: {stage: {} for stage in STAGES}
    )

    def add(self, stage: str, call: str, milliseconds: float) -> None:
        """Notes one call."""
        self.ms[stage].setdefault(call, []).append(milliseconds)

    def best(self, stage: str) -> tuple[str, float]:
        """Name and median of the stage's fastest call, ms."""
        medians = {call: median(times) for call, times in self.ms[stage].items()}
        name = min(medians, key=lambda call: medians[call])
        return name, medians[name]

    def sum_of_best_ms(self) -> float:
        """Milliseconds of one request made of the fastest calls and nothing else."""
        return sum(self.best(stage)[1] for stage in STAGES)

    def sums_of_best_ms(self) -> list[float]:
        """The same sum round by round, with the calls that are fastest over all rounds, ms."""
        chosen = [self.ms[stage][self.best(stage)[0]] for stage in STAGES]
        return [sum(times) for times in zip(*chosen, strict=True)]


class BestStages:
    """One request's stages, called directly; holds the ONNX session."""

    def __init__(self, onnx: Path) -> None:
        cv2.setNumThreads(1)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3  # exported networks draw a warning per weight otherwise
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = onnxruntime.InferenceSession(
            str(onnx), options, providers=["CPUExecutionProvider"]
        )
        self._input = self._session.get_inputs()[0].name

    def once(self, jpeg: bytes, timed: Timed) -> bytes:
        """A PNG cut-out of `jpeg`; the time of every call of every stage goes into `timed`."""
        rgb = _each_timed(
            timed,
            "decode",
            {
                "simplejpeg": lambda: simplejpeg.decode_jpeg(jpeg, colorspace="RGB"),
                "cv2": lambda: cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR_RGB),
            },
        )
        height, width = rgb.shape[:2]
        tensor = _each_timed(
            timed,
            "prepare",
            {
                "halving + area": lambda: _normalised(_halved(rgb)),
                "area": lambda: _normalised(rgb),
                "kernels.cpu": lambda: cpu.resize_normalise(
                    rgb, SIDE_PX, SIDE_PX, IMAGENET_MEAN, IMAGENET_STD
                ),
            },
        )
        raw = _each_timed(timed, "infer", {"onnxruntime, 1 thread": lambda: self._infer(tensor)})
        network_alpha = _stretched(raw)
        alpha = _each_timed(
            timed,
            "alpha up",
            {
                "to 8 bits, linear": lambda: _alpha_up(network_alpha, width, height),
                "kernels.cpu": lambda: cpu.alpha_to_source(network_alpha, width, height),
            },
        )
        pixels = _each_timed(
            timed,
            "composite",
            {
                "copyTo + insertChannel": lambda: _cutout(rgb, alpha),
                "kernels.cpu": lambda: cpu.cutout(rgb, alpha),
            },
        )
        return _each_timed(
            timed,
            "encode",
            {"up + level 1": lambda: _png(pixels), "codecs.png": lambda: write_png(pixels)},
        )

    def _infer(self, tensor: F32) -> F32:
        output: F32 = self._session.run(None, {self._input: tensor})[0]
        return output


def _each_timed(timed: Timed, stage: str, calls: dict[str, Callable[[], Made]]) -> Made:
    """What the first call gives; every call is timed."""
    results = []
    for name, call in calls.items():
        began = perf_counter()
        results.append(call())
        timed.add(stage, name, (perf_counter() - began) * 1e3)
    return results[0]


def _halved(rgb: U8) -> U8:
    """`rgb` halved by exact 2x2 means while it is three times the network's side or more."""
    while min(rgb.shape[:2]) >= 3 * SIDE_PX and not (rgb.shape[0] % 2 or rgb.shape[1] % 2):
        half = (rgb.shape[1] // 2, rgb.shape[0] // 2)
        rgb = cast(U8, cv2.resize(rgb, half, interpolation=cv2.INTER_AREA))
    return rgb


def _normalised(rgb: U8) -> F32:
    """(1, 3, side, side) float32."""
    small = cv2.resize(rgb, (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_AREA)
    tensor = np.empty((1, 3, SIDE_PX, SIDE_PX), np.float32)
    for target, plane, scale, shift in zip(
        tensor[0], cv2.split(small), _SCALE, _SHIFT, strict=True
    ):
        np.multiply(plane, np.float32(scale), out=target)
        np.subtract(target, np.float32(shift), out=target)
    return tensor


def _stretched(raw: F32) -> F32:
    """The network's answer (1, 1, h, w) as alpha (h, w) in [0, 1]; microseconds, not a stage."""
    alpha: F32 = raw[0, 0]
    low, high = float(alpha.min()), float(alpha.max())
    return (alpha - np.float32(low)) / np.float32(max(high - low, 1e-6))


def _alpha_up(alpha: F32, width: int, height: int) -> U8:
    """(height, width) uint8."""
    small = np.rint(alpha * np.float32(255)).astype(np.uint8)
    return cast(U8, cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR))


def _cutout(rgb: U8, alpha: U8) -> U8:
    """(H, W, 4) uint8, colour zeroed where alpha is 0."""
    seen = cv2.copyTo(rgb, alpha)
    pixels = cv2.cvtColor(seen, cv2.COLOR_RGB2RGBA)
    cv2.insertChannel(alpha, pixels, 3)
    return cast(U8, pixels)


def _png(pixels: U8) -> bytes:
    """(H, W, 4) as a PNG: every row is the difference to the one above, one block of data."""
    height, width = pixels.shape[:2]
    rows = pixels.reshape(height, width * 4)
    filtered = np.empty((height, width * 4 + 1), np.uint8)
    filtered[:, 0] = 2  # the filter "up"
    filtered[0, 1:] = rows[0]
    np.subtract(rows[1:], rows[:-1], out=filtered[1:, 1:])
    header = struct.pack(">IIBBBBB", width, height, 8, 6, 0, 0, 0)  # 8 bits, RGBA
    chunks = [(b"IHDR", header), (b"IDAT", deflate.compress(filtered)), (b"IEND", b"")]
    parts = [b"\x89PNG\r\n\x1a\n"]
    for kind, data in chunks:
        checksum = deflate.crc32(data, deflate.crc32(kind))
        parts += [struct.pack(">I", len(data)), kind, data, struct.pack(">I", checksum)]
    return b"".join(parts)
