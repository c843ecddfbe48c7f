"""A value that makes no sense gets one sentence, the same by every door; the command line says it
with its flags.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from click.testing import CliRunner

from mattestream import AsyncClient, InvalidRequest
from mattestream.cli.root import cli
from mattestream.cli.wording import flag_of, in_flags
from server.options import RULES
from tests.fakes.tiny_onnx import write_tiny_model
from tests.gateway.serving import Gateway, gateway
from tests.server.fakes import picture


class Bad(NamedTuple):
    """One wish by each door; None where the client's own types leave no way to say it."""

    sentence: str  # its beginning, as the server has it
    keywords: dict[str, Any]
    flags: str
    options: dict[str, Any]


RANGE = "it must be from"
ROWS = {
    "feather": Bad(
        f"option edges.feather_px is -1: {RANGE} 0 to 100",
        {"feather_px": -1},
        "--feather -1",
        {"edges": {"feather_px": -1}},
    ),
    "shift": Bad(
        f"option edges.shift_px is 200: {RANGE} -100 to 100",
        {"shift_px": 200},
        "--shift 200",
        {"edges": {"shift_px": 200}},
    ),
    "threshold": Bad(
        f"option edges.threshold is nan: {RANGE} 0 to 1",
        {"threshold": float("nan")},
        "--threshold nan",
        {"edges": {"threshold": "NaN"}},
    ),
    "levels": Bad(
        "option edges.black_level is 0.6 and edges.white_level 0.5: the black level must be less",
        {"black_level": 0.6, "white_level": 0.5},
        "--black-level 0.6 --white-level 0.5",
        {"edges": {"black_level": 0.6, "white_level": 0.5}},
    ),
    "decontaminate": Bad(
        f"option foreground.decontaminate is 2: {RANGE} 0 to 1",
        {"decontaminate": 2},
        "--decontaminate 2",
        {"foreground": {"decontaminate": 2}},
    ),
    "colour": Bad(
        "option background.color: 'whit' is no colour (did you mean white?): use a CSS name",
        {"background": "whit"},
        "--background whit",
        {"output": "OUTPUT_COMPOSITE", "background": {"color": "whit"}},
    ),
    "blur": Bad(
        f"option background.blur.radius_px is 900: {RANGE} 0 to 200",
        {"background_blur_px": 900},
        "--background-blur 900",
        {"output": "OUTPUT_COMPOSITE", "background": {"blur": {"radius_px": 900}}},
    ),
    "margin": Bad(
        f"option crop.margin_top.percent is 99: {RANGE} 0 to 50",
        {"margin": "99%"},
        "--margin 99%",
        {"crop": {"margin_top": {"percent": 99}}},
    ),
    "aspect": Bad(
        f"option crop.aspect is 100: {RANGE} 0.1 to 10",
        {"aspect": "100:1"},
        "--aspect 100:1",
        {"crop": {"aspect": 100}},
    ),
    "aspect and canvas": Bad(
        "option crop: the crop asks for an aspect of 2 and for a canvas of 30x20: leave out",
        {"aspect": 2, "canvas": (30, 20)},
        "--aspect 2 --canvas 30x20",
        {"crop": {"aspect": 2, "canvas_width": 30, "canvas_height": 20}},
    ),
    "scale": Bad(
        f"option crop.scale is 0: {RANGE} 0.1 to 1",
        {"scale": 0},
        "--scale 0",
        {"crop": {"scale": 0}},
    ),
    "position": Bad(
        f"option crop.position_x is 2: {RANGE} 0 to 1",
        {"position": (2, 1)},
        "--position 2,1",
        {"crop": {"position_x": 2, "position_y": 1}},
    ),
    "shadow": Bad(
        f"option shadow.blur_px is 999: {RANGE} 0 to 200",
        {"shadow": "drop", "shadow_blur_px": 999},
        "--shadow drop --shadow-blur 999",
        {"shadow": {"kind": "SHADOW_KIND_DROP", "blur_px": 999}},
    ),
    "shadow without its kind": Bad(
        "option shadow.opacity is set, but shadow.kind is not: set it to SHADOW_KIND_CONTACT or",
        {"shadow_opacity": 0.4},
        "--shadow-opacity 0.4",
        {"shadow": {"opacity": 0.4}},
    ),
    "shadow of nobody": Bad(
        "option shadow is set, but background.inpaint shows no subject that could throw one",
        {"shadow": "drop", "background": "inpaint"},
        "--shadow drop --background inpaint",
        {
            "output": "OUTPUT_COMPOSITE",
            "background": {"inpaint": {}},
            "shadow": {"kind": "SHADOW_KIND_DROP"},
        },
    ),
    "key": Bad(
        "option chroma_key.color 'grey' is too grey to tell a subject by",
        {"key": "grey"},
        "--key grey",
        {"chroma_key": {"color": "grey"}},
    ),
    "tolerance": Bad(
        f"option chroma_key.tolerance is 1: {RANGE} 0 to 0.9",
        {"key_tolerance": 1},
        "--key-tolerance 1",
        {"chroma_key": {"tolerance": 1}},
    ),
    "box": Bad(
        "option subject.box is (30, 30) to (10, 10): left must be less than right",
        {"box": (30, 30, 10, 10)},
        "--box 30,30,10,10",
        {"subject": {"box": {"left": 30, "top": 30, "right": 10, "bottom": 10}}},
    ),
    "points": Bad(
        "option subject.points has only places that are not wanted: add a point on the subject",
        {"points": [(5, 5, False)]},
        "--point 5,5,-",
        {"subject": {"points": [{"x": 5, "y": 5, "exclude": True}]}},
    ),
    "tensor": Bad(
        "option tensor.mean is set, but the output is cutout: choose OUTPUT_TENSOR",
        {"tensor_mean": (1, 2, 3)},
        "--tensor-mean 1,2,3",
        {"tensor": {"mean": [1, 2, 3]}},
    ),
    "quality": Bad(
        "option quality is 50, but format PNG is lossless: leave quality unset",
        {"quality": 50},
        "--quality 50",
        {"quality": 50},
    ),
    "format": Bad(
        "FORMAT_JPEG has no alpha, so it cannot hold a cut-out: choose PNG, WEBP or ZIP",
        {"format": "jpeg"},
        "--format jpeg",
        {"format": "FORMAT_JPEG"},
    ),
    "colours of an alpha": Bad(
        "option foreground.decontaminate is set, but the output is alpha, which has no colours",
        {"output": "alpha", "decontaminate": 1},
        "--output alpha --decontaminate 1",
        {"output": "OUTPUT_ALPHA", "foreground": {"decontaminate": 1}},
    ),
}


@pytest.fixture
async def it(tmp_path: Path) -> AsyncIterator[Gateway]:
    write_tiny_model(tmp_path)
    async with gateway(tmp_path) as running:
        yield running


async def test_every_door_says_the_same_sentence(it: Gateway, tmp_path: Path) -> None:
    photo = tmp_path / "photo.jpg"
    photo.write_bytes(picture())
    async with AsyncClient(f"127.0.0.1:{it.app.port}") as client:
        for name, bad in ROWS.items():
            with pytest.raises(InvalidRequest) as caught:
                await client.remove(picture(), **bad.keywords)
            sentence = str(caught.value).partition(" (request ")[0]
            assert sentence.startswith(bad.sentence), name
            form = {"image": ("a.jpg", picture()), "options": (None, json.dumps(bad.options))}
            response = await it.client.post("/v1/remove", files=form)
            assert response.status_code == 400, name
            assert response.json()["error"]["message"] == sentence, name
            told = command_line(photo, bad.flags.split())
            assert told == f"Error: {in_flags(sentence)}", name


def command_line(photo: Path, flags: list[str]) -> str:
    """What the command prints; it is wrong for every picture, so none is read."""
    command = ["remove", str(photo), "-o", str(photo.parent / "out"), *flags]
    result = CliRunner().invoke(cli, command)
    assert result.exit_code == 2, result.output
    return result.stderr.strip()


def test_every_field_of_the_contract_is_said_as_a_flag_that_there_is() -> None:
    command = cli.get_command(None, "remove")  # type: ignore[arg-type]
    assert command is not None
    flags = {flag for param in command.params for flag in param.opts}
    no_flag = {"temporal.smooth", "shared_memory_output", "cuda_memory_output", "max_megapixels"}
    for path in RULES.keys() - no_flag:
        assert flag_of(path) in flags, path
        assert in_flags(f"option {path} is 7") == f"{flag_of(path)} is 7", path


@pytest.mark.parametrize(
    ("sentence", "flags"),
    [
        (
            "choose OUTPUT_CUTOUT or OUTPUT_COMPOSITE",
            "choose --output cutout or --output composite",
        ),
        ("background_fit is 'x': give a fit", "--background-fit is 'x': give a fit"),
        ("image is 9x9 (0.1 MP)", "image is 9x9 (0.1 MP)"),
        ("model 'x' is not loaded", "model 'x' is not loaded"),
    ],
)
def test_only_the_contracts_words_are_put_into_flags(sentence: str, flags: str) -> None:
    assert in_flags(sentence) == flags
