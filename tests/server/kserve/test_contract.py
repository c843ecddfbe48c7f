"""Our messages are the standard's on the wire, and reflection describes them by its names."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool
from google.protobuf.descriptor import Descriptor
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from tritonclient.grpc import model_config_pb2 as standard_config
from tritonclient.grpc import service_pb2 as standard

from mattestream.kserve.v2 import (
    control_pb2,
    infer_pb2,
    model_config_pb2,
    service_pb2,
    statistics_pb2,
)
from server.kserve.names import SERVICE
from tests.server.serving import Served

FILES = (service_pb2, infer_pb2, model_config_pb2, statistics_pb2, control_pb2)


def messages(described: object) -> Iterator[Descriptor]:
    for each in getattr(described, "message_types_by_name", {}).values():
        yield from nested(each)


def nested(message: Descriptor) -> Iterator[Descriptor]:
    yield message
    for each in message.nested_types:
        yield from nested(each)


OURS = [message for file in FILES for message in messages(file.DESCRIPTOR)]
# What the open protocol has on top of what this client knows would stand here.
THEIRS = {
    message.full_name.removeprefix("inference."): message
    for file in (standard, standard_config)
    for message in messages(file.DESCRIPTOR)
}


@pytest.mark.parametrize("ours", OURS, ids=lambda message: message.name)
def test_every_field_has_the_number_and_the_type_of_the_standard(ours: Descriptor) -> None:
    theirs = THEIRS[ours.full_name.removeprefix("mattestream.kserve.v2.")]
    for field in ours.fields:
        same = theirs.fields_by_name[field.name]
        assert (field.number, field.type) == (same.number, same.type), field.name
        assert field.has_presence == same.has_presence, field.name
        assert (field.containing_oneof is None) == (same.containing_oneof is None), field.name


def test_every_enum_value_has_the_number_of_the_standard() -> None:
    ours = model_config_pb2.DataType.DESCRIPTOR.values_by_name
    theirs = standard_config.DataType.DESCRIPTOR.values_by_name
    assert {name: value.number for name, value in ours.items()} == {
        name: value.number for name, value in theirs.items()
    }


def test_the_service_has_every_method_of_the_standard_with_its_kind() -> None:
    ours = service_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"].methods_by_name
    theirs = standard.DESCRIPTOR.services_by_name["GRPCInferenceService"].methods_by_name
    assert set(theirs) == set(ours)
    for name, method in theirs.items():
        assert ours[name].input_type.name == method.input_type.name
        assert ours[name].output_type.name == method.output_type.name
        assert ours[name].client_streaming == method.client_streaming


async def test_reflection_describes_the_service_by_its_standard_name(served: Served) -> None:
    stub = reflection_pb2_grpc.ServerReflectionStub(served.channel)
    asked = reflection_pb2.ServerReflectionRequest(list_services="")
    wanted = reflection_pb2.ServerReflectionRequest(file_containing_symbol=SERVICE)
    (listed, described) = [answer async for answer in stub.ServerReflectionInfo([asked, wanted])]
    assert SERVICE in [each.name for each in listed.list_services_response.service]
    pool = descriptor_pool.DescriptorPool()
    left = [
        descriptor_pb2.FileDescriptorProto.FromString(data)
        for data in described.file_descriptor_response.file_descriptor_proto
    ]
    while left:  # in whatever order they came
        for file in [one for one in left if known(pool, one)]:
            pool.Add(file)
            left.remove(file)
    method = pool.FindServiceByName(SERVICE).methods_by_name["ModelInfer"]
    assert method.input_type.full_name == "inference.ModelInferRequest"
    assert "raw_input_contents" in method.input_type.fields_by_name


def known(pool: descriptor_pool.DescriptorPool, file: descriptor_pb2.FileDescriptorProto) -> bool:
    try:
        return all(pool.FindFileByName(name) for name in file.dependency)
    except KeyError:
        return False
