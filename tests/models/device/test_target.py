"""What the operator asks for, held against what is there."""

from __future__ import annotations

import pytest

from kernels import gpus as kernel_gpus
from kernels.device import DeviceError
from models import onnx_session, tensorrt_library
from models.errors import DeviceNotAvailable
from models.target import Target, find_targets

TWO_GPUS = [
    kernel_gpus.Gpu(0, "NVIDIA H200", (9, 0), 141 << 30),
    kernel_gpus.Gpu(1, "NVIDIA L4", (8, 9), 24 << 30),
]


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> object:
    """`machine(gpus=..., tensorrt=..., onnx_cuda=...)`: a machine that has these."""

    def made(
        *,
        gpus: list[kernel_gpus.Gpu],
        tensorrt: bool = True,
        rtx: bool = False,
        onnx_cuda: bool = True,
    ) -> None:
        def devices() -> list[kernel_gpus.Gpu]:
            if not gpus:
                raise DeviceError("there is no GPU")
            return gpus

        monkeypatch.setattr(kernel_gpus, "devices", devices)
        there = {"tensorrt": tensorrt, "tensorrt-rtx": rtx, "auto": tensorrt or rtx}
        monkeypatch.setattr(
            tensorrt_library,
            "missing",
            lambda choice="auto": "" if there[choice] else "TensorRT is not installed",
        )
        monkeypatch.setattr(onnx_session, "has_cuda", lambda: onnx_cuda)

    return made


@pytest.mark.parametrize(
    ("device", "engine", "targets"),
    [
        ("auto", "auto", (Target(0, "tensorrt"),)),
        ("cuda", "auto", (Target(0, "tensorrt"),)),
        ("cuda:1", "onnx", (Target(1, "onnx"),)),
        ("cuda:all", "auto", (Target(0, "tensorrt"), Target(1, "tensorrt"))),
        ("cpu", "auto", (Target(),)),
        ("cpu", "onnx", (Target(),)),
    ],
)
def test_a_target_is_what_was_asked_for(machine, device, engine, targets) -> None:  # type: ignore[no-untyped-def]
    machine(gpus=TWO_GPUS)
    assert find_targets(device, engine) == targets


def test_auto_without_a_gpu_is_the_cpu(machine) -> None:  # type: ignore[no-untyped-def]
    machine(gpus=[])
    assert find_targets() == (Target(),)


def test_auto_with_a_gpu_that_nothing_here_can_use_is_the_cpu(machine) -> None:  # type: ignore[no-untyped-def]
    machine(gpus=TWO_GPUS, tensorrt=False, onnx_cuda=False)
    assert find_targets() == (Target(),)


def test_a_gpu_without_tensorrt_takes_onnx_runtime(machine) -> None:  # type: ignore[no-untyped-def]
    machine(gpus=TWO_GPUS, tensorrt=False)
    assert find_targets("cuda") == (Target(0, "onnx"),)


@pytest.mark.parametrize(
    ("device", "asked", "chosen"),
    [
        ("cuda:1", "auto", "tensorrt"),
        ("cuda:0", "auto", "onnx"),
        ("cuda:all", "auto", "onnx"),
        ("cuda:0", "tensorrt", "tensorrt"),
    ],
)
def test_tensorrt_rtx_alone_is_chosen_for_the_gpus_it_is_made_for(  # type: ignore[no-untyped-def]
    machine, device, asked, chosen
) -> None:
    machine(gpus=TWO_GPUS, tensorrt=False, rtx=True)
    assert {target.engine for target in find_targets(device, asked)} == {chosen}


@pytest.mark.parametrize(
    ("device", "engine", "precision", "sentence"),
    [
        ("tpu", "auto", "auto", r"device is 'tpu'; allowed are 'auto', 'cpu'"),
        (
            "cuda:7",
            "auto",
            "auto",
            r"'cuda:7' was asked for, but there are only: cuda:0 \(NVIDIA H200\), cuda:1",
        ),
        ("cpu", "tensorrt", "auto", r"TensorRT runs on NVIDIA GPUs: use --device cuda"),
        ("cpu", "auto", "fp16", r"'fp16' was asked for with device 'cpu'"),
        ("cuda", "onnx", "fp16", r"'fp16' was asked for with engine 'onnx'"),
    ],
)
def test_what_cannot_be_is_refused_in_a_sentence(
    machine, device, engine, precision, sentence
) -> None:  # type: ignore[no-untyped-def]
    machine(gpus=TWO_GPUS)
    with pytest.raises(DeviceNotAvailable, match=sentence):
        find_targets(device, engine, precision)


@pytest.mark.parametrize(
    ("device", "engine", "has", "sentence"),
    [
        ("cuda", "auto", {"gpus": []}, "there is no GPU; or use --device cpu"),
        ("auto", "tensorrt", {"gpus": []}, "there is no GPU"),
        ("cuda", "tensorrt", {"gpus": TWO_GPUS, "tensorrt": False}, "TensorRT is not installed"),
        (
            "cuda",
            "auto",
            {"gpus": TWO_GPUS, "tensorrt": False, "onnx_cuda": False},
            r"neither TensorRT nor an ONNX Runtime with CUDA: run pip install",
        ),
    ],
)
def test_what_is_missing_is_an_error_and_never_another_device(  # type: ignore[no-untyped-def]
    machine, device, engine, has, sentence
) -> None:
    machine(**has)
    with pytest.raises(DeviceNotAvailable, match=sentence):
        find_targets(device, engine)
