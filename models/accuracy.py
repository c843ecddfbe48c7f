"""How far an engine's alphas are from those of ONNX Runtime in fp32, on fixed inputs.

Called by `models.tensorrt_engine` before a built plan may serve. Knows no TensorRT: what is
measured is a function from a batch to the network's raw output.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
from numpy.typing import NDArray

from kernels.device import Device, Memory
from kernels.reference.activate import FLAT
from kernels.transfer import Copies, to_device, to_host
from models.device_engine import DeviceEngine, TensorSpec
from models.errors import AccuracyRefused
from models.manifest import Manifest
from models.model import Model
from models.onnx_engine import OnnxEngine
from models.states import States
from models.stream_state import StateRoom
from models.weights import VerifiedWeights

F32 = NDArray[np.float32]
Run = Callable[[F32], F32]

DTYPES = {"fp32": np.float32, "fp16": np.float16}
SOURCE_HW = (360, 480)  # rows, columns of the fixed pictures in pixels
# Changes with the pictures and with what is compared: other figures are measured again.
INPUTS = "2"


@dataclass(frozen=True, slots=True)
class Accuracy:
    """Differences of alphas in [0, 1] between an engine and ONNX Runtime in fp32.

    Attributes:
        max_abs: of the worst pixel of all images.
        mean_abs: mean over the pixels of the worst image: one bad place in a batch is not thinned
            out by the good ones.
        images: how many were compared, each place of each batch size.
        inputs: which fixed pictures.
    """

    max_abs: float
    mean_abs: float
    images: int
    inputs: str = INPUTS


@dataclass(frozen=True, slots=True)
class Tolerance:
    """The most that an engine may differ."""

    max_abs: float
    mean_abs: float


# fp32: sums in another order; built without TF32, whose ten bits would not keep this.
# fp16: one pixel on a steep edge says little (0.13 seen of an honest twin of MediaPipe's selfie
# model, run by ONNX Runtime), so the mean decides: under one 8-bit level, 1/255. Of the four models
# at hand the worst mean was 0.0014; swapped channels or a wrong place in the batch give 0.05 up.
TOLERANCES = {"fp32": Tolerance(1e-3, 1e-4), "fp16": Tolerance(0.25, 1 / 255)}


def measure(
    manifest: Manifest, weights: VerifiedWeights, seen: Run, batches: Sequence[int]
) -> Accuracy:
    """The figure of `seen`, each picture at each place of a batch against its own fp32 run; of a
    recurrent network the pictures as one film, whose later frames tell how far states have drifted.

    Alphas are compared after the activation, except that "minmax" is left out: it stretches a
    picture without a subject until rounding noise fills it. Its raw answer has any range, so the
    differences are in shares of the range that ONNX Runtime's answers to all pictures have.

    Args:
        manifest: how input and output are read.
        weights: the file that ONNX Runtime runs on the CPU: the original, not its twin in fp16.
        seen: raw output, (N, ...) float32, of a batch as `models.engine.Engine.run` gets it; a
            recurrent network goes by the call before.
        batches: batch sizes to run; a recurrent network runs frame by frame.

    Raises:
        EngineFailed: one of the two failed in a run.
    """
    stretched = manifest.output.activation == "minmax"
    reference = Model(manifest, OnnxEngine(weights.path, manifest), weights.sha256)
    try:
        prepared = [reference.prepare(picture) for picture in pictures()]
        read = _channel_of(manifest) if stretched else reference.alphas
        expected = [read(raw)[0] for raw in _answers(reference, prepared)]
        # An answer that is flat on every picture keeps its own unit, not that of its noise.
        reach = float(np.ptp(expected)) if stretched else 1.0
        scale = reach if reach > FLAT else 1.0
        worst, means = 0.0, [0.0]
        for places in _runs(manifest, batches, len(prepared)):
            size = len(places)
            raw = seen(np.concatenate([prepared[place] for place in places]))
            if len(raw) != size or not np.isfinite(raw).all():
                return Accuracy(float("inf"), float("inf"), len(means) - 1 + size)
            for place, alpha in zip(places, read(raw), strict=True):
                difference = np.abs(alpha - expected[place]) / scale
                worst = max(worst, float(difference.max()))
                means.append(float(difference.mean()))
        return Accuracy(worst, max(means), len(means) - 1)
    finally:
        reference.close()


def require(manifest: Manifest, engine: str, precision: str, figure: Accuracy) -> None:
    """Returns when the figure is within the precision's tolerance.

    Raises:
        AccuracyRefused: it is not.
    """
    allowed = TOLERANCES[precision]
    if figure.max_abs <= allowed.max_abs and figure.mean_abs <= allowed.mean_abs:
        return
    raise AccuracyRefused(
        f"model '{manifest.name}' in {precision} on {engine} differs from ONNX Runtime by "
        f"{figure.mean_abs:.2g} in the mean and {figure.max_abs:.2g} at most, allowed are "
        f"{allowed.mean_abs:.2g} and {allowed.max_abs:.2g}: ask for "
        + ("precision fp32" if precision == "fp16" else "engine onnx")
    )


def _answers(reference: Model, prepared: Sequence[F32]) -> Iterator[F32]:
    """The raw output of each prepared picture, (1, ...) float32, in fp32."""
    engine = cast(OnnxEngine, reference.engine)
    if not reference.manifest.is_recurrent:
        yield from (engine.run(image) for image in prepared)
        return
    states: States | None = None
    for image in prepared:
        raw, states = engine.step(image, states)
        yield raw


def _runs(manifest: Manifest, batches: Sequence[int], pictures: int) -> list[list[int]]:
    """Which pictures share a run, at which places."""
    if manifest.is_recurrent:
        return [[picture] for picture in range(pictures)]
    return [[(size + place) % pictures for place in range(size)] for size in batches]


def _channel_of(manifest: Manifest) -> Run:
    """The subject's channel of a raw output: (N, h, w)."""
    axes = manifest.output.layout

    def read(raw: NDArray[np.float32]) -> NDArray[np.float32]:
        if "C" not in axes:
            return raw
        planes: NDArray[np.float32] = np.moveaxis(raw, axes.index("C"), 0)
        plane: NDArray[np.float32] = planes[manifest.output.channel or 0]
        return plane

    return read


def on_device(engine: DeviceEngine, device: Device) -> Run:
    """`engine` as a function that waits for the device; each call makes a binding of its own. A
    recurrent network goes by the states of the call before.
    """
    states = StateRoom(engine.states)
    blocks = [device.allocate(states.nbytes) for _ in range(2)] if engine.states else []
    for block in blocks:
        stream = device.new_stream()
        device.clear(block.address, block.nbytes, stream)
        device.synchronize(stream)

    def run(batch: NDArray[np.float32]) -> NDArray[np.float32]:
        stream = device.new_stream()
        size = len(batch)
        source, target = _room(device, engine.input, size), _room(device, engine.output, size)
        addresses = [states.addresses(block.address) for block in blocks]  # read, written
        carried = list(zip(*addresses, strict=True))
        binding = engine.bind(size, source.address, target.address, carried)
        sent = device.allocate_host(source.nbytes)
        sent.array[: source.nbytes] = (
            np.ascontiguousarray(batch, DTYPES[engine.input.element]).reshape(-1).view(np.uint8)
        )
        received = device.allocate_host(target.nbytes)
        copies = Copies()  # nobody's image: not in any report
        to_device(device, sent.array[: source.nbytes], source.address, stream, copies)
        binding.enqueue(stream)
        to_host(device, target.address, received.array[: target.nbytes], stream, copies)
        device.synchronize(stream)
        blocks.reverse()
        raw = received.array[: target.nbytes].view(DTYPES[engine.output.element])
        return raw.reshape(size, *engine.output.shape).astype(np.float32)

    return run


def pictures() -> list[NDArray[np.uint8]]:
    """Four (360, 480, 3) uint8 pictures, the same on every machine: ramps, noise, a person-like
    figure before clouds, and hard-edged bars.
    """
    height, width = SOURCE_HW
    y, x = np.mgrid[:height, :width] / height
    ramps = np.stack([x * 0.75, y, (x + y) / 2.34], axis=-1)
    noise = np.random.default_rng(1).random((height, width, 3))
    clouds = np.zeros((height, width, 3))
    for octave in range(7):  # amplitude falls as frequency grows, as in photos
        angle = 2.4 * octave + np.arange(3)  # another direction for each colour
        wave = x[..., None] * np.cos(angle) + y[..., None] * np.sin(angle)
        clouds += np.sin(2.0**octave * 3 * wave + octave) * 0.6**octave
    clouds = (clouds - clouds.min()) / np.ptp(clouds)
    figure = clouds.copy()
    figure[((x - 0.67) / 0.47) ** 2 + ((y - 1.0) / 0.42) ** 2 < 1] = (0.16, 0.24, 0.63)
    figure[((x - 0.67) / 0.19) ** 2 + ((y - 0.36) / 0.25) ** 2 < 1] = (0.88, 0.67, 0.55)
    bars = np.repeat(((x * 9).astype(int) + (y * 7).astype(int))[..., None] % 2, 3, axis=-1)
    return [np.round(each * 255).astype(np.uint8) for each in (ramps, noise, figure, bars)]


def _room(device: Device, spec: TensorSpec, images: int) -> Memory:
    return device.allocate(images * spec.nbytes)
