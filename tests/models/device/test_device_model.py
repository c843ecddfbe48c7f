"""A model on the emulated device: pictures there become the alphas that the CPU's model gives."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from kernels.image import JOB, PixelFormat, image_struct, job_struct
from kernels.letterbox import place
from models.device_model import DeviceModel
from models.errors import EngineFailed
from models.model import Model
from models.registry import Registry
from tests.fakes.emulated_device import EmulatedDevice
from tests.fakes.emulated_engine import EmulatedRegistry
from tests.fakes.tiny_onnx import write_tiny_model
from tests.kernels.cuda.arrays import get, put

SHAPES = {
    "NCHW": {"layout": "NCHW"},
    "NHWC": {"layout": "NHWC"},
    "softmax of two channels": {"two_channel": True},
    "softmax of two channels, NHWC": {"two_channel": True, "layout": "NHWC"},
    "sigmoid": {"activation": "sigmoid", "gain": 12.0, "bias": -6.0},
    "min-max": {"activation": "minmax", "gain": 3.0, "bias": 40.0},
    "clipped": {"gain": 2.0, "bias": -0.5},
    "letterbox": {"fit": "letterbox"},
}


def load(folder: Path, **model: object) -> tuple[DeviceModel, Model, EmulatedDevice]:
    """The same model on the emulated device and on the CPU."""
    write_tiny_model(folder, "acorn", max_batch=4, **model)  # type: ignore[arg-type]
    device = EmulatedDevice(late=True)
    there = EmulatedRegistry((folder,), device).load("acorn")
    here = Registry([folder], shipped_dirs=()).load("acorn")
    assert isinstance(here, Model)
    return there, here, device


def jobs_of(model: DeviceModel, device: EmulatedDevice, pictures: list[np.ndarray]) -> tuple:
    """Jobs for pictures (H, W, 3), and what keeps them in device memory."""
    wanted, jobs, kept = model.manifest.input, [], []
    for rgb in pictures:
        memory = put(device, rgb)  # type: ignore[arg-type]
        height, width = rgb.shape[:2]
        image = image_struct(((memory.address, 3 * width),), width, height, PixelFormat.RGB8)
        at = place((width, height), (wanted.width, wanted.height), wanted.fit)
        jobs.append(job_struct(image, at))
        kept.append(memory)
    return np.concatenate(jobs), kept


def alphas_of(model: DeviceModel, device: EmulatedDevice, pictures: list[np.ndarray]) -> np.ndarray:
    jobs, kept = jobs_of(model, device, pictures)
    batch = model.batches[0]
    batch.enqueue(jobs, model.stream)
    device.synchronize(model.stream)  # type: ignore[arg-type]
    del kept
    shape = (len(pictures), model.alpha_height, model.alpha_width)
    return get(device, _At(batch.alpha(0)), shape, np.float32)  # type: ignore[arg-type]


class _At:
    def __init__(self, address: int) -> None:
        self.address = address


def pictures(count: int, seed: int = 5) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    sides = rng.integers(1, 90, (count, 2))
    return [rng.integers(0, 256, (*side, 3), np.uint8) for side in sides]


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("count", [1, 3, 4])
def test_alphas_are_those_of_the_cpu(tmp_path: Path, shape: dict, count: int) -> None:
    there, here, device = load(tmp_path, **shape)
    there.warm()
    seen = alphas_of(there, device, pictures(count))
    expected = np.concatenate([here.run(here.prepare(rgb)) for rgb in pictures(count)])
    # OpenCV rounds to 8 bits after it resized; steep activations multiply that.
    steep = 20 if shape.get("two_channel") or "activation" in shape else 2
    assert np.abs(seen - expected).max() <= steep / 255
    assert np.abs(seen - expected).mean() <= steep / 255 / 3
    here.close()


def test_lanes_that_fill_up_a_batch_hold_nothing_of_the_one_before(tmp_path: Path) -> None:
    there, here, device = load(tmp_path)
    there.warm()
    white = np.full((8, 8, 3), 255, np.uint8)
    assert alphas_of(there, device, [white] * 4).min() == 1
    alphas_of(there, device, [white] * 3)
    batch = there.batches[0]
    rest = get(device, _At(batch.alpha(3)), (32, 32), np.float32)  # type: ignore[arg-type]
    assert rest.max() == 0
    here.close()


def test_every_batch_size_is_recorded_when_warm(tmp_path: Path) -> None:
    there, here, _ = load(tmp_path)
    assert [batch.recorded for batch in there.batches] == [[], []]
    there.warm()
    assert [batch.recorded for batch in there.batches] == [[1, 2, 4], [1, 2, 4]]
    here.close()


def test_numbers_that_are_none_set_the_images_flag_alone(tmp_path: Path) -> None:
    there, here, device = load(tmp_path, gain=float("inf"))  # black is 0 * inf
    black, white = np.zeros((5, 5, 3), np.uint8), np.full((5, 5, 3), 255, np.uint8)
    jobs, kept = jobs_of(there, device, [black])
    batch = there.batches[0]
    batch.enqueue(jobs, there.stream)
    device.synchronize(there.stream)  # type: ignore[arg-type]
    assert get(device, _At(batch.flags(0)), (1,), np.uint32)[0] != 0  # type: ignore[arg-type]
    del kept, white
    here.close()


def test_a_model_that_answers_no_numbers_is_not_warm(tmp_path: Path) -> None:
    there, here, _ = load(tmp_path, gain=float("nan"))
    with pytest.raises(EngineFailed, match=r"'acorn' .* not numbers for a grey picture"):
        there.warm()
    here.close()


def test_a_manifest_that_the_output_does_not_keep_is_refused(tmp_path: Path) -> None:
    toml = write_tiny_model(tmp_path, "acorn", two_channel=True)
    toml.write_text(toml.read_text().replace("channel = 1", "channel = 5"))
    with pytest.raises(Exception, match="channel"):
        EmulatedRegistry((tmp_path,)).load("acorn")


def test_the_engine_is_freed_when_the_device_has_no_room_for_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from kernels.device import DeviceError
    from models.device_loading import assemble

    there, here, device = load(tmp_path)

    def full(nbytes: int) -> None:
        raise DeviceError(f"there is no room for {nbytes} bytes")

    monkeypatch.setattr(device, "allocate", full)
    engine = there.engine
    with pytest.raises(EngineFailed, match=r"'acorn' on emulated:0 g\+\+: there is no room"):
        assemble(there.manifest, engine, "0" * 64, device, there.stream)  # type: ignore[arg-type]
    assert engine.is_closed  # type: ignore[attr-defined]
    here.close()


def test_jobs_are_as_large_as_the_kernels_say() -> None:
    assert JOB.itemsize == 104
