"""Where models run and by which library: what the operator asked for, held against what is there.

Asked by the server and the CLI through `server.catalogue`; `models.registry` loads for a target.
Asking for what is not there is an error; only "auto" chooses, and says what it chose.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from kernels import gpus
from kernels.device import DeviceError
from models import onnx_session, tensorrt_library
from models.errors import DeviceNotAvailable

EngineChoice = Literal["auto", "onnx", "tensorrt"]
Precision = Literal["auto", "fp32", "fp16"]
DEVICE = re.compile(r"auto|cpu|cuda(?::(\d{1,2}|all))?")
OLDEST_CAPABILITY = (7, 5)
DEVICES_ALLOWED = "'auto', 'cpu', 'cuda', 'cuda:N' and 'cuda:all'"


@dataclass(frozen=True, slots=True)
class Target:
    """One device and the library that runs models on it.

    Attributes:
        index: of the GPU; None: the CPU.
        engine: "onnx" or "tensorrt".
        precision: "auto" is the file's own, or what `models.tensorrt_engine` makes of it.
        why: why "auto" is not a GPU, in a sentence; empty otherwise.
    """

    index: int | None = None
    engine: Literal["onnx", "tensorrt"] = "onnx"
    precision: Precision = "auto"
    why: str = field(default="", compare=False)

    @property
    def device(self) -> str:
        """As in the configuration: "cpu", "cuda:0"."""
        return "cpu" if self.index is None else f"cuda:{self.index}"


def find_targets(
    device: str = "auto", engine: EngineChoice = "auto", precision: Precision = "auto"
) -> tuple[Target, ...]:
    """The devices that models are to be loaded on, one or more.

    Args:
        device: "cpu"; "cuda" (the first GPU); "cuda:2"; "cuda:all"; "auto": the first GPU where
            CuPy and an engine can use one, else the CPU.
        engine: "auto" is TensorRT on a GPU where it is installed, else ONNX Runtime.
        precision: what models are to compute in.

    Raises:
        DeviceNotAvailable: what was asked for is not there; the sentence says what adds it.
    """
    match = DEVICE.fullmatch(device)
    if match is None:
        raise DeviceNotAvailable(f"device is {device!r}; allowed are {DEVICES_ALLOWED}")
    if device == "cpu":
        return (_on_cpu(engine, precision),)
    if device == "auto":
        try:
            return _on_gpus("0", engine, precision)
        except DeviceNotAvailable as error:
            if engine == "tensorrt":
                raise
            return (replace(_on_cpu(engine, precision), why=str(error)),)
    return _on_gpus(match[1] or "0", engine, precision)


def _on_cpu(engine: EngineChoice, precision: Precision) -> Target:
    if engine == "tensorrt":
        raise DeviceNotAvailable(
            "engine 'tensorrt' was asked for with device 'cpu', but TensorRT runs on NVIDIA GPUs: "
            "use --device cuda, or --engine onnx"
        )
    if precision == "fp16":
        raise DeviceNotAvailable(
            "precision 'fp16' was asked for with device 'cpu', where models run as their file is: "
            "use --precision auto, or a GPU"
        )
    return Target(None, "onnx", precision)


def _on_gpus(which: str, engine: EngineChoice, precision: Precision) -> tuple[Target, ...]:
    try:
        there = gpus.devices()
    except DeviceError as error:
        raise DeviceNotAvailable(
            f"device 'cuda' was asked for, but {error}; or use --device cpu"
        ) from error
    indices = range(len(there)) if which == "all" else [int(which)]
    if indices[-1] >= len(there):
        listed = ", ".join(f"cuda:{gpu.index} ({gpu.name})" for gpu in there)
        raise DeviceNotAvailable(
            f"device 'cuda:{which}' was asked for, but there are only: {listed}"
        )
    for index in indices:
        if there[index].capability < OLDEST_CAPABILITY:
            major, minor = there[index].capability
            raise DeviceNotAvailable(
                f"device 'cuda:{index}' ({there[index].name}) has compute capability "
                f"{major}.{minor}, and 7.5 is the oldest that CUDA 13 compiles for: use another "
                f"GPU, or --device cpu"
            )
    chosen = _engine(engine, [there[index].capability for index in indices])
    if chosen == "onnx" and precision == "fp16":
        raise DeviceNotAvailable(
            "precision 'fp16' was asked for with engine 'onnx', which runs models as their file "
            "is: use --engine tensorrt, or --precision auto"
        )
    return tuple(Target(index, chosen, precision) for index in indices)


def _engine(
    asked: EngineChoice, capabilities: Sequence[tuple[int, int]]
) -> Literal["onnx", "tensorrt"]:
    """The library that runs models on GPUs of these compute capabilities."""
    if asked != "onnx":
        if not tensorrt_library.missing("tensorrt"):
            return "tensorrt"
        missing = tensorrt_library.missing("tensorrt-rtx")
        # Asked for by name it is tried in any case: its own refusal is the best sentence.
        if not missing and (asked == "tensorrt" or all(map(_suits_rtx, capabilities))):
            return "tensorrt"
        if asked == "tensorrt":
            raise DeviceNotAvailable(
                f"engine 'tensorrt' was asked for, but {tensorrt_library.missing()}"
            )
    if onnx_session.has_cuda():
        return "onnx"
    raise DeviceNotAvailable(
        "a GPU is there, but neither TensorRT nor an ONNX Runtime with CUDA: run "
        "pip install 'mattestream[gpu]', or pip install 'onnxruntime-gpu[cuda,cudnn]' in place of "
        "onnxruntime; or use --device cpu"
    )


def _suits_rtx(capability: tuple[int, int]) -> bool:
    """TensorRT-RTX is for GPUs that draw pictures: not for Hopper and data-centre Blackwell."""
    return capability[0] not in (9, 10)
