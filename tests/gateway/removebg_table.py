"""The table of docs/removebg.md: each parameter of remove.bg, tried against a server of ours.

A row's verdict is what its check found, not what somebody wrote: "works" when the check passes,
"not yet" when the server says that the option behind it is not built. What differs is said in the
row's words, and the check of such a row asserts the difference. `test_removebg_table` compares the
page with this; `python -m tests.gateway.removebg_table docs/removebg.md` brings it up to date.
"""

from __future__ import annotations

import asyncio
import io
import sys
import tempfile
import zipfile
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy as np
import structlog
from numpy.typing import NDArray
from PIL import Image

from tests.fakes.tiny_onnx import write_tiny_model
from tests.gateway.serving import LOOPBACK, Gateway, gateway, in_base64
from tests.gateway.test_fetch import ok, web
from tests.server.fakes import picture

BEGIN = "<!-- parameters: written by python -m tests.gateway.removebg_table -->"
END = "<!-- end of parameters -->"
WORKS, DIFFERS, NOT_YET, NOT = "works", "differs", "not yet", "not"
PHOTO = picture(960, 640)  # black, its right half white: that is the subject


class NotBuiltYet(Exception):
    """The server knows the option and has not built it."""


@dataclass(frozen=True)
class Row:
    """One parameter, or one part of it."""

    parameter: str
    values: str
    words: str
    check: Callable[[Gateway], Awaitable[None]]
    otherwise: str = WORKS  # the verdict when the check passes


def opened(response: httpx.Response) -> Image.Image:
    """The answer's picture; a refusal raises."""
    if response.status_code == 501:
        raise NotBuiltYet(response.text)
    assert response.status_code == 200, response.text
    return Image.open(io.BytesIO(response.content))


def alpha_of(image: Image.Image) -> NDArray[np.uint8]:
    """Its alpha, (H, W)."""
    return np.asarray(image.convert("RGBA"))[:, :, 3]


def subject_box(image: Image.Image) -> tuple[int, int, int, int]:
    """Left, top, right, bottom of what is more there than not."""
    rows, columns = np.nonzero(alpha_of(image) > 127)
    return int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1


async def asked(it: Gateway, **fields: str) -> Image.Image:
    """What comes of the photo with these fields."""
    fields = {"size": "auto", **fields}
    return opened(await it.remove_bg(files={"image_file": ("a.jpg", PHOTO)}, **fields))


async def refused(it: Gateway, code: str, **fields: str) -> None:
    """Asserts that these fields are refused with that word."""
    response = await it.remove_bg(files={"image_file": ("a.jpg", PHOTO)}, **fields)
    assert response.json()["errors"][0]["code"] == code, response.text


async def image_file(it: Gateway) -> None:
    assert (await asked(it)).size == (960, 640)


async def image_file_b64(it: Gateway) -> None:
    fields = {"image_file_b64": in_base64(PHOTO), "size": "auto"}
    for sent in ({"json": fields}, {"data": fields}):
        response = await it.client.post("/v1.0/removebg", **sent)  # type: ignore[arg-type]
        assert opened(response).size == (960, 640)


async def image_url(it: Gateway) -> None:
    async with web(lambda _: ok(PHOTO)) as (url, _):
        response = await it.client.post("/v1.0/removebg", data={"image_url": f"{url}/a.jpg"})
    assert opened(response).size == (612, 408)


async def sizes(it: Gateway) -> None:
    for size in ("preview", "small", "regular"):
        assert (await asked(it, size=size)).size == (612, 408)
    for size in ("medium", "hd", "full", "4k", "50MP", "auto"):
        assert (await asked(it, size=size)).size == (960, 640)


async def large_sizes(it: Gateway) -> None:
    large = picture(5000, 3000)
    for fields, megapixels in (
        ({"size": "medium"}, 1.5),
        ({"size": "hd"}, 4.0),
        ({"size": "full"}, 10.0),
        ({"size": "50MP", "format": "jpg"}, 15.0),
    ):
        response = await it.remove_bg(files={"image_file": ("a.jpg", large)}, **fields)
        width, height = opened(response).size
        assert 0.995 * megapixels <= width * height / 1e6 <= megapixels
        assert response.headers["x-max-width"] == (
            "4082" if fields.get("format") is None else "5000"
        )


async def types(it: Gateway) -> None:
    files = {"image_file": ("a.jpg", PHOTO)}
    for asked_for, told in (("auto", "other"), ("person", "person"), ("graphic", "graphics")):
        response = await it.remove_bg(files=files, type=asked_for)
        assert response.headers["x-type"] == told
    await refused(it, "invalid_type", type="ghost")


async def type_levels(it: Gateway) -> None:
    files = {"image_file": ("a.jpg", PHOTO)}
    for level in ("1", "2", "latest"):
        assert "x-type" in (await it.remove_bg(files=files, type_level=level)).headers
    assert "x-type" not in (await it.remove_bg(files=files, type_level="none")).headers


async def formats(it: Gateway) -> None:
    assert (await asked(it)).format == "PNG"
    assert (await asked(it, format="png")).format == "PNG"
    assert (await asked(it, format="webp")).mode == "RGBA"
    assert (await asked(it, bg_color="red")).format == "JPEG"
    jpg = await asked(it, format="jpg")
    assert jpg.getpixel((5, 300)) == (255, 255, 255)


async def zip_format(it: Gateway) -> None:
    response = await it.remove_bg(files={"image_file": ("a.jpg", PHOTO)}, format="zip")
    assert response.status_code == 200, response.text
    with zipfile.ZipFile(io.BytesIO(response.content)) as archive:
        assert set(archive.namelist()) == {"color.jpg", "alpha.png"}


async def zip_with_background(it: Gateway) -> None:
    await refused(it, "invalid_format", format="zip", bg_color="red")


async def roi(it: Gateway) -> None:
    for region in ("720px 0px 960px 640px", "75% 0% 100% 100%"):
        left, _, right, _ = subject_box(await asked(it, roi=region))
        assert 700 <= left <= 740
        assert right == 960
    await refused(it, "roi_exceeds_bounds", roi="0 0 9999 9999")


async def crop(it: Gateway) -> None:
    width, height = (await asked(it, crop="true")).size
    assert abs(width - 480) <= 20
    assert height == 640


async def crop_margin(it: Gateway) -> None:
    tight = (await asked(it, crop="true")).size
    assert (await asked(it, crop="true", crop_margin="30px")).size == (tight[0] + 60, 640 + 60)
    one = (await asked(it, crop="true", crop_margin="10% 0px")).size
    assert one == (tight[0], 640 + 128)
    assert (await asked(it, crop_margin="30px")).size == (960, 640)
    await refused(it, "invalid_crop_margin", crop="true", crop_margin="51%")


async def scale(it: Gateway) -> None:
    image = await asked(it, scale="50%")
    assert image.size == (960, 640)
    left, top, right, bottom = subject_box(image)
    assert abs(bottom - top - 320) <= 4
    assert abs((left + right) / 2 - 480) <= 4
    assert (await asked(it, scale="original")).size == (960, 640)


async def position(it: Gateway) -> None:
    left, top, _, _ = subject_box(await asked(it, scale="50%", position="0% 0%"))
    assert (left, top) <= (2, 2)
    _, _, right, bottom = subject_box(await asked(it, scale="50%", position="100%"))
    assert right >= 958
    assert bottom >= 638
    await refused(it, "invalid_position", scale="50%", position="original")


async def position_alone(it: Gateway) -> None:
    assert (await asked(it, position="original")).size == (960, 640)
    stood = subject_box(await asked(it))
    for place, share in (("0%", 0.0), ("center", 0.5), ("25% 100%", 0.25), ("100%", 1.0)):
        moved = await asked(it, position=place)
        assert moved.size == (960, 640)
        left, _, right, _ = subject_box(moved)
        assert abs(left - share * (960 - (stood[2] - stood[0]))) <= 2  # of what is free beside it
        assert abs((right - left) - (stood[2] - stood[0])) <= 2  # and as large as it was


async def channels(it: Gateway) -> None:
    assert (await asked(it, channels="alpha")).mode == "L"
    assert (await asked(it, channels="rgba")).mode == "RGBA"


async def shadow_type(it: Gateway) -> None:
    assert (await asked(it, shadow_type="none")).size == (960, 640)
    plain = alpha_of(await asked(it)).astype(int).sum()
    for kind in ("drop", "3D", "car", "auto"):
        shown = await asked(it, shadow_type=kind)
        assert alpha_of(shown).astype(int).sum() > plain


async def shadow_opacity(it: Gateway) -> None:
    faint = alpha_of(await asked(it, shadow_type="drop", shadow_opacity="10"))
    dark = alpha_of(await asked(it, shadow_type="drop", shadow_opacity="90"))
    assert dark.astype(int).sum() > faint.astype(int).sum()


async def add_shadow(it: Gateway) -> None:
    assert (await asked(it, add_shadow="false")).size == (960, 640)
    plain = alpha_of(await asked(it)).astype(int).sum()
    assert alpha_of(await asked(it, add_shadow="true")).astype(int).sum() > plain


async def semitransparency(it: Gateway) -> None:
    with_it, without = await asked(it), await asked(it, semitransparency="false")
    assert np.array_equal(np.asarray(with_it), np.asarray(without))


async def bg_color(it: Gateway) -> None:
    for text in ("00f", "#00f", "0000ff", "0000ffff", "blue"):
        blue = (await asked(it, bg_color=text, format="png")).convert("RGB").getpixel((5, 300))
        assert blue == (0, 0, 255)
    half = (await asked(it, bg_color="0000ff80")).getpixel((5, 300))
    assert half == (0, 0, 255, 128)
    await refused(it, "invalid_bg_color", bg_color="nocolour")


async def bg_image_file(it: Gateway) -> None:
    green = io.BytesIO()
    Image.new("RGB", (50, 50), (0, 255, 0)).save(green, "PNG")
    files = {"image_file": ("a.jpg", PHOTO), "bg_image_file": ("b.png", green.getvalue())}
    image = opened(await it.remove_bg(files=files, size="auto"))
    assert image.format == "JPEG"
    assert image.getpixel((5, 300))[1] > 240  # type: ignore[index]


async def bg_image_url(it: Gateway) -> None:
    green = io.BytesIO()
    Image.new("RGB", (50, 50), (0, 255, 0)).save(green, "PNG")
    async with web(lambda _: ok(green.getvalue())) as (url, _):
        image = await asked(it, bg_image_url=f"{url}/b.png")
    assert image.getpixel((5, 300))[1] > 240  # type: ignore[index]


async def backgrounds_exclude(it: Gateway) -> None:
    await refused(it, "multiple_bg_sources", bg_color="red", bg_image_url="http://a.b/c")


async def reply_json(it: Gateway) -> None:
    response = await it.remove_bg(headers={"Accept": "application/json"})
    assert set(response.json()["data"]) == {
        "result_b64",
        "foreground_top",
        "foreground_left",
        "foreground_width",
        "foreground_height",
    }


async def credits_(it: Gateway) -> None:
    assert (await it.remove_bg()).headers["x-credits-charged"] == "0"


async def unknown_foreground(it: Gateway) -> None:
    black = io.BytesIO()
    Image.new("RGB", (64, 64)).save(black, "PNG")
    response = await it.remove_bg(files={"image_file": ("a.png", black.getvalue())})
    assert response.json()["errors"][0]["code"] == "unknown_foreground"


ROWS = (
    Row("image_file", "a file", "Up to `http_max_body_mb` (64 MiB) instead of 22 MB.", image_file),
    Row(
        "image_file_b64", "base64", "In a form or in JSON; a data URI is taken too.", image_file_b64
    ),
    Row(
        "image_url",
        "a URL",
        "When the operator allows it (`--allow-url-fetch`); else refused with a sentence.",
        image_url,
    ),
    Row("size", "preview, small, regular", "0.25 megapixels.", sizes),
    Row(
        "size",
        "medium, hd, full, 4k, 50MP, auto",
        "1.5, 4, 25, 25, 50 and 25 megapixels; PNG up to 10. Larger ones: the own API.",
        large_sizes,
    ),
    Row(
        "type",
        "auto, person, product, car, animal, graphic, transportation, other",
        "Checked, and told back in `X-Type`; it does not change the result, and `auto` finds "
        "`other`: nothing is classified here.",
        types,
        DIFFERS,
    ),
    Row(
        "type_level",
        "none, 1, 2, latest",
        "`none` leaves the header out; the others are one level.",
        type_levels,
        DIFFERS,
    ),
    Row("format", "auto, png, jpg, webp", "A jpg without a background is white behind.", formats),
    Row("format", "zip", "`color.jpg` and `alpha.png`.", zip_format),
    Row(
        "format",
        "zip with a background",
        "Refused as `invalid_format`: the archive holds the subject alone.",
        zip_with_background,
        NOT,
    ),
    Row("roi", "four lengths", "Pixels or per cent of the picture.", roi),
    Row("crop", "true, false", "Tight around the subject.", crop),
    Row("crop_margin", "1, 2 or 4 lengths", "Up to 500px or 50%.", crop_margin),
    Row("scale", "10% to 100%, original", "Together with `crop_margin` refused.", scale),
    Row(
        "position",
        "center, shares",
        "With a scale; `original` is refused together with one.",
        position,
    ),
    Row(
        "position",
        "center, shares without a scale",
        "The subject is moved and keeps its size.",
        position_alone,
    ),
    Row("channels", "rgba, alpha", "An alpha with a background or a shadow is refused.", channels),
    Row(
        "shadow_type",
        "none, drop, 3D, car, auto",
        "`drop` is a drop shadow; the others are a soft shadow where the subject touches the "
        "ground.",
        shadow_type,
        DIFFERS,
    ),
    Row("shadow_opacity", "0 to 100", "", shadow_opacity),
    Row("add_shadow", "true, false", "As `shadow_type=car`.", add_shadow),
    Row(
        "semitransparency",
        "true, false",
        "Accepted and without effect: there is no model of car windows; every alpha is soft.",
        semitransparency,
        DIFFERS,
    ),
    Row("bg_color", "a name, or hex of 3, 4, 6, 8 digits", "", bg_color),
    Row("bg_image_file", "a file", "Fills the picture, centred.", bg_image_file),
    Row("bg_image_url", "a URL", "As `image_url`.", bg_image_url),
    Row("bg_*", "more than one", "Refused as `multiple_bg_sources`.", backgrounds_exclude),
    Row("Accept", "application/json", "base64 and the subject's place.", reply_json),
    Row("X-Credits-Charged", "", "Always 0: nothing is sold here.", credits_, DIFFERS),
    Row("unknown_foreground", "", "When no subject is found.", unknown_foreground),
)


async def verdict(row: Row, it: Gateway) -> str:
    """What the row's check finds; a failed check raises."""
    try:
        await row.check(it)
    except NotBuiltYet:
        return NOT_YET
    return row.otherwise


async def render(it: Gateway) -> str:
    """The table as Markdown, without a final newline."""
    lines = ["| parameter | values | here | |", "|---|---|---|---|"]
    for row in ROWS:
        found = await verdict(row, it)
        lines.append(f"| `{row.parameter}` | {row.values} | {found} | {row.words} |")
    return "\n".join(lines)


def refreshed(page: str, table: str) -> str:
    """`page` with the table between its two marks replaced.

    Raises:
        ValueError: a mark is missing.
    """
    head, rest = page.split(BEGIN)
    _, tail = rest.split(END)
    return f"{head}{BEGIN}\n{table}\n{END}{tail}"


async def main(page: Path) -> None:
    """Brings `page` up to date."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    with tempfile.TemporaryDirectory() as folder:
        write_tiny_model(Path(folder), "tiny")
        async with gateway(Path(folder), allow_url_fetch=True, reachable=LOOPBACK) as it:
            table = await render(it)
    page.write_text(refreshed(page.read_text(encoding="utf-8"), table), encoding="utf-8")  # noqa: ASYNC240


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
