"""The project's own API over HTTP: pictures and options in each of the forms, results and reports
out, errors.
"""

from __future__ import annotations

import asyncio
import base64
import io
import json
import re
import zlib

import pytest
from PIL import Image

from tests.gateway.serving import Gateway, Open, in_base64
from tests.server.fakes import eventually, picture


def size_of(data: bytes) -> tuple[int, int]:
    return Image.open(io.BytesIO(data)).size


async def test_a_form_gives_the_picture_and_its_report(it: Gateway) -> None:
    response = await it.client.post("/v1/remove", files={"image": ("a.jpg", picture())})
    assert response.status_code == 200
    assert response.headers["content-type"] == "image/png"
    assert size_of(response.content) == (96, 64)
    report = json.loads(response.headers["x-mattestream-report"])
    assert report["model"]["name"] == "tiny"
    assert report["request_id"] == response.headers["x-request-id"]
    assert json.loads(response.headers["x-mattestream-result"]) == {
        "encoded": {"media_type": "image/png"},
        "width": 96,
        "height": 64,
    }


async def test_options_are_the_messages_own_json(it: Gateway) -> None:
    options = {
        "output": "OUTPUT_COMPOSITE",
        "background": {"color": "red"},
        "format": "FORMAT_JPEG",
    }
    files = {"image": ("a.jpg", picture()), "options": (None, json.dumps(options))}
    response = await it.client.post("/v1/remove", files=files)
    red = Image.open(io.BytesIO(response.content)).getpixel((5, 30))
    assert red == pytest.approx((254, 0, 0), abs=6)


async def test_the_whole_body_may_be_the_picture(it: Gateway) -> None:
    response = await it.client.post(
        "/v1/remove",
        params={"options": json.dumps({"output": "OUTPUT_ALPHA", "format": "FORMAT_ZLIB"})},
        content=picture(),
        headers={"Content-Type": "image/jpeg"},
    )
    assert response.headers["content-type"] == "application/octet-stream"
    layout = json.loads(response.headers["x-mattestream-result"])["raw"]
    assert layout["layout"] == {"format": "PIXEL_FORMAT_GRAY8", "width": 96, "height": 64}
    assert len(zlib.decompress(response.content)) == 96 * 64


async def test_a_background_comes_as_a_file_beside_the_picture(it: Gateway) -> None:
    green = io.BytesIO()
    Image.new("RGB", (50, 50), (0, 255, 0)).save(green, "PNG")
    files = {
        "image": ("a.jpg", picture()),
        "background": ("b.png", green.getvalue()),
        "options": (None, '{"output": "OUTPUT_COMPOSITE"}'),
    }
    response = await it.client.post("/v1/remove", files=files)
    assert response.status_code == 200, response.text
    pixel = Image.open(io.BytesIO(response.content)).convert("RGB").getpixel((5, 30))
    assert pixel == pytest.approx((0, 255, 0), abs=6)


async def test_a_background_that_is_no_picture_is_named(it: Gateway) -> None:
    files = {
        "image": ("a.jpg", picture()),
        "background": ("b.png", b"no picture"),
        "options": (None, '{"output": "OUTPUT_COMPOSITE"}'),
    }
    response = await it.client.post("/v1/remove", files=files)
    assert response.status_code == 400
    assert "background" in response.json()["error"]["message"]


async def test_a_trimap_comes_as_a_file_beside_the_picture(it: Gateway) -> None:
    trimap = io.BytesIO()
    Image.new("L", (96, 64), 0).save(trimap, "PNG")
    files = {
        "image": ("a.jpg", picture()),
        "trimap": ("t.png", trimap.getvalue()),
        "options": (None, '{"output": "OUTPUT_ALPHA"}'),
    }
    response = await it.client.post("/v1/remove", files=files)
    assert response.status_code == 200, response.text
    assert Image.open(io.BytesIO(response.content)).getextrema() == (0, 0)


async def test_json_in_and_out_is_the_rpc_itself(it: Gateway) -> None:
    asked = {"image": {"encoded": in_base64(picture())}, "options": {"max_megapixels": 0.002}}
    response = await it.client.post(
        "/v1/remove", json=asked, headers={"Accept": "application/json"}
    )
    answer = response.json()
    png = base64.b64decode(answer["result"]["encoded"]["data"])
    width, height = size_of(png)
    assert width * height <= 2000
    assert (width, height) == (answer["result"]["width"], answer["result"]["height"])
    assert answer["report"]["source_width"] == width


@pytest.mark.parametrize(
    ("options", "status", "sentence"),
    [
        ("{", 400, "is no JSON"),
        ("[]", 400, "is no object"),
        ('{"colour": 1}', 400, "colour"),
        ('{"quality": 1e99}', 400, "no RemoveOptions"),
        ('{"output": "OUTPUT_MAGIC"}', 400, "OUTPUT_MAGIC"),
        ('{"quality": 101}', 400, "from 1 to 100"),
        ('{"model": "\\ud800"}', 400, "surrogate|UTF|encode"),
        ('{"model": "no-such"}', 404, "no-such"),
        ('{"shared_memory_output": {"name": "x", "byte_size": 4}}', 400, "bytes only"),
        ('{"max_megapixels": 2000}', 400, "from 0 to 1000"),
    ],
)
async def test_wrong_options_get_a_sentence(
    it: Gateway, options: str, status: int, sentence: str
) -> None:
    files = {"image": ("a.jpg", picture()), "options": (None, options)}
    response = await it.client.post("/v1/remove", files=files)
    assert response.status_code == status, response.text
    error = response.json()["error"]
    assert set(error) == {"code", "message", "request_id"}
    assert re.search(sentence, error["message"])


async def test_shared_memory_cannot_be_named_over_http(it: Gateway) -> None:
    asked = {"image": {"shared_memory": {"range": {"name": "x", "byte_size": 4}}}}
    response = await it.client.post("/v1/remove", json=asked)
    assert response.status_code == 400
    assert "bytes only" in response.json()["error"]["message"]


@pytest.mark.parametrize(
    ("sent", "status", "sentence"),
    [
        ({"content": b"x", "headers": {"Content-Type": "text/plain"}}, 415, "text/plain"),
        ({"files": {"picture": ("a.jpg", b"x")}}, 400, "'picture' is not known"),
        ({"files": {"options": ("a", b"{}")}}, 400, "no file `image`"),
        ({"json": {"image": {}}}, 400, "image is empty"),
        ({"files": {"image": ("a", b"")}}, 400, "0 bytes"),
        (
            {"content": b"x", "headers": {"Content-Type": "multipart/form-data"}},
            400,
            "without a boundary",
        ),
        (
            {
                "content": b"--b\r\nx",
                "headers": {"Content-Type": "multipart/form-data; boundary=b"},
            },
            400,
            "multipart",
        ),
    ],
)
async def test_a_body_of_another_kind_gets_a_sentence(
    it: Gateway, sent: dict[str, object], status: int, sentence: str
) -> None:
    response = await it.client.post("/v1/remove", **sent)  # type: ignore[arg-type]
    assert response.status_code == status, response.text
    assert sentence in response.json()["error"]["message"]


async def test_segment_answers_each_subject_with_its_alpha_as_json(it: Gateway) -> None:
    sent = {"image": ("a.jpg", picture()), "options": ("o", b'{"max_subjects": 4}')}
    response = await it.client.post("/v1/segment", files=sent)
    assert response.status_code == 200, response.text
    (subject,) = response.json()["subjects"]
    with Image.open(io.BytesIO(base64.b64decode(subject["alpha"]["encoded"]["data"]))) as alpha:
        assert (alpha.format, alpha.mode, alpha.size) == ("PNG", "L", (96, 64))
    assert subject["box"]["right"] == 96
    assert response.json()["report"]["model"]["name"] == "tiny"
    assert (it.app.admission.images, it.app.admission.bytes) == (0, 0)


async def test_segment_refuses_a_wish_that_makes_no_sense(it: Gateway) -> None:
    options = b'{"subject": {"points": [{"x": 500, "y": 5}]}}'
    sent = {"image": ("a.jpg", picture()), "options": ("o", options)}
    response = await it.client.post("/v1/segment", files=sent)
    assert response.status_code == 400
    assert "a point must lie in it" in response.json()["error"]["message"]


async def test_models_are_listed(it: Gateway) -> None:
    models = (await it.client.get("/v1/models")).json()["models"]
    assert {"tiny", "other", "batched"} <= {model["name"] for model in models}
    (default,) = [model for model in models if model.get("is_default")]
    assert (default["name"], default["state"]) == ("tiny", "MODEL_STATE_READY")


async def test_a_full_server_says_when_to_come_back(open_gateway: Open) -> None:
    async with open_gateway(port=True, max_requests=1) as it:
        engine = it.registry.engines["tiny"]
        engine.open.clear()
        first = asyncio.create_task(
            it.client.post("/v1/remove", files={"image": ("a.jpg", picture())})
        )
        await eventually(lambda: engine.running == 1, "the first is at the model")
        second = await it.client.post("/v1/remove", files={"image": ("a.jpg", picture())})
        assert second.status_code == 429
        assert int(second.headers["retry-after"]) >= 1
        assert second.json()["error"]["retry_after_ms"] > 0
        engine.open.set()
        assert (await first).status_code == 200
