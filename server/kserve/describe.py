"""What a face takes and gives, as metadata and as configuration.

Called by `server.kserve.service`. Both are made from the same `Port`s, so that they cannot differ.
"""

from __future__ import annotations

from dataclasses import dataclass

from mattestream.kserve.v2 import model_config_pb2, service_pb2
from server.kserve import pictures, tensor_face, treatments
from server.kserve.datatypes import BYTES, CONFIG_TYPES, FP32, UINT8
from server.kserve.names import Face
from server.kserve.parameters import DEFAULT_LEVEL, LEVELS
from server.replica import Replica

PIPELINE_PLATFORM = "mattestream_pipeline"


@dataclass(frozen=True, slots=True)
class Port:
    """A tensor that a face takes or gives.

    Attributes:
        dims: its sides without the batch, -1 where any will do.
        layout: what its axes mean, "" when nothing in particular.
        is_optional: a request may leave it out.
    """

    name: str
    datatype: str
    dims: tuple[int, ...]
    layout: str = ""
    is_optional: bool = False


def inputs_of(face: Face) -> tuple[Port, ...]:
    """What it takes."""
    if face.is_pipeline:
        return (
            Port(pictures.IMAGE, BYTES, (1,), is_optional=True),
            Port(pictures.PIXELS, UINT8, (-1, -1, -1), "NHWC", is_optional=True),
        )
    tensor = tensor_face.input_of(face.manifest)
    return (Port(tensor.name, FP32, tensor.shape, face.manifest.input.layout),)


def outputs_of(face: Face, replica: Replica) -> tuple[Port, ...]:
    """What it gives."""
    if face.is_pipeline:
        return (
            Port(treatments.ALPHA, UINT8, (-1, -1)),
            Port(treatments.RGBA, UINT8, (-1, -1, 4)),
            Port(treatments.RESULT, BYTES, (1,)),
            Port(treatments.REPORT, BYTES, (1,)),
        )
    tensor = tensor_face.output_of(replica)
    return (Port(tensor.name, FP32, tensor.shape),)


def metadata(face: Face, replica: Replica) -> service_pb2.ModelMetadataResponse:
    """Names, types and shapes, the batch included."""
    message = service_pb2.ModelMetadataResponse(
        name=face.name, versions=[face.version], platform=_platform(face, replica)
    )
    for ports, into in (
        (inputs_of(face), message.inputs),
        (outputs_of(face, replica), message.outputs),
    ):
        for port in ports:
            into.add(name=port.name, datatype=port.datatype, shape=(-1, *port.dims))
    return message


def config(face: Face, replica: Replica) -> model_config_pb2.ModelConfig:
    """The same in Triton's terms, and how requests are scheduled."""
    model, manifest = replica.model, face.manifest
    message = model_config_pb2.ModelConfig(
        name=face.name,
        platform=_platform(face, replica),
        backend="mattestream",
        max_batch_size=pictures.MAX_BATCH if face.is_pipeline else tensor_face.MAX_BATCH,
        model_transaction_policy=model_config_pb2.ModelTransactionPolicy(decoupled=False),
    )
    formats = {
        "NCHW": model_config_pb2.ModelInput.FORMAT_NCHW,
        "NHWC": model_config_pb2.ModelInput.FORMAT_NHWC,
    }
    for port in inputs_of(face):
        message.input.add(
            name=port.name,
            data_type=CONFIG_TYPES[port.datatype],
            dims=port.dims,
            format=formats.get(port.layout, model_config_pb2.ModelInput.FORMAT_NONE),
            optional=port.is_optional,
        )
    for port in outputs_of(face, replica):
        message.output.add(name=port.name, data_type=CONFIG_TYPES[port.datatype], dims=port.dims)
    device = model.engine.device
    group = message.instance_group.add(name=f"{face.name}_0", count=model.max_concurrent_runs)
    if device == "cpu":
        group.kind = model_config_pb2.ModelInstanceGroup.KIND_CPU
    else:
        group.kind = model_config_pb2.ModelInstanceGroup.KIND_GPU
        group.gpus.append(int(device.split()[0].partition(":")[2] or 0))
    batching = message.dynamic_batching
    batching.preferred_batch_size.append(model.max_batch)
    batching.priority_levels, batching.default_priority_level = len(LEVELS), DEFAULT_LEVEL
    facts = {
        "license": manifest.license,
        "commercial_use": str(manifest.commercial_use).lower(),
        "weights_sha256": model.weights_sha256,
        "engine": model.engine.name,
        "device": device,
        "precision": model.engine.precision,
    }
    if not face.is_pipeline:
        facts["channels"] = manifest.input.channels
        facts["mean"] = " ".join(f"{value:g}" for value in manifest.input.mean)
        facts["std"] = " ".join(f"{value:g}" for value in manifest.input.std)
        facts["activation"] = manifest.output.activation
    for name, fact in facts.items():
        message.parameters[name].string_value = fact
    return message


def _platform(face: Face, replica: Replica) -> str:
    """The engine's library, "onnxruntime", or the pipeline's own word."""
    return PIPELINE_PLATFORM if face.is_pipeline else replica.model.engine.name.split()[0]
