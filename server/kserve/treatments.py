"""What a pipeline's request wants made of its pictures: pixels, a result, or both, each with
options of its own.

Called by `server.kserve.pipeline_face`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from mattestream.v1 import options_pb2
from server.job import Options
from server.kserve.errors import WrongRequest
from server.kserve.options import read_parameters
from server.kserve.parameters import Value
from server.options import read_options

ALPHA, RGBA, RESULT, REPORT = "alpha", "rgba", "result", "report"
OUTPUTS = (ALPHA, RGBA, RESULT, REPORT)

# How a result is packed and what is laid behind or under it: bare pixels have none of it.
OF_RESULTS = ("output", "format", "quality", "background", "keep_metadata", "shadow", "tensor")


@dataclass(frozen=True, slots=True)
class Treatments:
    """Options for each of the two ways; None: that one is not asked for."""

    pixels: Options | None
    result: Options | None


def read_treatments(model: str, own: Mapping[str, Value], wanted: Collection[str]) -> Treatments:
    """What the request wants.

    Args:
        model: by its own name.
        own: the parameters.
        wanted: names of the outputs that are asked for.

    Raises:
        WrongRequest: there is no such option, or it is for an output that is not asked for.
        InvalidOption, NotBuilt: as for our own services.
    """
    message = read_parameters(own)
    message.model = model
    result = None
    if RESULT in wanted:
        result = read_options(message, stream=False)
    else:
        for path in own:
            if path.partition(".")[0] in OF_RESULTS:
                raise WrongRequest(
                    f"parameter '{path}' is about the output '{RESULT}', which is not asked for: "
                    "ask for it, or leave the parameter out"
                )
        if RGBA not in wanted:
            return Treatments(_pixel_options(message, options_pb2.OUTPUT_ALPHA), None)
    pixels = None
    if RGBA in wanted:
        pixels = _pixel_options(message, options_pb2.OUTPUT_CUTOUT)
    elif ALPHA in wanted:
        message.ClearField("foreground")  # the result's: an alpha has no colours
        pixels = _pixel_options(message, options_pb2.OUTPUT_ALPHA)
    return Treatments(pixels, result)


def _pixel_options(
    message: options_pb2.RemoveOptions, output: options_pb2.Output.ValueType
) -> Options:
    """The same for tightly packed pixels."""
    bare = options_pb2.RemoveOptions()
    bare.CopyFrom(message)
    for name in OF_RESULTS:
        bare.ClearField(name)  # type: ignore[arg-type]  # the stubs list names
    bare.output, bare.format = output, options_pb2.FORMAT_RAW
    return read_options(bare, stream=False)
