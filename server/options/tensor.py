"""A result as a model-ready array: `tensor`. Called by `server.options.reader`."""

from __future__ import annotations

from collections.abc import Mapping

from mattestream.v1 import image_pb2, options_pb2
from server.codecs.tensor import ElementType, TensorWish
from server.job import Behind, Output
from server.option_rules import Built, Choice, InvalidOption, Rule

_TYPES = {
    image_pb2.TENSOR_TYPE_FP32: ElementType.FP32,
    image_pb2.TENSOR_TYPE_FP16: ElementType.FP16,
    image_pb2.TENSOR_TYPE_UINT8: ElementType.UINT8,
}

RULES: Mapping[str, Rule] = {
    "tensor.type": Choice(frozenset(_TYPES)),
    "tensor.mean": Built(),
    "tensor.std": Built(),
}


def read_tensor(
    message: options_pb2.TensorOptions,
    output: Output,
    background: Behind | None,
    *,
    is_circle: bool,
) -> TensorWish:
    """Type and scaling.

    Raises:
        InvalidOption: the output is no tensor; mean and std make no sense; or the picture would
            need an alpha, which a tensor has not.
    """
    if output is not Output.TENSOR:
        for field, _ in message.ListFields():
            raise InvalidOption(
                f"option tensor.{field.name} is set, but the output is {output}: choose "
                "OUTPUT_TENSOR, or leave tensor unset"
            )
    elif background is not None and not background.is_opaque:
        raise InvalidOption(
            "OUTPUT_TENSOR has no alpha, but the background's color is translucent: choose an "
            "opaque one"
        )
    elif is_circle:
        raise InvalidOption(
            "OUTPUT_TENSOR has no alpha, but outside of crop.circle a composite is transparent: "
            "leave the circle unset"
        )
    try:
        return TensorWish(
            _TYPES.get(message.type, ElementType.FP32), tuple(message.mean), tuple(message.std)
        )
    except ValueError as error:
        raise InvalidOption(f"option tensor: {error}") from None
