"""rembg's API: its two requests, what its parameters become, errors in its words."""

from __future__ import annotations

import io

import pytest
from PIL import Image

from mattestream.v1 import options_pb2
from server.gateway.errors import BadRequest
from server.gateway.rembg import read_options
from tests.gateway.serving import Gateway
from tests.server.fakes import picture

FILE = {"file": ("a.jpg", picture())}


async def test_a_posted_file_gives_a_png(it: Gateway) -> None:
    response = await it.client.post("/api/remove", files=FILE)
    assert response.status_code == 200
    assert response.headers["content-type"] == "image/png"
    assert Image.open(io.BytesIO(response.content)).mode == "RGBA"


async def test_parameters_come_in_the_form_or_the_query(it: Gateway) -> None:
    in_form = await it.client.post("/api/remove", files=FILE, data={"om": "true"})
    in_query = await it.client.post("/api/remove?om=true", files=FILE)
    assert Image.open(io.BytesIO(in_form.content)).mode == "L"
    assert in_form.content == in_query.content


async def test_bgc_puts_a_colour_behind(it: Gateway) -> None:
    response = await it.client.post("/api/remove?bgc=0,0,255,255", files=FILE)
    assert Image.open(io.BytesIO(response.content)).convert("RGB").getpixel((2, 30)) == (0, 0, 255)


def test_what_each_parameter_becomes() -> None:
    made = read_options({"a": "true", "ppm": "1", "dc": "yes", "model": "m", "af": "240"})
    assert made == options_pb2.RemoveOptions(
        model="m",
        format=options_pb2.FORMAT_PNG,
        edges=options_pb2.Edges(refine=options_pb2.REFINE_BEST, threshold=0.5, remove_specks_px=9),
        foreground=options_pb2.Foreground(decontaminate=1.0),
    )


def test_points_and_boxes_of_a_prompt_are_read() -> None:
    extras = (
        '{"sam_prompt": [{"type": "point", "data": [1, 2], "label": 0},'
        ' {"type": "rectangle", "data": [1, 2, 3, 4], "label": 1}]}'
    )
    subject = read_options({"extras": extras}).subject
    assert (subject.points[0].x, subject.points[0].exclude, subject.box.bottom) == (1, True, 4)


@pytest.mark.parametrize(
    "given",
    [
        {"a": "maybe"},
        {"af": "256"},
        {"ae": "-1"},
        {"bgc": "red"},
        {"bgc": "1,2,3,999"},
        {"extras": "{"},
        {"extras": '{"model_path": "/etc/passwd"}'},
        {"extras": '{"sam_prompt": [1]}'},
        {"extras": '{"sam_prompt": 7}'},
        {"extras": '{"sam_prompt": [{"type": "point", "data": ["a", 1]}]}'},
    ],
)
def test_what_makes_no_sense_is_refused_by_name(given: dict[str, str]) -> None:
    (name,) = given
    with pytest.raises(BadRequest, match=f"^{name}"):
        read_options(given)


async def test_errors_have_a_detail(it: Gateway) -> None:
    for response in (
        await it.client.post("/api/remove", files={"file": ("a", b"text")}),
        await it.client.post("/api/remove", files={"other": ("a", b"text")}),
        await it.client.get("/api/remove"),
    ):
        assert response.status_code == 400
        assert set(response.json()) == {"detail"}


async def test_a_url_is_not_fetched_unless_the_operator_allows_it(it: Gateway) -> None:
    response = await it.client.get("/api/remove", params={"url": "http://127.0.0.1/a.jpg"})
    assert response.status_code == 501
    assert "--allow-url-fetch" in response.json()["detail"]


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [("u2net", "u2net"), ("u2net_human_seg", "u2net-human-seg"), ("sam", ""), ("", "")],
)
def test_models_go_by_rembgs_names(theirs: str, ours: str) -> None:
    assert read_options({"model": theirs}).model == ours


@pytest.mark.parametrize(("name", "status"), [("other", 409), ("isnet-anime", 404)])
async def test_a_model_that_is_not_here_is_told_with_what_to_do(
    it: Gateway, name: str, status: int
) -> None:
    response = await it.client.post("/api/remove", files=FILE, data={"model": name})
    assert response.status_code == status
    assert name in response.json()["detail"]
    assert response.json()["detail"].endswith("; without `model` this server's default is used")


async def test_a_loaded_model_answers_by_its_name(it: Gateway) -> None:
    name = it.app.host.default
    response = await it.client.post("/api/remove", files=FILE, data={"model": name})
    assert response.status_code == 200
