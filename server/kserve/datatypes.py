"""Types of tensor elements: their names, their NumPy types, and how BYTES are laid out.

Used by `server.kserve.tensors`. BF16 has no NumPy type and none of our models takes it.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import Any

import numpy as np

from mattestream.kserve.v2 import model_config_pb2
from server.kserve.errors import WrongRequest

BYTES = "BYTES"
UINT8 = "UINT8"
FP32 = "FP32"

# Name: NumPy type, and the field of InferTensorContents that holds its elements.
FIXED: dict[str, tuple[np.dtype[Any], str]] = {
    "BOOL": (np.dtype(np.bool_), "bool_contents"),
    "INT8": (np.dtype("i1"), "int_contents"),
    "INT16": (np.dtype("<i2"), "int_contents"),
    "INT32": (np.dtype("<i4"), "int_contents"),
    "INT64": (np.dtype("<i8"), "int64_contents"),
    UINT8: (np.dtype("u1"), "uint_contents"),
    "UINT16": (np.dtype("<u2"), "uint_contents"),
    "UINT32": (np.dtype("<u4"), "uint_contents"),
    "UINT64": (np.dtype("<u8"), "uint64_contents"),
    "FP16": (np.dtype("<f2"), ""),  # raw only
    FP32: (np.dtype("<f4"), "fp32_contents"),
    "FP64": (np.dtype("<f8"), "fp64_contents"),
}

CONFIG_TYPES = {
    BYTES: model_config_pb2.TYPE_STRING,
    UINT8: model_config_pb2.TYPE_UINT8,
    FP32: model_config_pb2.TYPE_FP32,
}

_LENGTH = struct.Struct("<I")
LENGTH_BYTES = _LENGTH.size


def pack_bytes(elements: Iterable[bytes]) -> bytes:
    """BYTES elements as they travel: each one's length, then the element."""
    parts: list[bytes] = []
    for element in elements:
        parts += (_LENGTH.pack(len(element)), element)
    return b"".join(parts)


def unpack_bytes(data: bytes | memoryview, name: str) -> list[memoryview]:
    """The BYTES elements in `data`, not copied.

    Args:
        data: all of it.
        name: of the tensor, for the sentence.

    Raises:
        WrongRequest: a length goes past the end.
    """
    view = memoryview(data)
    elements: list[memoryview] = []
    at = 0
    while at < len(view):
        if at + LENGTH_BYTES > len(view):
            raise _cut_short(name, len(view))
        (length,) = _LENGTH.unpack_from(view, at)
        at += LENGTH_BYTES
        if at + length > len(view):
            raise _cut_short(name, len(view))
        elements.append(view[at : at + length])
        at += length
    return elements


def element_length(prefix: bytes) -> int:
    """Bytes of the element behind `prefix`, which are the 4 bytes before it."""
    return int(_LENGTH.unpack(prefix)[0])


def _cut_short(name: str, nbytes: int) -> WrongRequest:
    return WrongRequest(
        f"input '{name}' ends within an element, after {nbytes} bytes: BYTES are each element's "
        "length as a little-endian uint32, then the element"
    )
