"""ONNX Runtime between given addresses: the binding code for GPUs, run on the host's memory."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from kernels.cuda.carry_states import carry_states
from kernels.device import Device, Stream
from models import onnx_session
from models.device_engine import StateSpec
from models.errors import DeviceNotAvailable, EngineFailed
from models.fixed_graph import fixed_twin
from models.manifest import read_manifest
from models.onnx_device_engine import OnnxDeviceEngine, Provider
from models.weights import VerifiedWeights, sha256_of
from tests.fakes.emulated_device import EmulatedDevice
from tests.fakes.recurrent_onnx import write_echo
from tests.fakes.tiny_onnx import write_tiny_model
from tests.kernels.cuda.arrays import empty, get, put


@pytest.fixture
def device() -> EmulatedDevice:
    return EmulatedDevice()


@pytest.fixture
def stream(device: Device) -> Stream:
    return device.new_stream()


def engine(
    folder: Path,
    device: Device,
    stream: Stream,
    *,
    provider: Provider | None = None,
    **model: object,
) -> OnnxDeviceEngine:
    manifest = read_manifest(write_tiny_model(folder, "acorn", max_batch=4, **model))  # type: ignore[arg-type]
    return OnnxDeviceEngine(
        folder / "acorn.onnx",
        manifest,
        device,
        stream,
        provider or Provider.host(),
        buckets=(1, 2, 4),
    )


@pytest.mark.parametrize("batch", [1, 2, 4])
def test_a_run_reads_and_writes_the_bound_addresses(
    tmp_path: Path, device: Device, stream: Stream, batch: int
) -> None:
    made = engine(tmp_path, device, stream)
    images = np.random.default_rng(1).random((batch, 3, 32, 32), np.float32)
    source, target = put(device, images), empty(device, batch * made.output.nbytes)
    made.bind(batch, source.address, target.address).enqueue(stream)
    device.synchronize(stream)
    raw = get(device, target, (batch, 1, 32, 32), np.float32)
    assert np.allclose(raw[:, 0], images.mean(axis=1), atol=1e-6)


def test_a_binding_sees_what_is_written_there_later(
    tmp_path: Path, device: Device, stream: Stream
) -> None:
    made = engine(tmp_path, device, stream)
    image = np.zeros((1, 3, 32, 32), np.float32)
    source, target = put(device, image), empty(device, made.output.nbytes)
    binding = made.bind(1, source.address, target.address)
    binding.enqueue(stream)
    device.copy_in(put(device, image + 1).address, source.address, image.nbytes, stream)
    binding.enqueue(stream)
    device.synchronize(stream)
    assert (get(device, target, (1, 1, 32, 32), np.float32) > 0.99).all()


def test_shapes_come_from_the_manifest_and_from_one_run(
    tmp_path: Path, device: Device, stream: Stream
) -> None:
    made = engine(tmp_path, device, stream, layout="NHWC", two_channel=True)
    assert (made.input.shape, made.input.element) == ((32, 32, 3), "fp32")
    assert (made.output.shape, made.output.nbytes) == ((32, 32, 2), 32 * 32 * 2 * 4)
    assert made.device == device.name
    assert made.name == f"onnxruntime {onnxruntime.__version__}"


@pytest.fixture
def echo(tmp_path: Path, device: Device, stream: Stream) -> OnnxDeviceEngine:
    """alpha = after = the mean of brightness and `before`."""
    path = write_echo(tmp_path) / "echo.onnx"
    found = VerifiedWeights(path, sha256_of(path))
    manifest, twin = fixed_twin(read_manifest(tmp_path / "echo.toml"), found, tmp_path)
    return OnnxDeviceEngine(twin.path, manifest, device, stream, Provider.host(), buckets=(1,))


def test_states_are_read_and_written_where_they_are_bound(
    device: Device, stream: Stream, echo: OnnxDeviceEngine
) -> None:
    assert echo.states == (StateSpec("before", "after", (1, 1, 16, 16), "fp32"),)
    source = put(device, np.full((1, 3, 16, 16), 0.5, np.float32))
    before, after = put(device, np.ones((16, 16), np.float32)), empty(device, 1024)
    target = empty(device, 1024)
    addresses = [(before.address, after.address)]
    binding = echo.bind(1, source.address, target.address, addresses)
    for expected in (0.75, 0.625):
        binding.enqueue(stream)
        device.synchronize(stream)
        for memory in (target, after):
            assert (get(device, memory, (16, 16), np.float32) == expected).all()
        # What was handed on becomes what is read, as `models.device_batch` brings it there.
        handed_on = put(device, get(device, after, (16, 16), np.float32))
        carry_states(device, stream, source=handed_on.address, target=before.address, nbytes=1024)


def test_states_that_are_not_bound_are_refused(echo: OnnxDeviceEngine) -> None:
    with pytest.raises(ValueError, match="zip"):
        echo.bind(1, 256, 512)


def test_another_stream_than_the_sessions_own_is_refused(
    tmp_path: Path, device: Device, stream: Stream
) -> None:
    made = engine(tmp_path, device, stream)
    memory = empty(device, made.input.nbytes)
    binding = made.bind(1, memory.address, memory.address)
    with pytest.raises(EngineFailed, match="the stream it was opened with"):
        binding.enqueue(device.new_stream())


@pytest.mark.skipif(
    "CUDAExecutionProvider" in onnxruntime.get_available_providers(),
    reason="this onnxruntime has CUDA",
)
def test_cuda_where_there_is_none_is_an_error_that_says_what_to_install(
    tmp_path: Path, device: Device, stream: Stream
) -> None:
    with pytest.raises(DeviceNotAvailable, match=r"built without CUDA.*onnxruntime-gpu"):
        engine(tmp_path, device, stream, provider=Provider.cuda(0))


def test_a_silent_fall_back_to_the_cpu_is_an_error(
    tmp_path: Path, device: Device, stream: Stream, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What onnxruntime-gpu does without a driver: it lists CUDA, logs, and hands out a CPU session.
    class FallenBack(onnxruntime.InferenceSession):  # type: ignore[misc]
        def __init__(self, path: str, options: object, **_: object) -> None:
            super().__init__(path, providers=["CPUExecutionProvider"])

    providers = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: providers)
    monkeypatch.setattr(onnxruntime, "preload_dlls", lambda: None, raising=False)
    monkeypatch.setattr(onnxruntime, "InferenceSession", FallenBack)
    with pytest.raises(DeviceNotAvailable, match="would have used CPUExecutionProvider"):
        engine(tmp_path, device, stream, provider=Provider.cuda(0))


def test_the_cuda_session_may_not_fall_back_and_runs_on_the_given_stream(
    tmp_path: Path, device: Device, stream: Stream, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, object] = {}

    class Looked(onnxruntime.InferenceSession):  # type: ignore[misc]
        def __init__(self, path: str, options: object, **how: object) -> None:
            key = "session.disable_cpu_ep_fallback"
            seen.update(how, fallback=options.get_session_config_entry(key))  # type: ignore[attr-defined]
            raise RuntimeError("seen enough")

    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider"])
    monkeypatch.setattr(onnxruntime, "preload_dlls", lambda: None, raising=False)
    monkeypatch.setattr(onnxruntime, "InferenceSession", Looked)
    with pytest.raises(EngineFailed, match="seen enough"):
        engine(tmp_path, device, stream, provider=Provider.cuda(3))
    assert seen["fallback"] == "1"
    assert seen["providers"] == ["CUDAExecutionProvider"]
    (options,) = seen["provider_options"]  # type: ignore[misc]
    assert options["device_id"] == "3"
    assert options["user_compute_stream"] == str(stream.handle)


def test_where_open_sides_are_refused_each_batch_size_gets_a_session_of_its_own(
    tmp_path: Path, device: Device, stream: Stream, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, opened = onnx_session._session, []

    def refuses_open_sides(path, provider, options, fixed):  # type: ignore[no-untyped-def]
        if not fixed and len(opened) == 0:
            opened.append({})
            raise EngineFailed("nodes would be left to the CPU")
        opened.append(fixed)
        return real(path, provider, options, fixed)

    monkeypatch.setattr(onnx_session, "_session", refuses_open_sides)
    made = engine(tmp_path, device, stream)
    assert [fixed for fixed in opened if fixed] == [{"batch": 1}, {"batch": 2}, {"batch": 4}]
    for batch in (1, 2, 4):
        images = np.random.default_rng(batch).random((batch, 3, 32, 32), np.float32)
        source, target = put(device, images), empty(device, batch * made.output.nbytes)
        made.bind(batch, source.address, target.address).enqueue(stream)
        device.synchronize(stream)
        raw = get(device, target, (batch, 1, 32, 32), np.float32)
        assert np.allclose(raw[:, 0], images.mean(axis=1), atol=1e-6)


def test_a_file_that_is_refused_either_way_keeps_the_first_words(
    tmp_path: Path, device: Device, stream: Stream
) -> None:
    manifest = read_manifest(write_tiny_model(tmp_path, "acorn"))
    (tmp_path / "acorn.onnx").write_bytes(b"no network")
    with pytest.raises(EngineFailed, match="cannot load"):
        OnnxDeviceEngine(
            tmp_path / "acorn.onnx", manifest, device, stream, Provider.host(), buckets=(1,)
        )


def test_closing_twice_does_no_harm(tmp_path: Path, device: Device, stream: Stream) -> None:
    made = engine(tmp_path, device, stream)
    made.close()
    made.close()
