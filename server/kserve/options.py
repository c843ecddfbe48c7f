"""Parameters of a pipeline's request as the options of the contract: `"edges.feather_px": 2.5` is
that field of RemoveOptions, by its path.

Called by `server.kserve.pipeline_face`. Values are written as a parameter can hold them: enums by
their name, with or without its prefix ("webp" for FORMAT_WEBP). What the options then mean, and
which are refused, is `server.options`'.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from mattestream.v1 import options_pb2
from server.kserve.errors import WrongRequest
from server.kserve.parameters import Value

# The request says these in its own way.
_ELSEWHERE = {
    "model": "name the model in model_name",
    "shared_memory_output": "register a region and name it in the output's parameters",
}


def read_parameters(own: Mapping[str, Value]) -> options_pb2.RemoveOptions:
    """The options that the parameters ask for, unchecked but for their types.

    Raises:
        WrongRequest: there is no such option, or its value is of another type.
    """
    options = options_pb2.RemoveOptions()
    for path, value in own.items():
        top = path.partition(".")[0]
        if top in _ELSEWHERE:
            raise WrongRequest(f"parameter '{path}' is not taken: {_ELSEWHERE[top]}")
        _put(options, path, value)
    return options


def _put(options: options_pb2.RemoveOptions, path: str, value: Value) -> None:
    message: Message = options
    *groups, leaf = path.split(".")
    for name in groups:
        field = message.DESCRIPTOR.fields_by_name.get(name)
        if field is None or field.message_type is None or not field.has_presence:  # a list
            raise _unknown(path)
        message = getattr(message, name)
        message.SetInParent()
    field = message.DESCRIPTOR.fields_by_name.get(leaf)
    if field is None or (field.message_type is not None and not field.has_presence):
        raise _unknown(path)
    if field.message_type is not None:
        if value is not True:  # an empty crop, an empty inpaint: to be there is all they need
            raise WrongRequest(
                f"parameter '{path}' is a group of options: set those in it, or it to true"
            )
        getattr(message, leaf).SetInParent()
        return
    try:
        setattr(message, leaf, _converted(field, value))
    except AttributeError:  # a list of numbers
        raise _unknown(path) from None
    except (TypeError, ValueError):
        raise WrongRequest(
            f"parameter '{path}' is {value!r}: it must be {_allowed(field)}"
        ) from None


def _converted(field: Any, value: Value) -> Value:
    """`value` as the field takes it.

    Raises:
        TypeError, ValueError: it cannot be that.
    """
    if field.enum_type is not None:
        values = field.enum_type.values
        prefix = values[0].name.removesuffix("UNSPECIFIED")
        wanted = str(value).upper()
        for each in values:
            if wanted in (each.name, each.name.removeprefix(prefix)):
                return int(each.number)
        raise ValueError(value)
    if isinstance(value, bool) is not (field.cpp_type == FieldDescriptor.CPPTYPE_BOOL):
        raise TypeError(value)
    if field.cpp_type == FieldDescriptor.CPPTYPE_FLOAT and isinstance(value, int):
        return float(value)
    return value


def _allowed(field: Any) -> str:
    if field.enum_type is not None:
        prefix = field.enum_type.values[0].name.removesuffix("UNSPECIFIED")
        names = (each.name.removeprefix(prefix).lower() for each in field.enum_type.values[1:])
        return f"one of {', '.join(names)}"
    return {
        FieldDescriptor.CPPTYPE_BOOL: "true or false",
        FieldDescriptor.CPPTYPE_FLOAT: "a number",
        FieldDescriptor.CPPTYPE_STRING: "a text",
    }.get(field.cpp_type, "a whole number, 0 or more")


def _unknown(path: str) -> WrongRequest:
    return WrongRequest(
        f"parameter '{path}' is no option of the pipeline: they are the fields of RemoveOptions in "
        "docs/protocol.md, by their path, as 'edges.feather_px'"
    )
