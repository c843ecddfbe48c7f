"""Loads a model onto a GPU: device, stream, engine, buffers.

Called by `models.registry` for a target that names a GPU. The only file that turns a `Target` into
what runs it.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from kernels.device import Device, DeviceError, Stream
from models.device_engine import DeviceEngine
from models.device_model import DeviceModel
from models.errors import DeviceNotAvailable, EngineFailed
from models.fixed_graph import fixed_twin
from models.manifest import Manifest
from models.onnx_device_engine import OnnxDeviceEngine, Provider
from models.target import Target
from models.weights import VerifiedWeights

BUCKETS = (1, 2, 4, 8)  # batch sizes that are compiled for; those between are padded
Progress = Callable[[str, float], None]


def load_on_device(
    manifest: Manifest,
    weights: VerifiedWeights,
    target: Target,
    *,
    cache_dir: Path,
    max_batch: int = 0,
    on_progress: Progress | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> DeviceModel:
    """The model on the target's GPU; not warm yet. Takes minutes where TensorRT has to build.

    Args:
        manifest: what it is.
        weights: the file, read through.
        target: the GPU and the engine.
        cache_dir: where plans are kept.
        max_batch: most images in one run; 0: as the manifest says, up to 8.
        on_progress: told what goes on and how far it is, 0..1; from the building thread.
        cancelled: asked at each step of a build; True ends it.

    Raises:
        EngineFailed, ManifestError: the network cannot run there.
        BuildCancelled: `cancelled()`.
        DeviceNotAvailable, LibraryMissing: the GPU or a library is not there.
    """
    from kernels.cupy_device import CupyDevice  # CuPy takes its time; a CPU server never needs it

    assert target.index is not None, "a CPU has models.onnx_engine"
    try:
        device: Any = CupyDevice(target.index)
        device.use()
        stream = device.new_stream()
    except DeviceError as error:
        raise DeviceNotAvailable(f"device '{target.device}' cannot be used: {error}") from error
    original = weights.sha256
    manifest, weights = fixed_twin(manifest, weights, cache_dir)
    buckets = batch_sizes(manifest.max_batch, max_batch)
    engine: DeviceEngine
    try:
        if target.engine == "tensorrt":
            from models.tensorrt_engine import load_or_build

            engine = load_or_build(
                manifest,
                weights,
                device=device,
                device_index=target.index,
                gpu_name=device.gpu.name,
                capability=".".join(str(part) for part in device.gpu.capability),
                cache_dir=cache_dir,
                precision=target.precision,
                buckets=buckets,
                on_progress=on_progress,
                cancelled=cancelled,
            )
        else:
            engine = OnnxDeviceEngine(
                weights.path, manifest, device, stream, Provider.cuda(target.index), buckets=buckets
            )
    except DeviceError as error:
        raise EngineFailed(f"model '{manifest.name}' on {target.device}: {error}") from error
    return assemble(manifest, engine, original, device, stream)


def assemble(
    manifest: Manifest, engine: DeviceEngine, sha256: str, device: Device, stream: Stream
) -> DeviceModel:
    """The model around its engine; the engine is freed when there is no room for the rest.

    Raises:
        EngineFailed: the output is not what the manifest says, or the device has no room.
    """
    try:
        return DeviceModel(manifest, engine, sha256, device, stream)
    except DeviceError as error:
        engine.close()
        raise EngineFailed(f"model '{manifest.name}' on {device.name}: {error}") from error
    except BaseException:
        engine.close()
        raise


def batch_sizes(of_manifest: int, asked: int) -> tuple[int, ...]:
    """The batch sizes to compile for, ascending.

    Args:
        of_manifest: most images that the network takes, 1 or more.
        asked: most images that the operator wants in one run; 0: no wish.
    """
    most = min(of_manifest, asked or BUCKETS[-1])
    return (*(each for each in BUCKETS if each < most), most)
