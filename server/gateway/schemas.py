"""JSON schemas of the contract's messages, made from their descriptors and the comments that the
checked-in stubs carry.

Called by `server.gateway.openapi`: what the page says of an option is what protos/ says of it.
"""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor

import mattestream.v1

Schema = dict[str, object]
_REF = "#/components/schemas/"
_INTEGERS = {
    FieldDescriptor.CPPTYPE_INT32: (-(2**31), 2**31 - 1),
    FieldDescriptor.CPPTYPE_UINT32: (0, 2**32 - 1),
}
_LONG = {FieldDescriptor.CPPTYPE_INT64, FieldDescriptor.CPPTYPE_UINT64}
_REAL = {FieldDescriptor.CPPTYPE_FLOAT, FieldDescriptor.CPPTYPE_DOUBLE}


def schemas_of(*messages: Descriptor) -> dict[str, Schema]:
    """The schemas of `messages` and of all that is in them, by the messages' short names."""
    found: dict[str, Schema] = {}
    waiting = list(messages)
    while waiting:
        message = waiting.pop()
        if message.name in found:
            continue
        found[message.name] = _message(message)
        waiting += [field.message_type for field in message.fields if field.message_type]
    return found


def ref(message: Descriptor | str) -> Schema:
    """A reference to the schema of `message`."""
    return {"$ref": _REF + (message if isinstance(message, str) else message.name)}


def _message(message: Descriptor) -> Schema:
    said = _comments(message.file.name)
    properties = {}
    for field in message.fields:
        schema = _field(field)
        words = said.get((message.name, field.name), "")
        if words:
            # A sibling of $ref is allowed in JSON Schema 2020-12.
            meanings = schema.get("description", "")
            schema = {**schema, "description": f"{words} {meanings}".rstrip()}
        properties[field.name] = schema
    return {
        "type": "object",
        "description": said.get((message.name, ""), ""),
        "properties": properties,
        "additionalProperties": False,
    }


def _field(field: FieldDescriptor) -> Schema:
    schema = _value(field)
    return {"type": "array", "items": schema} if field.is_repeated else schema


def _value(field: FieldDescriptor) -> Schema:
    if field.message_type is not None:
        return ref(field.message_type)
    if field.enum_type is not None:
        return _enum(field.enum_type)
    kind = field.cpp_type
    schema: Schema = {"type": "string"}
    if kind == FieldDescriptor.CPPTYPE_BOOL:
        schema = {"type": "boolean"}
    elif kind in _INTEGERS:
        low, high = _INTEGERS[kind]
        schema = {"type": "integer", "minimum": low, "maximum": high}
    elif kind in _LONG:
        schema["pattern"] = "^-?[0-9]{1,19}$"
    elif kind in _REAL:
        schema = {"type": "number"}
    elif field.type == FieldDescriptor.TYPE_BYTES:
        schema["contentEncoding"] = "base64"
    return schema


def _enum(enum: EnumDescriptor) -> Schema:
    said = _comments(enum.file.name)
    meanings = [
        f"{value.name}: {said[enum.name, value.name]}"
        for value in enum.values
        if (enum.name, value.name) in said
    ]
    schema: Schema = {"type": "string", "enum": [value.name for value in enum.values]}
    if meanings:
        schema["description"] = " ".join(meanings)
    return schema


@cache
def _comments(proto: str) -> dict[tuple[str, str], str]:
    """What protos/ says of each message, field and value, by (name, field or value); of the message
    itself under (name, "").
    """
    stub = Path(mattestream.v1.__file__ or "").parent / f"{Path(proto).stem}_pb2.pyi"
    found: dict[tuple[str, str], str] = {}
    try:
        tree = ast.parse(stub.read_text(encoding="utf-8"))
    except OSError:
        return found  # a package without stubs: the page says less
    for node in tree.body:
        if isinstance(node, ast.ClassDef):
            _read_class(node, found)
    return found


def _read_class(node: ast.ClassDef, found: dict[tuple[str, str], str]) -> None:
    # mypy-protobuf names an enum's helper class _Name.
    name = node.name.strip("_").removesuffix("EnumTypeWrapper")
    said = ast.get_docstring(node)
    if said:
        found.setdefault((name, ""), _one_line(said))
    for member, after in zip(node.body, [*node.body[1:], None], strict=True):
        if isinstance(member, ast.FunctionDef):
            words = ast.get_docstring(member)
            target = member.name
        elif isinstance(member, ast.AnnAssign) and isinstance(member.target, ast.Name):
            target = member.target.id
            words = None
            if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
                words = str(after.value.value)
        else:
            continue
        if words:
            found.setdefault((name, target), _one_line(words))


def _one_line(words: str) -> str:
    return " ".join(words.split())
