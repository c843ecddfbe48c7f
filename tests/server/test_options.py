"""Options: every field has a rule, and each rule's sentence names the field and what is allowed."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor

from mattestream.v1 import image_pb2, options_pb2
from server.colors import read_color
from server.job import (
    Color,
    EncodedSource,
    FlatBackground,
    FlatUse,
    Format,
    Options,
    Output,
    PixelFormat,
    RawSource,
    Refine,
)
from server.option_rules import Built, Choice, InvalidOption, Later, NotBuilt, Number
from server.options import RULES, read_options, read_source

O = options_pb2  # noqa: E741
NAN = float("nan")
# The pipeline has the choice of what the message leaves open.
DEFAULTS = Options(refine=None, decontaminate=None, flat_background=FlatBackground(FlatUse.AUTO))
NOTHING_DONE = replace(DEFAULTS, decontaminate=0.0)


def fields(message: Descriptor, prefix: str = "") -> Iterator[tuple[str, FieldDescriptor]]:
    """Every field that needs a rule: leaves, and messages that a rule refuses as a whole."""
    for field in message.fields:
        path = prefix + field.name
        single = field.message_type is not None and not is_repeated(field)
        if single and path not in RULES:
            yield from fields(field.message_type, f"{path}.")
        else:
            yield path, field


def is_repeated(field: FieldDescriptor) -> bool:
    """True for a field of many values; asked of a message, as the descriptor's word changed."""
    return hasattr(getattr(field.containing_type._concrete_class(), field.name), "append")


ALL = dict(fields(options_pb2.RemoveOptions.DESCRIPTOR))


def test_every_field_of_the_contract_has_a_rule_and_every_rule_a_field() -> None:
    assert set(ALL) == set(RULES)


def test_a_rule_fits_its_fields_type() -> None:
    for path, field in ALL.items():
        rule = RULES[path]
        if isinstance(rule, Choice):
            assert field.enum_type is not None, path
            assert rule.built <= set(field.enum_type.values_by_number), path
        elif isinstance(rule, Number):
            assert field.cpp_type in {
                FieldDescriptor.CPPTYPE_FLOAT,
                FieldDescriptor.CPPTYPE_UINT32,
            }, path


def options_with(path: str, value: object) -> options_pb2.RemoveOptions:
    """Options in which the one field at `path` is set."""
    options = options_pb2.RemoveOptions()
    *parents, name = path.split(".")
    message = options
    for parent in parents:
        message = getattr(message, parent)
    target = getattr(message, name)
    if hasattr(target, "append"):
        target.add()
    elif hasattr(target, "SetInParent"):
        target.SetInParent()
    else:
        setattr(message, name, value)
    return options


def unbuilt_values() -> Iterator[tuple[str, object]]:
    """For each field that is not fully built, a value that is allowed and asks for something."""
    for path, rule in RULES.items():
        if isinstance(rule, Later):
            yield path, None
        elif isinstance(rule, Choice):
            for number in ALL[path].enum_type.values_by_number:
                if number and number not in rule.built:
                    yield path, number
        elif isinstance(rule, Number) and not rule.is_built:
            low = max(rule.low, -1000.0)
            high = min(rule.high, 1000.0)
            value = low + (high - low) * 0.3
            yield path, value if ALL[path].cpp_type == FieldDescriptor.CPPTYPE_FLOAT else int(value)


@pytest.mark.parametrize(("path", "value"), list(unbuilt_values()))
def test_an_option_that_is_not_built_is_refused_by_name(path: str, value: object) -> None:
    with pytest.raises(NotBuilt, match=rf"^option {path}\b.* is not built yet in this server"):
        read_options(options_with(path, value), stream=False)


NEUTRAL = [
    (path, rule.neutral)
    for path, rule in RULES.items()
    if isinstance(rule, Number) and rule.neutral is not None
]


@pytest.mark.parametrize(("path", "value"), NEUTRAL)
def test_a_value_that_asks_for_nothing_is_accepted(path: str, value: float) -> None:
    number = int(value) if ALL[path].cpp_type == FieldDescriptor.CPPTYPE_UINT32 else value
    assert read_options(options_with(path, number), stream=False) in (DEFAULTS, NOTHING_DONE)


@pytest.mark.parametrize(
    "options",
    [
        O.RemoveOptions(edges=O.Edges(refine=O.REFINE_OFF)),
        O.RemoveOptions(subject=O.Subject(choice=O.SUBJECT_CHOICE_ALL)),
        O.RemoveOptions(shadow=O.Shadow()),
        O.RemoveOptions(foreground=O.Foreground(), edges=O.Edges(), temporal=O.Temporal()),
    ],
)
def test_what_the_server_does_anyway_may_be_asked_for(options: options_pb2.RemoveOptions) -> None:
    assert read_options(options, stream=False) in (DEFAULTS, replace(DEFAULTS, refine=Refine.OFF))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (path, value)
        for path, rule in RULES.items()
        if isinstance(rule, Number) and ALL[path].cpp_type == FieldDescriptor.CPPTYPE_FLOAT
        for value in (NAN, rule.high + 1, rule.low - 1)
        if math.isnan(value) or not rule.low <= value <= rule.high
    ],
)
def test_a_number_out_of_range_or_none_at_all_is_invalid(path: str, value: float) -> None:
    with pytest.raises(InvalidOption, match=rf"^option {path} is .*: it must be from"):
        read_options(options_with(path, value), stream=False)


@pytest.mark.parametrize("path", [path for path, rule in RULES.items() if isinstance(rule, Choice)])
def test_a_value_the_enum_does_not_have_is_invalid(path: str) -> None:
    with pytest.raises(InvalidOption, match=rf"^option {path} is 99: it must be one of"):
        read_options(options_with(path, 99), stream=False)


def test_defaults_are_a_cutout_png_for_images_and_a_raw_alpha_for_streams() -> None:
    assert read_options(O.RemoveOptions(), stream=False) == DEFAULTS
    stream = replace(
        DEFAULTS, output=Output.ALPHA, format=Format.RAW, flat_background=FlatBackground()
    )
    assert read_options(O.RemoveOptions(), stream=True) == stream


@pytest.mark.parametrize("output", [O.OUTPUT_CUTOUT, O.OUTPUT_ALPHA, O.OUTPUT_COMPOSITE])
@pytest.mark.parametrize("format_", [O.FORMAT_PNG, O.FORMAT_WEBP, O.FORMAT_RAW, O.FORMAT_ZLIB])
def test_these_formats_hold_every_output(output: int, format_: int) -> None:
    background = O.Background(color="white") if output == O.OUTPUT_COMPOSITE else None
    message = O.RemoveOptions(output=output, format=format_, background=background)  # type: ignore[arg-type]
    options = read_options(message, stream=False)
    assert (options.output.name, options.format.name) == (
        O.Output.Name(output).removeprefix("OUTPUT_"),  # type: ignore[arg-type]
        O.Format.Name(format_).removeprefix("FORMAT_"),  # type: ignore[arg-type]
    )


@pytest.mark.parametrize(
    ("format_", "asked", "quality"),
    [
        (O.FORMAT_WEBP, 0, 80),
        (O.FORMAT_WEBP, 100, 100),
        (O.FORMAT_ZIP, 0, 90),
        (O.FORMAT_ZIP, 55, 55),
    ],
)
def test_quality_has_a_default_per_format(format_: int, asked: int, quality: int) -> None:
    message = O.RemoveOptions(format=format_, quality=asked)  # type: ignore[arg-type]
    assert read_options(message, stream=False).quality == quality


@pytest.mark.parametrize(
    ("message", "sentence"),
    [
        (O.RemoveOptions(format=O.FORMAT_JPEG), "cannot hold a cut-out: choose PNG, WEBP or ZIP"),
        (O.RemoveOptions(output=O.OUTPUT_COMPOSITE), "needs a background: set background.color"),
        (
            O.RemoveOptions(background=O.Background(color="red")),
            "background.color is set, but the output is cutout",
        ),
        (
            O.RemoveOptions(
                output=O.OUTPUT_COMPOSITE,
                format=O.FORMAT_JPEG,
                background=O.Background(color="#ff000080"),
            ),
            "the background.s color is translucent: choose PNG or WEBP",
        ),
        (
            O.RemoveOptions(output=O.OUTPUT_COMPOSITE, background=O.Background(color="rde")),
            "option background.color: 'rde' is no colour .did you mean red",
        ),
        (O.RemoveOptions(output=O.OUTPUT_ALPHA, format=O.FORMAT_ZIP), "choose OUTPUT_CUTOUT"),
        (O.RemoveOptions(quality=101), "quality is 101: it must be from 1 to 100"),
        (O.RemoveOptions(quality=80), "format PNG is lossless: leave quality unset"),
        (
            O.RemoveOptions(edges=O.Edges(black_level=0.5, white_level=0.25)),
            "black_level is 0.5 and edges.white_level 0.25: the black level must be less",
        ),
        (O.RemoveOptions(edges=O.Edges(black_level=1)), "the black level must be less than"),
        (
            O.RemoveOptions(output=O.OUTPUT_ALPHA, foreground=O.Foreground(decontaminate=0.5)),
            "foreground.decontaminate is set, but the output is alpha, which has no colours",
        ),
        (
            O.RemoveOptions(output=O.OUTPUT_ALPHA, foreground=O.Foreground(despill=1)),
            "foreground.despill is set, but the output is alpha",
        ),
        (
            O.RemoveOptions(keep_metadata=True, format=O.FORMAT_RAW),
            "format RAW has no place for it",
        ),
    ],
)
def test_a_combination_that_makes_no_sense_is_told_what_would(
    message: options_pb2.RemoveOptions, sentence: str
) -> None:
    with pytest.raises(InvalidOption, match=sentence):
        read_options(message, stream=False)


@pytest.mark.parametrize(
    ("text", "color"),
    [
        ("white", Color(255, 255, 255)),
        (" RebeccaPurple ", Color(0x66, 0x33, 0x99)),
        ("transparent", Color(0, 0, 0, 0)),
        ("#f80", Color(255, 136, 0)),
        ("f808", Color(255, 136, 0, 136)),
        ("#10203040", Color(16, 32, 48, 64)),
        ("FFFFFF", Color(255, 255, 255)),
    ],
)
def test_colours_are_read_as_css_writes_them(text: str, color: Color) -> None:
    assert read_color(text) == color


@pytest.mark.parametrize("text", ["", "#", "#ff", "#12345", "nope", "rgb(1,2,3)", "#ggg", "f" * 9])
def test_what_is_no_colour_is_said_so(text: str) -> None:
    with pytest.raises(ValueError, match="is no colour"):
        read_color(text)


def test_an_encoded_image_is_taken_as_it_is() -> None:
    assert read_source(image_pb2.Image(encoded=b"abc")) == EncodedSource(b"abc")


def test_a_raw_image_keeps_its_layout() -> None:
    layout = image_pb2.PixelLayout(
        format=image_pb2.PIXEL_FORMAT_NV12, width=4, height=2, strides=[8, 8], full_range=True
    )
    image = image_pb2.Image(raw=image_pb2.RawImage(layout=layout, data=b"x" * 24))
    assert read_source(image) == RawSource(
        b"x" * 24, PixelFormat.NV12, width=4, height=2, strides=(8, 8), full_range=True
    )


@pytest.mark.parametrize(
    ("image", "sentence"),
    [
        (image_pb2.Image(), "the image is empty: set encoded .* or raw"),
        (image_pb2.Image(raw=image_pb2.RawImage()), "format is PIXEL_FORMAT_UNSPECIFIED: it must"),
        (
            image_pb2.Image(
                raw=image_pb2.RawImage(layout=image_pb2.PixelLayout(format=77))  # type: ignore[arg-type]
            ),
            "format is 77: it must be one of",
        ),
        (
            image_pb2.Image(
                raw=image_pb2.RawImage(
                    layout=image_pb2.PixelLayout(format=1, color_matrix=9)  # type: ignore[arg-type]
                )
            ),
            "color_matrix is 9",
        ),
        (
            image_pb2.Image(
                raw=image_pb2.RawImage(
                    layout=image_pb2.PixelLayout(format=image_pb2.PIXEL_FORMAT_RGB8),
                    compression=image_pb2.COMPRESSION_ZLIB,
                )
            ),
            "COMPRESSION_ZLIB: pixels of a request must be uncompressed",
        ),
    ],
)
def test_an_image_that_says_too_little_or_too_much_is_refused(
    image: image_pb2.Image, sentence: str
) -> None:
    with pytest.raises(InvalidOption, match=sentence):
        read_source(image)


def test_shared_memory_is_refused_where_no_service_took_it_and_says_what_to_send_instead() -> None:
    image = image_pb2.Image(shared_memory=image_pb2.SharedMemoryImage())
    with pytest.raises(InvalidOption, match=r"image\.shared_memory is not taken here: send the"):
        read_source(image)


def test_built_rules_are_the_ones_this_version_claims() -> None:
    built = {path for path, rule in RULES.items() if isinstance(rule, Built)}
    assert built == {
        "model",
        "background.color",
        "background.image.color",
        "background.image.image",
        "chroma_key.color",
        "crop.circle",
        "crop.flush",
        "crop.keep_size",
        "keep_metadata",
        "subject.trimap",
        "subject.box",
        "subject.mask",
        "subject.points",
        "subject.region",
        "tensor.mean",
        "tensor.std",
    }
