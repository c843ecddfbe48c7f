"""remove.bg's API: sources, reply forms, headers, errors in its words. Its parameters are
`test_removebg_table`'s.
"""

from __future__ import annotations

import base64
import io
import zipfile
from pathlib import Path

import pytest
from PIL import Image

from tests.gateway.serving import KEY, Gateway, Open, in_base64, keys_file
from tests.server.fakes import picture


def open_picture(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data))


async def test_a_form_with_a_file_gives_a_png_and_its_headers(it: Gateway) -> None:
    response = await it.remove_bg()
    assert response.status_code == 200
    assert response.headers["content-type"] == "image/png"
    assert open_picture(response.content).size == (96, 64)
    headers = {name: response.headers[f"x-{name}"] for name in ("width", "height", "type")}
    assert headers == {"width": "96", "height": "64", "type": "other"}
    assert response.headers["x-credits-charged"] == "0"
    found = [
        int(response.headers[f"x-foreground-{side}"]) for side in ("left", "top", "width", "height")
    ]
    assert found == pytest.approx([48, 0, 48, 64], abs=4)


@pytest.mark.parametrize("kind", ["urlencoded", "json"])
async def test_a_picture_in_base64_comes_as_form_or_json(it: Gateway, kind: str) -> None:
    body = {"image_file_b64": in_base64(picture()), "size": "auto"}
    sent = {"json": body} if kind == "json" else {"data": body}
    response = await it.client.post("/v1.0/removebg", **sent)  # type: ignore[arg-type]
    assert response.status_code == 200
    assert open_picture(response.content).size == (96, 64)


async def test_a_data_uri_and_line_breaks_in_base64_are_forgiven(it: Gateway) -> None:
    text = "data:image/jpeg;base64," + base64.encodebytes(picture()).decode()
    response = await it.client.post("/v1.0/removebg", json={"image_file_b64": text})
    assert response.status_code == 200


async def test_accept_json_gives_base64_and_the_subjects_place(it: Gateway) -> None:
    response = await it.remove_bg(headers={"Accept": "application/json"})
    data = response.json()["data"]
    assert open_picture(base64.b64decode(data["result_b64"])).format == "PNG"
    assert {"foreground_top", "foreground_left", "foreground_width", "foreground_height"} < set(
        data
    )
    assert response.headers["x-width"] == "96"


async def test_zip_holds_colour_and_alpha(it: Gateway) -> None:
    response = await it.remove_bg(format="zip")
    assert response.headers["content-type"] == "application/zip"
    with zipfile.ZipFile(io.BytesIO(response.content)) as archive:
        assert set(archive.namelist()) == {"color.jpg", "alpha.png"}


@pytest.mark.parametrize(
    ("fields", "files", "code"),
    [
        ({}, {}, "missing_source"),
        ({"image_url": "http://a.b/c.jpg"}, None, "multiple_sources"),
        ({"size": "huge"}, None, "invalid_size"),
        ({"format": "gif"}, None, "invalid_format"),
        ({"type": "ghost"}, None, "invalid_type"),
        ({"channels": "rgb"}, None, "invalid_channels"),
        ({"crop": "maybe"}, None, "invalid_crop"),
        ({"crop_margin": "600px"}, None, "invalid_crop_margin"),
        ({"crop_margin": "1 2 3"}, None, "invalid_crop_margin"),
        ({"scale": "5%"}, None, "invalid_scale"),
        ({"position": "left"}, None, "invalid_position"),
        ({"roi": "0 0 10"}, None, "invalid_roi"),
        ({"roi": "0px 0px 500px 20px"}, None, "roi_exceeds_bounds"),
        ({"roi": "10px 10px 10px 20px"}, None, "roi_region_empty"),
        ({"bg_color": "nocolour"}, None, "invalid_bg_color"),
        ({"bg_color": "red", "bg_image_url": "http://a.b/c"}, None, "multiple_bg_sources"),
        ({"semitransparency": "x"}, None, "invalid_semitransparency"),
        ({"shadow_opacity": "101"}, None, "invalid_shadow_opacity"),
        ({"shadow_type": "long"}, None, "invalid_shadow_type"),
        ({}, {"image_file": ("a.txt", b"hello")}, "invalid_file_type"),
        ({}, {"image_file": ("a.jpg", picture()[:200])}, "failed_to_read_image"),
        ({}, {"image_file": ("a.png", picture(5000, 1, kind="PNG")[:33])}, "failed_to_read_image"),
    ],
)
async def test_what_is_wrong_is_said_in_their_words(
    it: Gateway, fields: dict[str, str], files: dict[str, object] | None, code: str
) -> None:
    response = await it.remove_bg(files=files, **fields)
    assert response.status_code == 400, response.text
    (error,) = response.json()["errors"]
    assert error["code"] == code
    assert error["title"]
    assert error["detail"]


async def test_a_background_that_is_no_picture_has_their_word(it: Gateway) -> None:
    files = {"image_file": ("a.jpg", picture()), "bg_image_file": ("b.jpg", b"hello")}
    (error,) = (await it.remove_bg(files=files)).json()["errors"]
    assert error["code"] == "invalid_file_type"
    assert error["title"] == "the background"


async def test_bad_base64_is_a_picture_that_cannot_be_read(it: Gateway) -> None:
    response = await it.client.post("/v1.0/removebg", json={"image_file_b64": "@@@"})
    assert response.json()["errors"][0]["code"] == "failed_to_read_image"


async def test_a_picture_of_too_many_pixels_has_their_word(open_gateway: Open) -> None:
    async with open_gateway(max_megapixels=0.001) as it:
        response = await it.remove_bg()
    assert response.status_code == 400
    assert response.json()["errors"][0]["code"] == "resolution_too_high"


async def test_a_picture_without_a_subject_has_their_word_and_leaves_no_trace(it: Gateway) -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (64, 64)).save(buffer, "PNG")
    response = await it.remove_bg(files={"image_file": ("a.png", buffer.getvalue())})
    assert response.status_code == 400
    assert response.json()["errors"][0]["code"] == "unknown_foreground"
    assert (it.app.admission.images, it.app.admission.bytes) == (0, 0)


async def test_a_bad_key_is_403_as_there(open_gateway: Open, tmp_path: Path) -> None:
    async with open_gateway(api_keys_file=keys_file(tmp_path)) as it:
        for headers in ({}, {"X-Api-Key": "wrong"}):
            response = await it.remove_bg(headers=headers)
            assert response.status_code == 403
            assert response.json()["errors"][0]["code"] == "auth_failed"
        for headers in ({"X-Api-Key": KEY}, {"Authorization": f"Bearer {KEY}"}):
            assert (await it.remove_bg(headers=headers)).status_code == 200


async def test_the_account_has_credits_that_never_run_low(it: Gateway) -> None:
    attributes = (await it.client.get("/v1.0/account")).json()["data"]["attributes"]
    assert set(attributes["credits"]) == {"total", "subscription", "payg", "enterprise"}
    assert attributes["credits"]["total"] > 1000
    assert set(attributes["api"]) == {"free_calls", "sizes"}


async def test_improve_thanks_and_says_that_nothing_was_kept(it: Gateway) -> None:
    response = await it.client.post(
        "/v1.0/improve", files={"image_file": ("a.jpg", picture())}, data={"tag": "x"}
    )
    assert response.status_code == 200
    assert response.json()["kept"] is False
    assert (await it.client.post("/v1.0/improve", data={"tag": "x"})).status_code == 400


async def test_an_address_of_theirs_that_is_not_served_answers_in_their_words(it: Gateway) -> None:
    assert (await it.client.get("/v1.0/credits")).json()["errors"][0]["code"] == "not_found"
    assert (await it.client.get("/v1.0/removebg")).status_code == 405
