"""The parameters of requests and tensors: what the protocol itself gives a meaning, read and taken
out; the rest is the model's.

Used by `server.kserve.asked` and `server.kserve.tensors`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mattestream.kserve.v2 import infer_pb2
from server.fair_queue import Priority
from server.kserve.errors import NotSupported, WrongRequest

Value = bool | int | float | str
Parameters = Mapping[str, infer_pb2.InferParameter]

REGION = "shared_memory_region"
OFFSET = "shared_memory_offset"
BYTE_SIZE = "shared_memory_byte_size"

# Of a stream's answers: nothing comes after it. Sent by perf_analyzer on single calls, too.
ASK_FOR_EMPTY_FINAL = "triton_enable_empty_final_response"
FINAL = "triton_final_response"

LEVELS = {1: Priority.HIGH, 2: Priority.NORMAL, 3: Priority.LOW}
DEFAULT_LEVEL = 2
LARGEST_TIMEOUT_US = 2**63 - 1

# Say how the caller would like the answer to be carried; our answers are always binary.
_HARMLESS = frozenset({ASK_FOR_EMPTY_FINAL, "binary_data_output"})


@dataclass(frozen=True, slots=True)
class Wishes:
    """What a request's parameters ask for.

    Attributes:
        priority: None: the call's own.
        timeout_s: None: none was set.
        own: those that are the model's, by name.
    """

    priority: Priority | None
    timeout_s: float | None
    own: dict[str, Value]


def value_of(name: str, parameter: infer_pb2.InferParameter) -> Value:
    """The value that is set.

    Raises:
        WrongRequest: none is.
    """
    kind = parameter.WhichOneof("parameter_choice")
    if kind is None:
        raise WrongRequest(f"parameter '{name}' has no value: set one, or leave it out")
    value: Value = getattr(parameter, kind)
    return value


def integer_of(name: str, value: Value, low: int, high: int) -> int:
    """`value` as a whole number in a range.

    Raises:
        WrongRequest: it is none.
    """
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise WrongRequest(
            f"parameter '{name}' is {value!r}: it must be a whole number from {low} to {high}"
        )
    return value


def read_wishes(parameters: Parameters) -> Wishes:
    """What a request asks for.

    Raises:
        WrongRequest: a value makes no sense.
        NotSupported: sequences.
    """
    priority, timeout_s = None, None
    own: dict[str, Value] = {}
    for name in parameters:
        value = value_of(name, parameters[name])
        if name in _HARMLESS:
            continue
        if name == "priority":
            level = integer_of(name, value, 0, max(LEVELS))
            priority = LEVELS.get(level)  # 0: the default
        elif name == "timeout":
            microseconds = integer_of(name, value, 0, LARGEST_TIMEOUT_US)
            timeout_s = microseconds / 1e6 if microseconds else None
        elif name in {"sequence_id", "sequence_start", "sequence_end"}:
            if value:
                raise NotSupported(
                    f"parameter '{name}' is set, but no model here keeps state between requests: "
                    "leave it out, or send frames by mattestream.v1's RemoveStream"
                )
        elif name.startswith("triton_"):
            raise WrongRequest(f"parameter '{name}' is reserved: leave it out")
        else:
            own[name] = value
    return Wishes(priority, timeout_s, own)


def refuse_own(own: Mapping[str, Value], name: str) -> None:
    """Nothing when a request for a model without parameters has none.

    Raises:
        WrongRequest: it has one.
    """
    for key in own:
        raise WrongRequest(
            f"parameter '{key}' means nothing to model '{name}': leave it out; options of the "
            "background removal go to the pipeline"
        )
