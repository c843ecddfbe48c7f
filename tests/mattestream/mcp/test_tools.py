"""The tools as an agent calls them."""

from __future__ import annotations

import base64
import io
import os
from typing import Any

import numpy as np
import pytest
from mcp import Client, MCPError
from mcp_types import CallToolResult, ImageContent, ResourceLink
from PIL import Image

from tests.mattestream.mcp.conftest import HEIGHT, WIDTH, Desk, picture

BOX = [WIDTH / 4, HEIGHT / 4, WIDTH / 2, HEIGHT / 2]
SLACK_PX = 8  # the tiny model works at a small size


async def call(desk: Desk, tool: str, **arguments: Any) -> CallToolResult:
    result = await desk.client.call_tool(tool, arguments)
    assert isinstance(result, CallToolResult)
    return result


async def facts(desk: Desk, tool: str, **arguments: Any) -> dict[str, Any]:
    result = await call(desk, tool, **arguments)
    assert not result.is_error, result.content
    return dict(result.structured_content)


async def refusal(desk: Desk, tool: str, **arguments: Any) -> str:
    result = await call(desk, tool, **arguments)
    assert result.is_error
    return str(result.content[0].text)


async def fetched(client: Client, address: str) -> Image.Image:
    contents = (await client.read_resource(address)).contents[0]
    return Image.open(io.BytesIO(base64.b64decode(contents.blob)))


async def test_an_agent_finds_the_tools_and_reads_what_they_take(desk: Desk) -> None:
    tools = {tool.name: tool for tool in (await desk.client.list_tools()).tools}
    assert set(tools) == {
        "remove_background",
        "crop_to_subject",
        "segment_subject",
        "describe_subject",
    }
    for tool in tools.values():
        assert tool.description
        for name, field in tool.input_schema["properties"].items():
            assert field.get("description"), f"{tool.name}.{name}"
        assert tool.output_schema


async def test_a_cutout_comes_as_a_preview_the_facts_and_a_link(desk: Desk) -> None:
    result = await call(desk, "remove_background", image=str(desk.photo))
    kinds = [type(block) for block in result.content]
    assert ImageContent in kinds
    link = next(block for block in result.content if isinstance(block, ResourceLink))
    made = result.structured_content
    assert link.uri == made["result"]["address"]
    assert link.mime_type == made["result"]["media_type"] == "image/png"
    assert made["subject"]["found"] is True
    assert np.abs(np.subtract(made["subject"]["box"], BOX)).max() <= SLACK_PX


async def test_the_link_leads_to_the_full_result(desk: Desk) -> None:
    made = await facts(desk, "remove_background", image=str(desk.photo))
    full = await fetched(desk.client, made["result"]["address"])
    assert full.mode == "RGBA"
    assert full.size == (WIDTH, HEIGHT)


async def test_a_large_picture_is_shown_small(desk: Desk) -> None:
    desk.photo.write_bytes(picture(1600, 800))
    result = await call(desk, "remove_background", image=str(desk.photo))
    shown = next(block for block in result.content if isinstance(block, ImageContent))
    assert Image.open(io.BytesIO(base64.b64decode(shown.data))).size == (512, 256)
    assert len(shown.data) < 100_000


async def test_what_is_see_through_is_shown_on_grey(desk: Desk) -> None:
    result = await call(desk, "remove_background", image=str(desk.photo))
    shown = next(block for block in result.content if isinstance(block, ImageContent))
    pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(shown.data))))
    assert np.abs(pixels[-1, -1].astype(int) - 128).max() <= 4
    inside = pixels[HEIGHT * 3 // 8, WIDTH * 3 // 8]
    assert inside.min() > 200


async def test_a_result_is_the_next_tools_image(desk: Desk) -> None:
    first = await facts(desk, "remove_background", image=str(desk.photo))
    second = await facts(desk, "describe_subject", image=first["result"]["address"])
    assert second["found"] is True
    assert (second["source_width"], second["source_height"]) == (WIDTH, HEIGHT)


async def test_a_data_uri_is_an_image(desk: Desk) -> None:
    uri = "data:image/png;base64," + base64.b64encode(picture()).decode()
    assert (await facts(desk, "describe_subject", image=uri))["found"] is True


async def test_a_file_uri_is_an_image(desk: Desk) -> None:
    assert (await facts(desk, "describe_subject", image=desk.photo.as_uri()))["found"] is True


async def test_a_relative_path_begins_in_the_first_folder(desk: Desk) -> None:
    assert (await facts(desk, "describe_subject", image="photo.png"))["found"] is True


async def test_the_result_is_saved_where_the_agent_says(desk: Desk) -> None:
    made = await facts(desk, "remove_background", image="photo.png", save_to="cut.png")
    assert made["result"]["saved_to"] == str(desk.folder / "cut.png")
    with Image.open(desk.folder / "cut.png") as saved:
        assert saved.mode == "RGBA"


async def test_a_file_is_only_replaced_when_the_agent_says_so(desk: Desk) -> None:
    kept = desk.photo.read_bytes()
    said = await refusal(desk, "remove_background", image="photo.png", save_to="photo.png")
    assert "there already" in said
    assert desk.photo.read_bytes() == kept
    await facts(desk, "remove_background", image="photo.png", save_to="photo.png", overwrite=True)
    assert desk.photo.read_bytes() != kept


async def test_a_picture_on_a_colour_has_that_colour(desk: Desk) -> None:
    made = await facts(desk, "remove_background", image="photo.png", background="#ff0000")
    full = await fetched(desk.client, made["result"]["address"])
    assert full.convert("RGB").getpixel((WIDTH - 1, HEIGHT - 1)) == (255, 0, 0)


@pytest.mark.parametrize("tool", ["remove_background", "crop_to_subject"])
async def test_a_background_is_a_colour_and_never_a_file(desk: Desk, tool: str) -> None:
    (desk.folder.parent / "secret.png").write_bytes(picture())
    for path in ("../secret.png", str(desk.folder.parent / "secret.png"), "blur"):
        assert "is no colour" in await refusal(desk, tool, image="photo.png", background=path)


async def test_a_crop_is_cut_to_the_subject_and_says_from_where(desk: Desk) -> None:
    made = await facts(desk, "crop_to_subject", image="photo.png", margin_percent=0)
    left, top, right, bottom = made["shown"]
    assert np.abs(np.subtract(made["shown"], BOX)).max() <= SLACK_PX
    full = await fetched(desk.client, made["result"]["address"])
    assert full.mode == "RGBA"
    assert full.size == (right - left, bottom - top)


async def test_subjects_come_one_by_one_with_an_alpha_to_fetch(desk: Desk) -> None:
    target = str(desk.folder / "alpha.png")
    found = await facts(desk, "segment_subject", image="photo.png", save_to=target)
    (part,) = found["subjects"]
    assert np.abs(np.subtract(part["box"], BOX)).max() <= SLACK_PX
    assert 0 < part["score"] <= 1
    assert part["alpha"]["saved_to"] == target
    full = await fetched(desk.client, part["alpha"]["address"])
    assert full.mode == "L"


async def test_a_point_outside_of_the_picture_is_told_to_the_agent(desk: Desk) -> None:
    spot = {"x": 5000, "y": 3, "wanted": True}
    said = await refusal(desk, "segment_subject", image="photo.png", points=[spot])
    assert "a point must lie in it" in said


async def test_a_margin_is_a_share_of_the_subjects_sides(desk: Desk) -> None:
    tight = await facts(desk, "crop_to_subject", image="photo.png", margin_percent=0)
    loose = await facts(desk, "crop_to_subject", image="photo.png", margin_percent=50)
    assert loose["result"]["width"] == pytest.approx(2 * tight["result"]["width"], abs=2)


async def test_a_crop_has_the_size_and_the_aspect_that_were_asked_for(desk: Desk) -> None:
    sized = await facts(desk, "crop_to_subject", image="photo.png", width=64, height=64)
    assert (sized["result"]["width"], sized["result"]["height"]) == (64, 64)
    wide = await facts(desk, "crop_to_subject", image="photo.png", aspect=2)
    assert wide["result"]["width"] == pytest.approx(2 * wide["result"]["height"], abs=1)


async def test_an_avatar_is_round(desk: Desk) -> None:
    made = await facts(
        desk, "crop_to_subject", image="photo.png", circle=True, background="#ff0000"
    )
    full = await fetched(desk.client, made["result"]["address"])
    assert full.width == full.height
    assert full.getpixel((0, 0))[3] == 0
    assert full.getpixel((full.width // 2, 1))[3] == 255


async def test_wishes_that_contradict_each_other_get_the_servers_sentence(desk: Desk) -> None:
    said = await refusal(desk, "crop_to_subject", image="photo.png", aspect=2, width=9, height=9)
    assert "leave out the aspect" in said


async def test_an_empty_picture_has_no_subject(desk: Desk) -> None:
    out = io.BytesIO()
    Image.new("RGB", (64, 48)).save(out, "PNG")
    desk.photo.write_bytes(out.getvalue())
    described = await facts(desk, "describe_subject", image="photo.png")
    assert described["found"] is False
    assert described["box"] is None


@pytest.mark.parametrize(
    "path", ["/etc/hostname", "../secret.png", "open/../../secret.png", "~/secret.png"]
)
async def test_a_path_outside_is_refused_without_a_word_on_whether_it_is_there(
    desk: Desk, path: str
) -> None:
    (desk.folder.parent / "secret.png").write_bytes(picture())
    said = await refusal(desk, "describe_subject", image=path)
    assert "is not for this server" in said
    assert str(desk.folder) in said


async def test_a_link_out_of_the_folder_is_refused(desk: Desk) -> None:
    (desk.folder.parent / "secret.png").write_bytes(picture())
    (desk.folder / "link.png").symlink_to(desk.folder.parent / "secret.png")
    assert "is not for this server" in await refusal(desk, "describe_subject", image="link.png")


async def test_a_pipe_is_refused_and_not_waited_for(desk: Desk) -> None:
    os.mkfifo(desk.folder / "pipe.png")
    assert "is no file" in await refusal(desk, "describe_subject", image="pipe.png")


async def test_a_file_over_the_limit_is_refused_by_its_size(desk: Desk) -> None:
    desk.photo.write_bytes(bytes((1 << 20) + 1))
    said = await refusal(desk, "describe_subject", image="photo.png")
    assert "1.0 MiB" in said


async def test_a_file_that_is_not_there_is_named(desk: Desk) -> None:
    assert "missing.png" in await refusal(desk, "describe_subject", image="missing.png")


async def test_a_web_address_is_refused_with_what_to_do(desk: Desk) -> None:
    said = await refusal(desk, "describe_subject", image="https://example.com/a.png")
    assert "give its path" in said


async def test_a_file_that_is_no_picture_gets_the_servers_sentence(desk: Desk) -> None:
    desk.photo.write_bytes(b"not a picture at all")
    said = await refusal(desk, "remove_background", image="photo.png")
    assert "send JPEG, PNG" in said


async def test_saving_outside_is_refused(desk: Desk) -> None:
    said = await refusal(desk, "remove_background", image="photo.png", save_to="../outside.png")
    assert "is not for this server" in said
    assert not (desk.folder.parent / "outside.png").exists()


async def test_saving_into_a_missing_folder_says_so(desk: Desk) -> None:
    said = await refusal(desk, "remove_background", image="photo.png", save_to="new/cut.png")
    assert "folder is not there" in said


async def test_a_result_that_gave_way_to_newer_ones_says_so(desk: Desk) -> None:
    with pytest.raises(MCPError, match="call the tool again"):
        await desk.client.read_resource("mattestream://results/nothing")
    said = await refusal(desk, "describe_subject", image="mattestream://results/nothing")
    assert "call the tool again" in said


async def test_a_number_out_of_range_is_refused_by_name(desk: Desk) -> None:
    said = await refusal(desk, "remove_background", image="photo.png", feather_px=-1)
    assert "feather_px" in said


@pytest.mark.parametrize(
    ("format_", "media_type"),
    [("png", "image/png"), ("webp", "image/webp"), ("jpeg", "image/jpeg")],
)
async def test_a_link_says_what_lies_there(desk: Desk, format_: str, media_type: str) -> None:
    given = {"image": str(desk.photo), "format": format_, "background": "white"}
    made = await call(desk, "remove_background", **given)
    link = next(block for block in made.content if isinstance(block, ResourceLink))
    (result,) = (await desk.client.read_resource(str(link.uri))).contents
    assert (link.mime_type, result.mime_type) == (media_type, media_type)


async def test_a_jpeg_without_a_background_is_refused_in_the_tools_own_words(desk: Desk) -> None:
    for tool in ("remove_background", "crop_to_subject"):
        said = await refusal(desk, tool, image=str(desk.photo), format="jpeg")
        assert "give a background" in said
    given = {"image": str(desk.photo), "format": "jpeg", "output": "alpha"}
    await facts(desk, "remove_background", **given)
