"""Masks and tensors in the client: what is asked for, what comes back, and what can be made of it
without the COCO tools.

Called by `mattestream.treatment` and `mattestream.reply`. Docs: `docs/shapes.md`.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple, TypedDict

import numpy as np
from numpy.typing import NDArray

from mattestream.errors import InvalidRequest, ServerError
from mattestream.v1 import image_pb2, options_pb2
from mattestream.values import choose, number

JSON, NPY = "application/json", "application/x-npy"

TensorName = Literal["fp32", "fp16", "uint8"]
TENSORS: Mapping[str, image_pb2.TensorType.ValueType] = {
    "fp32": image_pb2.TENSOR_TYPE_FP32,
    "fp16": image_pb2.TENSOR_TYPE_FP16,
    "uint8": image_pb2.TENSOR_TYPE_UINT8,
}
_DTYPES: Mapping[int, np.dtype[Any]] = {
    image_pb2.TENSOR_TYPE_FP32: np.dtype("<f4"),
    image_pb2.TENSOR_TYPE_FP16: np.dtype("<f2"),
    image_pb2.TENSOR_TYPE_UINT8: np.dtype("u1"),
}


class TensorKeywords(TypedDict, total=False):
    """Keywords of `remove` and `remove_stream` for `output="tensor"`; None: the default."""

    tensor_type: TensorName | None  # "fp32" and "fp16" are NCHW, "uint8" is HWC; default fp32
    tensor_mean: str | Sequence[float] | None  # three, of values in 0..1; default 0
    tensor_std: str | Sequence[float] | None  # three; default 1


class Rle(TypedDict):
    """A mask as the COCO tools have it, ready for an annotation's `segmentation`."""

    size: list[int]  # rows, columns
    counts: str


class Polygon(TypedDict):
    """One closed outline of a mask."""

    points: list[float]  # x and y in turn, on corners of pixels
    hole: bool
    outer: int  # index of the outline that a hole lies in; of an outer one its own


class Shape(NamedTuple):
    """A result that is neither a picture's file nor pixels; one of the last three is set."""

    data: bytes  # of a file that holds it
    media_type: str  # JSON or NPY
    rle: Rle | None = None
    polygons: list[Polygon] | None = None
    tensor: NDArray[Any] | None = None


def fill_tensor(message: options_pb2.RemoveOptions, given: Mapping[str, Any]) -> None:
    """Puts what is set of `given`, `TensorKeywords` without None, into `message`.

    Raises:
        InvalidRequest: a name is unknown, or a value is no list of numbers.
    """
    if "tensor_type" in given:
        message.tensor.type = choose("tensor_type", given["tensor_type"], TENSORS)
    if "tensor_mean" in given:
        message.tensor.mean.extend(_numbers("tensor_mean", given["tensor_mean"]))
    if "tensor_std" in given:
        message.tensor.std.extend(_numbers("tensor_std", given["tensor_std"]))


def read_shape(result: image_pb2.Result) -> Shape | None:
    """The mask or tensor in `result`; None when there is none.

    Raises:
        ServerError: a tensor whose bytes are not those of its shape.
    """
    match result.WhichOneof("data"):
        case "mask_rle":
            mask = result.mask_rle
            rle = Rle(size=[mask.height, mask.width], counts=mask.counts)
            return Shape(json.dumps(rle).encode(), JSON, rle=rle)
        case "polygons":
            polygons = [
                Polygon(points=list(each.points), hole=each.hole, outer=each.outer)
                for each in result.polygons.polygons
            ]
            size = [result.polygons.height, result.polygons.width]
            text = json.dumps({"size": size, "polygons": polygons})
            return Shape(text.encode(), JSON, polygons=polygons)
        case "tensor":
            return _tensor(result.tensor)
        case _:
            return None


def rle_runs(rle: Rle) -> list[int]:
    """Lengths of the mask's runs, column by column, in turn outside and inside it, outside first:
    COCO's uncompressed form.
    """
    runs: list[int] = []
    value = shift = 0
    for character in rle["counts"]:
        bits = ord(character) - 48
        value |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        if bits & 16:
            value -= 1 << shift
        # From the fourth on, runs are written as the difference to the one two before.
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
        value = shift = 0
    return runs


def rle_mask(rle: Rle) -> NDArray[np.bool_]:
    """The mask, (H, W) bool.

    Raises:
        ValueError: the run lengths are not those of its size.
    """
    height, width = rle["size"]
    runs = rle_runs(rle)
    if sum(runs) != height * width or min(runs, default=0) < 0:
        raise ValueError(f"the run lengths make {sum(runs)} pixels, the mask is {width}x{height}")
    flat = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
    return np.ascontiguousarray(flat.reshape(width, height).T)


def rle_area(rle: Rle) -> int:
    """Pixels of the mask."""
    return sum(rle_runs(rle)[1::2])


def coco_polygons(polygons: Sequence[Polygon]) -> list[list[float]]:
    """The outer outlines as an annotation's `segmentation`; COCO's polygons know no holes."""
    return [polygon["points"] for polygon in polygons if not polygon["hole"]]


def _tensor(message: image_pb2.Tensor) -> Shape:
    dtype, shape = _DTYPES.get(message.type), tuple(message.shape)
    if dtype is None or len(message.data) != dtype.itemsize * int(np.prod(shape, dtype=object)):
        raise ServerError(
            f"the server's tensor is {len(message.data)} bytes of type {message.type} in shape "
            f"{list(shape)}, which do not fit together: use a client of the server's version"
        )
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": dtype.str, "fortran_order": False, "shape": shape}
    )
    data = header.getvalue() + message.data
    array = np.frombuffer(data, dtype, offset=len(header.getvalue())).reshape(shape)
    return Shape(data, NPY, tensor=array)


def _numbers(name: str, value: Any) -> list[float]:
    if isinstance(value, str):
        try:
            return [float(part) for part in value.split(",")]
        except ValueError:
            raise InvalidRequest(f"{name} is {value!r}: write it as 0.5,0.5,0.5") from None
    try:
        return [number(name, each) for each in value]
    except TypeError:
        raise InvalidRequest(f"{name} is {value!r}: give three numbers") from None
