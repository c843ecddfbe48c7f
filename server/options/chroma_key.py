"""Keying on a screen's colour: `chroma_key`. Called by `server.options.reader`."""

from __future__ import annotations

from collections.abc import Mapping

from kernels.cpu.screen_color import is_grey
from mattestream.v1 import options_pb2
from server.colors import read_color
from server.job import ChromaKey, Color
from server.option_rules import Built, InvalidOption, Number, Rule

MODEL = "chroma-key"

RULES: Mapping[str, Rule] = {
    "chroma_key.color": Built(),
    "chroma_key.tolerance": Number(0, 0.9, is_built=True),
    "chroma_key.softness": Number(0, 1, is_built=True),
    "chroma_key.despill": Number(0, 1, is_built=True),
}


def read_model(message: options_pb2.RemoveOptions) -> str | None:
    """The model that is asked for, by name or by how it is to key; None: the server's default.

    Raises:
        InvalidOption: there is a key, and the model named is another one.
    """
    if not message.HasField("chroma_key"):
        return message.model or None
    if message.model not in ("", MODEL):
        raise InvalidOption(
            f"option chroma_key is set, but the model is '{message.model}', which does not key on "
            f"a colour: leave model empty, or name '{MODEL}'"
        )
    return MODEL


def read_chroma_key(message: options_pb2.ChromaKey) -> ChromaKey:
    """How the screen is taken away.

    Raises:
        InvalidOption: the colour is none, translucent or grey.
    """
    default = ChromaKey()

    def number(name: str) -> float:
        value: float = getattr(message if message.HasField(name) else default, name)  # type: ignore[arg-type]
        return value

    return ChromaKey(
        color=_color(message.color) if message.color else None,
        tolerance=number("tolerance"),
        softness=number("softness"),
        despill=number("despill"),
    )


def _color(text: str) -> Color:
    try:
        color = read_color(text)
    except ValueError as error:
        raise InvalidOption(f"option chroma_key.color: {error}") from None
    if not color.is_opaque:
        raise InvalidOption(
            f"option chroma_key.color {text[:40]!r} has an alpha of {color.alpha} of 255: a screen "
            "is opaque, give its colour alone"
        )
    if is_grey((color.red, color.green, color.blue)):
        raise InvalidOption(
            f"option chroma_key.color {text[:40]!r} is too grey to tell a subject by: give the "
            'screen\'s own colour, for instance "#00b140", or leave it unset'
        )
    return color
