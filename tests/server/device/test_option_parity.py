"""Every option of the contract gives on a GPU's path what it gives on the CPU's.

One row for each field; the contract is walked, so an option without a row fails here. The kernels
run on the emulated device; whatever an option has the host finish is told by the same rows.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from google.protobuf.message import Message
from numpy.typing import NDArray
from PIL import Image

from mattestream.reply import Removal, removal
from mattestream.shapes import rle_mask
from mattestream.v1 import image_pb2, removal_pb2, report_pb2
from mattestream.v1 import options_pb2 as O  # noqa: N812
from models.registry import Registry
from server.device_pipeline import DevicePipeline
from server.host_pipeline import HostPipeline
from server.job import EncodedSource, Options
from server.options import RULES, read_options
from server.pipeline import Pipeline, remove_one
from server.replies import fill_result
from server.subjects.prompter import Prompter
from tests.fakes.sam_onnx import write_sam_model
from tests.server.device.conftest import on_device, on_host

U8 = NDArray[np.uint8]
F32 = NDArray[np.float32]
WIDTH, HEIGHT = 121, 83
# The CPU rounds the network's alpha to 8 bits before it resizes, the kernels after; refinement and
# un-mixing pass that on.
LEVELS = 3
MEAN_LEVELS = 0.8
# What cuts an alpha at a level, or a JPEG's rounding, puts single pixels on either side of it.
FLIPPED = 0.006  # of the values

NOT_HERE = {
    "model": "names another pipeline",
    "temporal.smooth": "of streams: tests/server/streams",
    "chroma_key.color": "a model without a network, which runs on the host on every machine",
    "chroma_key.tolerance": "the same",
    "chroma_key.softness": "the same",
    "chroma_key.despill": "the same",
    "shared_memory_output": "where the result lies, not what it is",
    "cuda_memory_output": "the same, on a GPU",
}


def png(pixels: U8) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def photo() -> U8:
    """(H, W, 3): two bright soft blobs with a dark hole and specks, on a coloured, dark ground."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH].astype(np.float64)
    large = np.clip(1.6 - np.hypot((x - 42) / 24, (y - 44) / 26) * 1.2, 0, 1)
    small = np.clip(1.5 - np.hypot((x - 97) / 12, (y - 40) / 16) * 1.2, 0, 1)
    subject = np.maximum(large, small)
    subject[40:46, 38:44] = 0
    subject[6:9, 104:107] = 1
    ground = np.stack([40 + 20 * np.sin(x / 5), 30 + y / 3, 20 + x / 4], axis=-1)
    bright = np.stack([250 - y / 4, 235 + 10 * np.cos(x / 3), 225 - x / 5], axis=-1)
    mixed = subject[..., None] * bright + (1 - subject[..., None]) * ground
    return mixed.clip(0, 255).astype(np.uint8)


def drawing() -> U8:
    """(H, W, 3): a red ring on white paper."""
    pixels = np.full((HEIGHT, WIDTH, 3), 255, np.uint8)
    pixels[20:60, 30:90] = (200, 20, 30)
    pixels[32:48, 44:76] = 255
    return pixels


def picture(pixels: U8) -> image_pb2.Image:
    return image_pb2.Image(encoded=png(pixels))


def behind(**kind: object) -> dict[str, object]:
    return {"output": O.OUTPUT_COMPOSITE, "background": O.Background(**kind)}  # type: ignore[arg-type]


def image_behind(**wanted: object) -> dict[str, object]:
    checks = np.zeros((30, 44, 3), np.uint8)
    checks[::2] = (200, 90, 10)
    image = O.BackgroundImage(image=picture(checks), **wanted)  # type: ignore[arg-type]
    return behind(image=image)


def crop(**wanted: object) -> dict[str, object]:
    return {"crop": O.Crop(**wanted)}  # type: ignore[arg-type]


def edges(**wanted: object) -> dict[str, object]:
    return {"edges": O.Edges(**wanted)}  # type: ignore[arg-type]


def subject(**wanted: object) -> dict[str, object]:
    return {"subject": O.Subject(**wanted)}  # type: ignore[arg-type]


def shadow(**wanted: object) -> dict[str, object]:
    return {"shadow": O.Shadow(kind=O.SHADOW_KIND_DROP, **wanted)}  # type: ignore[arg-type]


def tensor(**wanted: object) -> dict[str, object]:
    return {"output": O.OUTPUT_TENSOR, "tensor": O.TensorOptions(**wanted)}  # type: ignore[arg-type]


def _mask() -> U8:
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[18:72, 16:70] = 255
    return mask


def _trimap() -> U8:
    known = np.full((HEIGHT, WIDTH), 128, np.uint8)
    known[:, :10] = known[:, 112:] = 0
    known[30:38, 30:50] = 255
    return known


ROWS: dict[str, dict[str, object]] = {
    "output": {"output": O.OUTPUT_ALPHA},
    "output, mask": {"output": O.OUTPUT_MASK_RLE},
    "output, polygons": {"output": O.OUTPUT_POLYGONS},
    "output, composite": behind(color="navy"),
    "format": {"format": O.FORMAT_WEBP, "quality": 100},
    "format, zip": {"format": O.FORMAT_ZIP},
    "format, zlib": {"format": O.FORMAT_ZLIB, "output": O.OUTPUT_ALPHA},
    "quality": {"format": O.FORMAT_JPEG, "quality": 98, **behind(color="#205030")},
    "keep_metadata": {"keep_metadata": True},
    "max_megapixels": {"max_megapixels": 0.004},
    "edges.refine": edges(refine=O.REFINE_FAST),
    "edges.refine, best": edges(refine=O.REFINE_BEST),
    "edges.feather_px": edges(feather_px=2.5),
    "edges.shift_px": edges(shift_px=-1.5),
    "edges.shift_px, out": edges(shift_px=3),
    "edges.threshold": edges(threshold=0.5),
    "edges.black_level": edges(black_level=0.2),
    "edges.white_level": edges(white_level=0.8),
    "edges.remove_specks_px": edges(remove_specks_px=60),
    "edges.fill_holes_px": edges(fill_holes_px=200),
    "foreground.decontaminate": {"foreground": O.Foreground(decontaminate=0.7)},
    "foreground.despill": {"foreground": O.Foreground(despill=O.DESPILL_GREEN)},
    "background.color": behind(color="#3366cc80"),
    "background.image.image": image_behind(),
    "background.image.fit": image_behind(fit=O.FIT_TILE),
    "background.image.position_x": image_behind(fit=O.FIT_CONTAIN, position_x=0),
    "background.image.position_y": image_behind(position_y=1),
    "background.image.color": image_behind(fit=O.FIT_CONTAIN, color="gold"),
    "background.blur.radius_px": behind(blur=O.BackgroundBlur(radius_px=4)),
    "background.blur": behind(blur=O.BackgroundBlur()),
    # The model's alpha is brightness: without a black level even the ground would be subject.
    "background.inpaint": behind(inpaint=O.BackgroundInpaint()) | edges(black_level=0.4),
    **{
        f"crop.margin_{side}.{unit}": crop(**{f"margin_{side}": O.Length(**{unit: 12})})
        for side in ("top", "right", "bottom", "left")
        for unit in ("px", "percent")
    },
    "crop": crop(),
    "crop.aspect": crop(aspect=2),
    "crop.canvas_width": crop(canvas_width=64),
    "crop.canvas_height": crop(canvas_height=200, canvas_width=90),
    "crop.scale": crop(scale=0.5),
    "crop.position_x": crop(aspect=3, position_x=0),
    "crop.position_y": crop(aspect=0.3, position_y=1),
    "crop.circle": crop(circle=True),
    "crop.keep_size": crop(keep_size=True, position_x=0.9, position_y=0.1),
    "crop.flush": crop(flush=True, margin_left=O.Length(px=9)),
    "subject.choice": subject(choice=O.SUBJECT_CHOICE_LARGEST),
    "subject.points": subject(points=[O.Point(x=42, y=60), O.Point(x=97, y=40, exclude=True)]),
    "subject.box": subject(box=O.Box(left=14, top=14, right=70, bottom=74)),
    "subject.mask": subject(mask=picture(_mask()), points=[O.Point(x=42, y=60)]),
    "subject.trimap": subject(trimap=picture(_trimap())),
    "subject.region": subject(region=O.Box(left=0, top=0, right=75, bottom=83)),
    "shadow.kind": {"shadow": O.Shadow(kind=O.SHADOW_KIND_CONTACT)},
    "shadow.opacity": shadow(opacity=0.9),
    "shadow.blur_px": shadow(blur_px=1),
    "shadow.offset_x_px": shadow(offset_x_px=9),
    "shadow.offset_y_px": shadow(offset_y_px=-7),
    "tensor.type": tensor(type=image_pb2.TENSOR_TYPE_UINT8),
    "tensor.mean": tensor(mean=(0.4, 0.5, 0.6)),
    "tensor.std": tensor(std=(0.9, 1.1, 1.2)),
    "flat_background.use": {
        "flat_background": O.FlatBackground(use=O.FLAT_BACKGROUND_USE_ON),
    },
    "flat_background.enclosed": {
        "flat_background": O.FlatBackground(
            use=O.FLAT_BACKGROUND_USE_ON, enclosed=O.ENCLOSED_PAPER_KEEP
        ),
    },
}
# How the edge and the colours come about is said, since what is done unasked differs on a GPU.
BASES = {
    "as the model has it": O.RemoveOptions(
        edges=O.Edges(refine=O.REFINE_OFF), foreground=O.Foreground(decontaminate=0)
    ),
    "refined and cleaned": O.RemoveOptions(
        edges=O.Edges(refine=O.REFINE_FAST), foreground=O.Foreground(decontaminate=1)
    ),
}


@pytest.fixture(scope="module")
def host(folder: Path) -> Iterator[HostPipeline]:
    pipeline, model = on_host(folder)
    yield pipeline
    model.close()


@pytest.fixture(scope="module")
def device(folder: Path) -> Iterator[DevicePipeline]:
    for made in on_device(folder, "brightness"):
        yield made.pipeline


@pytest.fixture(scope="module")
def prompter(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prompter]:
    """One whose promptable model answers a disc where one points."""
    folder = tmp_path_factory.mktemp("prompts")
    write_sam_model(folder, "disc")
    made = Prompter(Registry([folder], shipped_dirs=()), default="disc", max_bytes=0)
    yield made
    made.close()


def paths(message: Message, prefix: str = "") -> Iterator[str]:
    """The fields that are set, as `RULES` names them."""
    for field, value in message.ListFields():
        path = prefix + field.name
        if path in RULES or not isinstance(value, Message):
            yield path
        else:
            yield from paths(value, f"{path}.")


def test_every_option_has_a_row_or_a_reason() -> None:
    told = {path for row in ROWS.values() for path in paths(O.RemoveOptions(**row))}  # type: ignore[arg-type]
    assert told | set(NOT_HERE) == set(RULES)
    assert not told & set(NOT_HERE)
    # A row that is called by a field sets it.
    for name, row in ROWS.items():
        field = name.partition(",")[0]
        if field in RULES:
            assert field in set(paths(O.RemoveOptions(**row))), name  # type: ignore[arg-type]


def wish(base: O.RemoveOptions, row: dict[str, object]) -> Options:
    message = O.RemoveOptions()
    message.CopyFrom(base)
    message.MergeFrom(O.RemoveOptions(**row))  # type: ignore[arg-type]
    if message.output in {O.OUTPUT_ALPHA, O.OUTPUT_MASK_RLE, O.OUTPUT_POLYGONS}:
        message.ClearField("foreground")
    return read_options(message, stream=False)


def result_of(
    pipeline: Pipeline, prompter: Prompter, source: EncodedSource, options: Options
) -> tuple[F32, tuple[object, ...]]:
    """What a caller sees of it, in levels; and what the report says of the way there."""
    if options.subject is not None and options.subject.has_prompts:
        bound, _ = prompter.bind(options.subject, None, report_pb2.Report())
        options = replace(options, subject=bound)
    outcome = remove_one(pipeline, source, options).outcome
    response = removal_pb2.RemoveResponse()
    fill_result(response.result, outcome)
    said = (outcome.refine, outcome.decontaminate, outcome.method, outcome.shown, outcome.notes)
    return levels(removal(response)), said


def levels(result: Removal) -> F32:
    """Values of 0..255; colours as they show on black, since under no alpha they may be any."""
    if result.rle is not None:
        return 255 * rle_mask(result.rle).astype(np.float32)
    if result.polygons is not None:
        mask = np.zeros((result.height, result.width), np.uint8)
        rings = [np.int32(outline["points"]).reshape(-1, 2) for outline in result.polygons]
        cv2.fillPoly(mask, rings, 255)
        return mask.astype(np.float32)
    if result.tensor is not None:
        return result.tensor.astype(np.float32) * (1 if result.tensor.dtype == np.uint8 else 255)
    if result.media_type == "application/zip":
        with zipfile.ZipFile(io.BytesIO(result.data)) as files:
            parts = [np.asarray(Image.open(files.open(name))) for name in sorted(files.namelist())]
        return np.dstack(parts).astype(np.float32)
    pixels = result.array().astype(np.float32)
    if pixels.ndim == 3 and pixels.shape[2] == 4:
        pixels[..., :3] *= pixels[..., 3:] / 255
    return pixels


@pytest.mark.parametrize("base", BASES.values(), ids=BASES)
@pytest.mark.parametrize("name", ROWS)
def test_an_option_gives_on_the_device_what_it_gives_on_the_host(
    host: HostPipeline, device: DevicePipeline, prompter: Prompter, name: str, base: O.RemoveOptions
) -> None:
    options = wish(base, ROWS[name])
    source = EncodedSource(png(drawing() if name.startswith("flat") else photo()))
    expected, told = result_of(host, prompter, source, options)
    seen, said = result_of(device, prompter, source, options)
    assert said == told
    assert seen.shape == expected.shape
    assert expected.std() > 1, "a flat result compares nothing"
    off = np.abs(seen - expected)
    assert (off > LEVELS).mean() <= FLIPPED
    assert off.mean() <= MEAN_LEVELS
