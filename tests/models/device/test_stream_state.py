"""What a stream keeps on a device, beside what it keeps on a CPU: every layout, alphas of another
size than the plane, frames that fail.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper

from kernels.image import PixelFormat, image_struct, job_struct
from kernels.letterbox import place
from models.device_engine import StateSpec
from models.device_model import DeviceModel
from models.half import half_twin
from models.model import Model
from models.prepared_tensor import PreparedTensor
from models.recurrent import RecurrentModel
from models.registry import Registry
from models.stream_state import StateRoom, StreamFrame, StreamState
from models.weights import VerifiedWeights, sha256_of
from server.streams.memory import StreamMemory
from tests.fakes.emulated_device import EmulatedDevice
from tests.fakes.emulated_engine import EmulatedRegistry
from tests.fakes.recurrent_onnx import write_echo, write_pan
from tests.fakes.tiny_onnx import write_tiny_model
from tests.kernels.cuda.arrays import get, put

F32 = NDArray[np.float32]
U8 = NDArray[np.uint8]

SHAPES = {
    "NCHW": ({}, ""),
    "NHWC": ({"layout": "NHWC"}, ""),
    "letterbox": ({"fit": "letterbox"}, ""),
    "BGR, normalised": (
        {"gain": 0.2, "bias": 0.5},
        'channels = "BGR"\nmean = [0.4, 0.5, 0.6]\nstd = [0.2, 0.3, 0.4]',
    ),
}


class There:
    """A stream on the emulated device."""

    def __init__(self, folder: Path, name: str, smooth: float) -> None:
        self.device = EmulatedDevice(late=True)
        self.model: DeviceModel = EmulatedRegistry((folder,), self.device).load(name)
        self.model.warm()
        self.state: StreamState = self.model.new_state(smooth)

    def show(self, rgb: U8, *, fails: bool = False) -> F32:
        """The frame's alpha, (h, w) float32."""
        height, width = rgb.shape[:2]
        memory, wanted = put(self.device, rgb), self.model.manifest.input
        image = image_struct(((memory.address, 3 * width),), width, height, PixelFormat.RGB8)
        at = place((width, height), (wanted.width, wanted.height), wanted.fit)
        batch, frame = self.model.batches[0], StreamFrame(self.state, (width, height))
        batch.enqueue(job_struct(image, at), self.model.stream, [frame])
        self.device.synchronize(self.model.stream)  # type: ignore[arg-type]
        shape = (self.model.alpha_height, self.model.alpha_width)
        alpha: F32 = get(self.device, _At(batch.alpha(0)), shape, np.float32)  # type: ignore[arg-type]
        if not fails:
            frame.state.go_on(frame.size)
        return alpha


class _At:
    def __init__(self, address: int) -> None:
        self.address = address


class Here:
    """The same stream on the CPU, as `server.host_pipeline` goes about it."""

    def __init__(self, folder: Path, name: str, smooth: float) -> None:
        model = Registry((folder,), shipped_dirs=()).load(name)
        assert isinstance(model, Model)
        self.model, self.memory = model, StreamMemory(smooth)

    def show(self, rgb: U8) -> F32:
        """The frame's alpha, (h, w) float32."""
        tensor = self.model.prepare(rgb)
        seen = self.memory.look_at(tensor, self.model.manifest.input, rgb.shape[1::-1])
        if isinstance(self.model, RecurrentModel):
            alpha, states = self.model.step(tensor, self.memory.states_for(seen))
            return self.memory.remember(seen, alpha, states)
        return self.memory.remember(seen, self.model.run(tensor)[0])


def frames(height: int, width: int) -> list[U8]:
    """Nine frames of a textured scene under noise; the last four of another scene."""
    rng = np.random.default_rng(11)
    scenes = [rng.integers(*ends, (height, width, 3)) for ends in ((20, 110), (150, 240))]
    noise = rng.integers(-4, 5, (9, height, width, 3))
    return [(scenes[number > 4] + noise[number]).astype(np.uint8) for number in range(len(noise))]


def compare(folder: Path, name: str, size_hw: tuple[int, int]) -> None:
    there, here = There(folder, name, 0.8), Here(folder, name, 0.8)
    steadied = 0
    for number, rgb in enumerate(frames(*size_hw)):
        seen, expected = there.show(rgb), here.show(rgb)
        # Where nothing is resized: float32 rounding, and a luma that falls to the other side of a
        # half, which moves a ramp by an eighth of the difference, here 0.02 at most.
        assert np.abs(seen - expected).max() <= 4e-3, number
        steadied += not np.allclose(expected, here.model.run(here.model.prepare(rgb))[0])
    assert steadied == 7  # all but the first of each scene
    here.model.close()


@pytest.mark.parametrize(("model", "how_it_is_shown"), SHAPES.values(), ids=SHAPES)
def test_steadied_alphas_are_those_of_the_cpu(
    tmp_path: Path, model: dict[str, object], how_it_is_shown: str
) -> None:
    toml = write_tiny_model(tmp_path, "acorn", **model)  # type: ignore[arg-type]
    toml.write_text(toml.read_text().replace("[output]", f"{how_it_is_shown}\n[output]"))
    compare(tmp_path, "acorn", (32, 20 if "fit" in model else 32))


@pytest.mark.parametrize("operator", ["AveragePool", "Resize"])
def test_alphas_of_another_size_than_the_plane_are_steadied_too(
    tmp_path: Path, operator: str
) -> None:
    write_scaled(tmp_path, operator)
    compare(tmp_path, "acorn", (32, 32))


def write_scaled(folder: Path, operator: str) -> None:
    """alpha = brightness, at half the sides of the plane or at twice."""
    write_tiny_model(folder, "acorn")
    model = onnx.load(folder / "acorn.onnx")
    graph, inputs, how = model.graph, ["full"], {}
    graph.node[-1].output[0] = "full"
    if operator == "AveragePool":
        how, side = {"kernel_shape": [2, 2], "strides": [2, 2]}, 16
    else:
        inputs, side = ["full", "", "scales"], 64
        scales = helper.make_tensor("scales", TensorProto.FLOAT, [4], [1, 1, 2, 2])
        graph.initializer.append(scales)
    graph.node.append(helper.make_node(operator, inputs, ["alpha"], **how))
    del graph.output[:]
    graph.output.append(
        helper.make_tensor_value_info("alpha", TensorProto.FLOAT, [1, 1, side, side])
    )
    (folder / "acorn.onnx").write_bytes(model.SerializeToString())
    toml = folder / "acorn.toml"
    kept = [line for line in toml.read_text().splitlines() if not line.startswith("sha256")]
    toml.write_text("\n".join(kept))


@pytest.mark.parametrize("smooth", [0.0, 0.8])
@pytest.mark.parametrize(("name", "size_hw"), [("echo", (16, 16)), ("pan", (32, 48))])
def test_a_recurrent_network_is_handed_what_it_is_on_the_cpu(
    tmp_path: Path, name: str, size_hw: tuple[int, int], smooth: float
) -> None:
    write_pan(write_echo(tmp_path))
    there, here = There(tmp_path, name, smooth), Here(tmp_path, name, smooth)
    for rgb in frames(*size_hw):
        assert np.abs(there.show(rgb) - here.show(rgb)).max() <= 4e-3
    here.model.close()


def test_planes_and_states_in_half_precision_are_as_near_as_halves_are(tmp_path: Path) -> None:
    pytest.importorskip("onnxconverter_common")
    write_echo(tmp_path)
    here, path = Here(tmp_path, "echo", 0.8), tmp_path / "echo.onnx"
    shown = [here.show(rgb) for rgb in frames(16, 16)]
    path.write_bytes(half_twin(VerifiedWeights(path, sha256_of(path)), tmp_path).path.read_bytes())
    there = There(tmp_path, "echo", 0.8)
    assert there.model.engine.states[0].element == there.model.engine.input.element == "fp16"
    for rgb, expected in zip(frames(16, 16), shown, strict=True):
        # A half keeps 11 bits: 5e-4 in the network, and lumas that round the other way.
        assert np.abs(there.show(rgb) - expected).max() <= 5e-3
    here.model.close()


@pytest.mark.parametrize("name", ["echo", "acorn"])
def test_a_frame_that_failed_is_as_if_it_had_not_been(tmp_path: Path, name: str) -> None:
    write_echo(tmp_path)
    write_tiny_model(tmp_path, "acorn", side=16)
    with_failures, without = There(tmp_path, name, 0.8), There(tmp_path, name, 0.8)
    for number, rgb in enumerate(frames(16, 16)):
        if number in (0, 3, 4):
            with_failures.show(255 - rgb, fails=True)
        assert np.array_equal(with_failures.show(rgb), without.show(rgb))


def test_tensors_that_a_caller_prepared_are_first_frames(tmp_path: Path) -> None:
    write_echo(tmp_path)
    there = There(tmp_path, "echo", 0.0)
    model, image = there.model, np.full((1, 3, 16, 16), 0.5, np.float32)
    for _ in range(2):
        there.show(np.full((16, 16, 3), 200, np.uint8))
        came, answer = model.batches[0].enqueue_tensors([PreparedTensor(image)], model.stream)
        there.device.synchronize(model.stream)  # type: ignore[arg-type]
        del came
        assert (answer.array.view(np.float32) == 0.25).all()


def test_another_size_and_a_freed_state_begin_anew(tmp_path: Path) -> None:
    write_echo(tmp_path)
    there = There(tmp_path, "echo", 0.0)
    shown = [there.show(np.full((side, 16, 3), 200, np.uint8))[0, 0] for side in (16, 16, 20, 20)]
    assert shown == pytest.approx(np.array([100, 150, 100, 150]) / 255, abs=1e-6)
    assert there.state.nbytes > 0
    there.state.free()
    there.state.free()
    assert there.state.is_freed
    assert there.state.nbytes == 0
    assert there.state.before((16, 20)) is None


def test_states_lie_behind_each_other_each_aligned() -> None:
    room = StateRoom(
        [
            StateSpec("a", "b", (1, 1, 1, 1), "fp32"),
            StateSpec("c", "d", (65,), "int64"),
            StateSpec("e", "f", (2, 3), "fp16"),
        ]
    )
    assert room.addresses(1024) == [1024, 1024 + 256, 1024 + 256 + 768]
    assert room.nbytes == 256 + 768 + 256
