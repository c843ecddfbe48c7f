"""What the server and its models say of themselves, asked by the real client."""

from __future__ import annotations

import asyncio

import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from mattestream import __version__
from server.kserve.names import SERVICE
from tests.server.fakes import eventually
from tests.server.serving import Serve, Served
from tests.server.triton import client_of, failure


async def test_the_server_is_live_and_ready_once_its_model_is_warm(served: Served) -> None:
    async with client_of(served) as client:
        assert await client.is_server_live()
        assert await client.is_server_ready()
        for name in ("tiny", "tiny_pipeline"):
            assert await client.is_model_ready(name)
        assert not await client.is_model_ready("other")
        assert not await client.is_model_ready("nothing")


async def test_health_knows_the_service_by_its_standard_name(served: Served) -> None:
    stub = health_pb2_grpc.HealthStub(served.channel)
    answer = await stub.Check(health_pb2.HealthCheckRequest(service=SERVICE))
    assert answer.status == health_pb2.HealthCheckResponse.SERVING


async def test_a_draining_server_is_live_but_not_ready(served: Served) -> None:
    async with client_of(served) as client:
        served.app.gate.close()
        assert await client.is_server_live()
        assert not await client.is_server_ready()
        code, sentence = await failure(client.get_server_metadata())
        assert (code, "shutting down" in sentence) == ("UNAVAILABLE", True)


async def test_probes_need_no_key_and_all_else_does(serve: Serve, tmp_path) -> None:
    keys = tmp_path / "keys"
    keys.write_text("a-key-of-enough-characters\n")
    async with serve(api_keys_file=keys) as served, client_of(served) as client:
        assert await client.is_server_live()
        assert await client.is_server_ready()
        assert await client.is_model_ready("tiny")
        assert (await failure(client.get_server_metadata()))[0] == "UNAUTHENTICATED"
        headers = {"x-api-key": "a-key-of-enough-characters"}
        assert (await client.get_server_metadata(headers=headers)).name == "mattestream"


async def test_the_server_names_its_extensions_and_only_those_it_has(serve: Serve) -> None:
    async with serve() as served, client_of(served) as client:
        metadata = await client.get_server_metadata()
        assert metadata.version == __version__
        assert "statistics" in metadata.extensions
        assert "system_shared_memory" not in metadata.extensions
        assert "sequence" not in metadata.extensions
    async with serve(shared_memory=("mstest-",)) as served, client_of(served) as client:
        assert "system_shared_memory" in (await client.get_server_metadata()).extensions


async def test_a_network_has_the_tensors_of_its_manifest(served: Served) -> None:
    async with client_of(served) as client:
        said = await client.get_model_metadata("tiny", as_json=True)
        assert said["inputs"] == [
            {"name": "image", "datatype": "FP32", "shape": ["-1", "3", "32", "32"]}
        ]
        assert said["outputs"] == [
            {"name": "alpha", "datatype": "FP32", "shape": ["-1", "1", "32", "32"]}
        ]
        assert (said["versions"], said["platform"]) == (["1"], "onnxruntime")


async def test_a_network_of_another_layout_says_so(serve: Serve) -> None:
    async with serve(load=("other",)) as served, client_of(served) as client:
        said = await client.get_model_metadata("other")
        assert list(said.inputs[0].shape) == [-1, 32, 32, 3]
        assert list(said.outputs[0].shape) == [-1, 32, 32, 1]
        config = (await client.get_model_config("other", as_json=True))["config"]
        assert config["input"][0]["format"] == "FORMAT_NHWC"


async def test_a_pipeline_takes_files_or_pixels_and_gives_four_tensors(served: Served) -> None:
    async with client_of(served) as client:
        said = await client.get_model_metadata("tiny_pipeline")
        assert [(each.name, each.datatype) for each in said.inputs] == [
            ("image", "BYTES"),
            ("pixels", "UINT8"),
        ]
        assert [(each.name, each.datatype, list(each.shape)) for each in said.outputs] == [
            ("alpha", "UINT8", [-1, -1, -1]),
            ("rgba", "UINT8", [-1, -1, -1, 4]),
            ("result", "BYTES", [-1, 1]),
            ("report", "BYTES", [-1, 1]),
        ]


@pytest.mark.parametrize("name", ["tiny", "tiny_pipeline"])
async def test_configuration_and_metadata_agree(served: Served, name: str) -> None:
    async with client_of(served) as client:
        metadata = await client.get_model_metadata(name)
        config = (await client.get_model_config(name)).config
        assert config.name == name
        assert config.max_batch_size > 0
        for ports, declared in (
            (config.input, metadata.inputs),
            (config.output, metadata.outputs),
        ):
            assert [each.name for each in ports] == [each.name for each in declared]
            assert [[-1, *each.dims] for each in ports] == [list(each.shape) for each in declared]
        assert not config.model_transaction_policy.decoupled
        assert config.parameters["license"].string_value == "Apache-2.0"


async def test_a_version_that_is_not_there_is_not_found(served: Served) -> None:
    async with client_of(served) as client:
        assert (await client.get_model_metadata("tiny", "1")).name == "tiny"
        code, sentence = await failure(client.get_model_metadata("tiny", "7"))
        assert code == "NOT_FOUND"
        assert "'1'" in sentence


async def test_a_model_that_is_not_loaded_is_unavailable_and_unknown_ones_are_not_found(
    served: Served,
) -> None:
    async with client_of(served) as client:
        code, sentence = await failure(client.get_model_metadata("other_pipeline"))
        assert code == "UNAVAILABLE"
        assert "RepositoryModelLoad" in sentence
        code, sentence = await failure(client.get_model_metadata("tinny"))
        assert (code, "'tiny'" in sentence) == ("NOT_FOUND", True)


async def test_models_are_listed_loaded_and_unloaded_by_either_face(served: Served) -> None:
    async with client_of(served) as client:
        index = {each.name: each for each in (await client.get_model_repository_index()).models}
        assert index["tiny"].state == index["tiny_pipeline"].state == "READY"
        assert index["other"].state == "UNAVAILABLE"
        assert "RepositoryModelLoad" in index["other"].reason
        await client.load_model("other_pipeline")
        assert await client.is_model_ready("other")
        await client.unload_model("other", unload_dependents=True)
        assert not await client.is_model_ready("other_pipeline")
        code, _ = await failure(client.unload_model("tiny"))
        assert code == "FAILED_PRECONDITION"
        code, sentence = await failure(client.load_model("other", config="{}"))
        assert (code, "config" in sentence) == ("UNIMPLEMENTED", True)


async def test_a_model_that_is_being_loaded_is_listed_as_such(served: Served) -> None:
    async with client_of(served) as client:
        served.registry.may_load.clear()
        loading = asyncio.create_task(client.load_model("other"))
        await eventually(lambda: served.app.host.state("other")[0] is not None, "load begun")
        index = {each.name: each for each in (await client.get_model_repository_index()).models}
        assert index["other"].state == "LOADING"
        code, _ = await failure(client.get_model_config("other"))
        assert code == "UNAVAILABLE"
        served.registry.may_load.set()
        await loading


async def test_trace_and_log_settings_are_told_and_changes_refused(served: Served) -> None:
    async with client_of(served) as client:
        traces = await client.get_trace_settings("tiny", as_json=True)
        assert traces["settings"]["trace_level"]["value"] == ["OFF"]
        code, _ = await failure(
            client.update_trace_settings(settings={"trace_level": ["TIMESTAMPS"]})
        )
        assert code == "UNIMPLEMENTED"
        logs = (await client.get_log_settings()).settings
        assert logs["log_info"].bool_param
        code, sentence = await failure(client.update_log_settings({"log_verbose_level": 2}))
        assert (code, "--log-level" in sentence) == ("UNIMPLEMENTED", True)
        await client.update_log_settings({"log_error": True})
