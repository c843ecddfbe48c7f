"""The service on the wire: under its standard name, from messages in a package of our own, and
described to those who ask by reflection as the standard has it.

Called by `server.listener`. Protobuf holds each name once per process, so standard messages would
clash with those that `tritonclient` brings; names of messages do not travel, only the method's path
does.
"""

from __future__ import annotations

from typing import Any

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.descriptor import FileDescriptor

from mattestream.kserve.v2 import service_pb2
from server.kserve.names import SERVICE
from server.kserve.service import InferenceService

_OURS = service_pb2.DESCRIPTOR
_STANDARD_PACKAGE = SERVICE.rpartition(".")[0]


def add_to(server: grpc.aio.Server, service: InferenceService) -> None:
    """Makes `server` answer calls of the standard service."""
    handlers: dict[str, Any] = {}
    for method in _OURS.services_by_name["GRPCInferenceService"].methods:
        make = (
            grpc.stream_stream_rpc_method_handler
            if method.client_streaming
            else grpc.unary_unary_rpc_method_handler
        )
        reads = message_factory.GetMessageClass(method.input_type)
        writes = message_factory.GetMessageClass(method.output_type)
        handlers[method.name] = make(
            getattr(service, method.name),
            request_deserializer=reads.FromString,
            response_serializer=writes.SerializeToString,
        )
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))


def described_with(*others: FileDescriptor) -> descriptor_pool.DescriptorPool:
    """A pool for reflection: `others` and the standard service, under its standard names.

    Args:
        others: files of the server's other services.
    """
    pool = descriptor_pool.DescriptorPool()
    known: set[str] = set()
    for file in others:
        _add(pool, file, known)
    _add(pool, _OURS, known)
    return pool


def _add(pool: descriptor_pool.DescriptorPool, file: FileDescriptor, known: set[str]) -> None:
    """Adds a file behind those that it imports."""
    if file.name in known:
        return
    known.add(file.name)
    for imported in file.dependencies:
        _add(pool, imported, known)
    copy = descriptor_pb2.FileDescriptorProto()
    file.CopyToProto(copy)
    if copy.package == _OURS.package:
        copy.package = _STANDARD_PACKAGE
        ours, standard = f".{_OURS.package}.", f".{_STANDARD_PACKAGE}."
        for message in copy.message_type:
            _rename(message, ours, standard)
        for each in copy.service:
            for method in each.method:
                method.input_type = method.input_type.replace(ours, standard)
                method.output_type = method.output_type.replace(ours, standard)
    pool.AddSerializedFile(copy.SerializeToString())


def _rename(message: descriptor_pb2.DescriptorProto, ours: str, standard: str) -> None:
    for field in message.field:
        if field.type_name:  # to set it, even to nothing, would make the field a message
            field.type_name = field.type_name.replace(ours, standard)
    for nested in message.nested_type:
        _rename(nested, ours, standard)
