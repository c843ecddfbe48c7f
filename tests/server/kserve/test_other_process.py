"""The blocking client against `mattestream serve` in a process of its own, as its users have it."""

from __future__ import annotations

import io
import os
import re
import secrets
import threading
from collections.abc import Iterator
from pathlib import Path
from queue import Queue
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as triton
import tritonclient.utils.shared_memory as shm
from PIL import Image
from tritonclient.utils import InferenceServerException

from mattestream.cli.server_process import ServerProcess
from tests.fakes.tiny_onnx import write_tiny_model
from tests.server.fakes import PATIENCE_S, picture
from tests.server.triton import asks, files, half_white, pixels, tensor

DOCS = Path(__file__).parents[3] / "docs"


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server with shared memory, its models called as in the docs."""
    folder = tmp_path_factory.mktemp("models")
    write_tiny_model(folder, "tiny", max_batch=4)
    flags = ["--model", "tiny", "--load", "matte-s", "--model-dir", str(folder), "--threads", "2"]
    with ServerProcess([*flags, "--shared-memory", "myapp-"]) as server:
        yield server.address


@pytest.fixture
def client(address: str) -> Iterator[triton.InferenceServerClient]:
    with triton.InferenceServerClient(address) as made:
        yield made


def test_it_infers_in_both_faces(client: triton.InferenceServerClient) -> None:
    batch = np.random.default_rng(2).normal(size=(3, 3, 32, 32)).astype(np.float32)
    raw = client.infer("tiny", [tensor("image", batch)]).as_numpy("alpha")
    np.testing.assert_allclose(raw, batch.mean(axis=1, keepdims=True), atol=1e-5)
    answer = client.infer("tiny_pipeline", [files(picture())], outputs=asks("rgba"))
    assert answer.as_numpy("rgba")[0, 32, -3, 3] == 255


def test_many_requests_at_once_are_answered_each_with_its_own(
    client: triton.InferenceServerClient,
) -> None:
    done: Queue[tuple[Any, Any]] = Queue()
    for shade in range(24):
        batch = np.full((1, 3, 32, 32), shade, np.float32)
        client.async_infer(
            "tiny",
            [tensor("image", batch)],
            lambda result, error: done.put((result, error)),
            request_id=str(shade),
        )
    for _ in range(24):
        result, error = done.get(timeout=PATIENCE_S)
        assert error is None
        shade = float(result.get_response().id)
        np.testing.assert_allclose(result.as_numpy("alpha"), shade, rtol=1e-6)


def test_a_stream_with_callbacks_answers_in_order_and_tells_errors(
    client: triton.InferenceServerClient,
) -> None:
    done: Queue[tuple[Any, Any]] = Queue()
    client.start_stream(lambda result, error: done.put((result, error)))
    for number in range(6):
        model = "nothing" if number == 2 else "tiny_pipeline"
        client.async_stream_infer(
            model,
            [pixels(half_white())],
            outputs=asks("alpha"),
            request_id=str(number),
            enable_empty_final_response=True,
        )
    for number in range(6):
        result, error = done.get(timeout=PATIENCE_S)
        if number == 2:
            assert "nothing" in str(error)
            continue
        response = result.get_response()
        assert (error, response.id) == (None, str(number))
        assert response.parameters["triton_final_response"].bool_param
    client.stop_stream()


def test_a_model_without_a_network_has_one_face_and_is_loaded_by_its_own_name(
    client: triton.InferenceServerClient,
) -> None:
    listed = [each.name for each in client.get_model_repository_index().models]
    assert "chroma-key_pipeline" in listed
    assert "chroma-key" not in listed
    client.load_model("chroma-key")
    screen = np.full((8, 8, 3), (0, 177, 64), np.uint8)
    answer = client.infer("chroma-key_pipeline", [pixels(screen)], outputs=asks("alpha"))
    assert answer.as_numpy("alpha").max() == 0
    with pytest.raises(InferenceServerException, match="chroma-key_pipeline") as caught:
        client.get_model_metadata("chroma-key")
    assert caught.value.status() == "StatusCode.NOT_FOUND"
    client.unload_model("chroma-key")
    assert not client.is_model_ready("chroma-key_pipeline")


def test_an_error_has_its_status_and_sentence(client: triton.InferenceServerClient) -> None:
    with pytest.raises(InferenceServerException) as caught:
        client.infer("tiny_pipeline", [files(b"no picture")])
    assert caught.value.status() == "StatusCode.INVALID_ARGUMENT"
    assert "JPEG" in caught.value.message()


@pytest.mark.parametrize("streaming", [False, True], ids=["calls", "stream"])
def test_the_order_of_calls_of_perf_analyzer_works(
    client: triton.InferenceServerClient, streaming: bool
) -> None:
    """What perf_analyzer 2.50 calls, in its order, shared memory included."""
    assert client.is_server_ready()
    metadata = client.get_model_metadata("tiny", as_json=True)
    config = client.get_model_config("tiny", as_json=True)["config"]
    assert config["max_batch_size"] >= 4
    assert "dynamic_batching" in config
    assert "statistics" in client.get_server_metadata().extensions
    client.unregister_system_shared_memory()
    client.unregister_cuda_shared_memory()
    (source,) = metadata["inputs"]
    shape = [4, *(int(side) for side in source["shape"][1:])]
    data = np.random.default_rng(9).normal(size=shape).astype(np.float32)
    key = f"myapp-{os.getpid()}-{secrets.token_hex(4)}"
    out_bytes = 4 * 32 * 32 * 4
    region = shm.create_shared_memory_region("in", key, data.nbytes + out_bytes)
    try:
        shm.set_shared_memory_region(region, [data])
        client.register_system_shared_memory("in", key, data.nbytes)
        client.register_system_shared_memory("out", key, out_bytes, data.nbytes)
        before = statistics(client)
        made = triton.InferInput(source["name"], shape, source["datatype"])
        made.set_shared_memory("in", data.nbytes)
        wanted = triton.InferRequestedOutput(metadata["outputs"][0]["name"])
        wanted.set_shared_memory("out", out_bytes)
        infer_loop(client, made, wanted, streaming=streaming)
        after = statistics(client)
        assert after["success"] - before["success"] == 5
        assert after["images"] - before["images"] == 20
        assert after["runs"] > before["runs"]
        raw = shm.get_contents_as_numpy(region, np.float32, (4, 1, 32, 32), data.nbytes).copy()
        np.testing.assert_allclose(raw, data.mean(axis=1, keepdims=True), atol=1e-5)
        client.unregister_system_shared_memory("in")
        client.unregister_system_shared_memory("out")
    finally:
        shm.destroy_shared_memory_region(region)


def infer_loop(
    client: triton.InferenceServerClient,
    made: triton.InferInput,
    wanted: triton.InferRequestedOutput,
    *,
    streaming: bool,
) -> None:
    arguments: dict[str, Any] = {"outputs": [wanted]}
    if not streaming:
        for _ in range(5):
            client.infer("tiny", [made], **arguments)
        return
    left = threading.Semaphore(0)
    errors: list[object] = []

    def came(result: object, error: object) -> None:
        errors.append(error)
        left.release()

    client.start_stream(came)
    for _ in range(5):
        client.async_stream_infer("tiny", [made], enable_empty_final_response=True, **arguments)
        assert left.acquire(timeout=PATIENCE_S)
    client.stop_stream()
    assert errors == [None] * 5


def statistics(client: triton.InferenceServerClient) -> dict[str, int]:
    (said,) = client.get_inference_statistics("tiny").model_stats
    return {
        "success": said.inference_stats.success.count,
        "images": said.inference_count,
        "runs": said.execution_count,
    }


@pytest.mark.parametrize("number", [0, 1], ids=["files", "shared memory"])
def test_the_examples_of_the_page_run(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    page = (DOCS / "triton.md").read_text(encoding="utf-8")
    example = re.findall(r"```python\n(.*?)```", page, re.DOTALL)[number]
    (tmp_path / "in.jpg").write_bytes(picture())
    monkeypatch.chdir(tmp_path)
    exec(example.replace("127.0.0.1:50051", address), {})
    if number == 0:
        assert Image.open(io.BytesIO(Path("out.webp").read_bytes())).format == "WEBP"
