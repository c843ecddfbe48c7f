"""One photo on the page: cut out, dressed up, marked, downloaded."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from tests.gateway.page.driving import (
    DOT,
    SIZE,
    Open,
    background,
    changed,
    choose_photo,
    done,
    downloaded,
    expect,
    jpeg,
    opened,
    paint,
    serve,
    shown,
    take,
    upload,
)
from tests.gateway.serving import KEY, keys_file

pytestmark = pytest.mark.slow


def test_a_photo_becomes_a_cutout_and_the_facts_are_told(open_page: Open) -> None:
    page = open_page()
    choose_photo(page)
    pixels = shown(page)
    assert pixels.shape == (SIZE[1], SIZE[0], 4)
    assert pixels[10, 10, 3] < 40
    assert pixels[450, 400, 3] > 200
    expect(page.locator("#status")).to_contain_text("Done in")
    expect(page.locator("#facts")).to_contain_text("matte-s")


def test_a_coloured_background_shows_and_a_jpeg_of_full_size_is_downloaded(
    open_page: Open,
) -> None:
    page = open_page()
    choose_photo(page, jpeg((2400, 1800)))  # larger than what the page works on meanwhile
    changed(page, lambda: background(page, "color"))
    changed(page, lambda: page.fill("#background-color", "#00ff00"))
    assert shown(page)[10, 10].tolist() == [0, 255, 0, 255]
    page.select_option("#format", "FORMAT_JPEG")
    name, data = downloaded(page, "#download")
    assert name == "me-mattestream.jpg"
    assert opened(data).shape == (1800, 2400, 3)


def test_blur_studio_feather_and_shadow_change_the_result(open_page: Open) -> None:
    page = open_page()
    choose_photo(page)
    changed(page, lambda: background(page, "blur"))
    assert shown(page)[10, 10].tolist()[:3] == pytest.approx([40, 60, 80], abs=12)
    changed(page, lambda: background(page, "studio"))
    assert shown(page)[2, 2].tolist() == [255, 255, 255, 255]
    changed(page, lambda: page.locator("#feather").fill("8"))
    changed(page, lambda: page.select_option("#shadow", "SHADOW_KIND_DROP"))


def test_a_brush_stroke_takes_a_part_away_and_undo_brings_it_back(open_page: Open) -> None:
    page = open_page()
    choose_photo(page)
    take(page, "remove")
    assert shown(page)[450, 400, 3] > 200
    changed(page, lambda: paint(page, 0.5, 0.75))
    assert shown(page)[450, 400, 3] < 60
    changed(page, lambda: page.click("#undo"))
    assert shown(page)[450, 400, 3] > 200
    assert page.is_disabled("#undo")


def test_a_brush_stroke_keeps_what_was_lost_also_in_the_download(open_page: Open) -> None:
    page = open_page()
    choose_photo(page, jpeg((2400, 1800)))  # larger than what the page works on meanwhile
    take(page, "keep")
    assert shown(page)[200, 160, 3] < 40
    changed(page, lambda: paint(page, 0.1, 1 / 6))
    assert shown(page)[200, 160, 3] > 200
    _, data = downloaded(page, "#download")
    pixels = opened(data)
    assert pixels.shape == (1800, 2400, 4)
    assert pixels[300, 240, 3] > 200
    page.keyboard.press("Control+z")
    assert page.is_disabled("#undo")


def test_a_wider_brush_takes_more(open_page: Open) -> None:
    page = open_page()
    choose_photo(page)
    take(page, "remove")
    page.locator("#brush").fill("1")
    changed(page, lambda: paint(page, 0.5, 0.75))
    narrow = int((shown(page)[380:520, 400, 3] < 60).sum())
    page.locator("#brush").fill("12")
    changed(page, lambda: paint(page, 0.5, 0.75))
    assert int((shown(page)[380:520, 400, 3] < 60).sum()) > narrow + 40


def test_a_click_chooses_the_subject_and_a_second_click_leaves_a_part_out(
    open_page: Open,
) -> None:
    page = open_page()
    choose_photo(page)
    stage = take(page, "subject")
    box = stage.bounding_box()
    assert box is not None
    on_the_coat = {"x": box["width"] * 0.5, "y": box["height"] * 0.7}
    changed(page, lambda: stage.click(position=on_the_coat))
    assert shown(page)[420, 400, 3] > 200
    expect(page.locator("#facts")).not_to_contain_text("seen before")
    on_the_wall = {"x": box["width"] * 0.1, "y": box["height"] * 0.1}
    changed(page, lambda: stage.click(position=on_the_wall, modifiers=["Shift"]))
    # The dot on what is not wanted is red, the other one green; both hold a white sign.
    assert page.locator("#marks").evaluate(DOT, [80, 60]) == [255, 255, 255, 255]
    assert page.locator("#marks").evaluate(DOT, [80, 65]) == [0xE0, 0x43, 0x3A, 255]
    # The photo is not looked at again for it.
    expect(page.locator("#facts")).to_contain_text("seen before")
    changed(page, lambda: page.click("#start-over"))
    assert page.locator("#marks").evaluate(DOT, [80, 65]) == [0, 0, 0, 0]


def test_a_picture_can_be_pasted(open_page: Open) -> None:
    page = open_page()
    page.evaluate(
        """async (text) => {
          const bytes = Uint8Array.from(atob(text), (sign) => sign.charCodeAt(0));
          const data = new DataTransfer();
          data.items.add(new File([bytes], "pasted.jpg", { type: "image/jpeg" }));
          dispatchEvent(new ClipboardEvent("paste", { clipboardData: data }));
        }""",
        base64.b64encode(jpeg()).decode(),
    )
    done(page)


def test_a_server_that_is_gone_is_told_and_asked_again(open_page: Open) -> None:
    page = open_page()
    page.context.set_offline(True)
    page.set_input_files("#photo-file", upload())
    expect(page.locator("#status.bad")).to_contain_text("does not answer")
    page.context.set_offline(False)
    page.click("#retry")
    done(page)
    expect(page.locator("#retry")).to_be_hidden()


def test_a_file_that_is_no_picture_is_told_by_its_name(open_page: Open) -> None:
    page = open_page()
    page.set_input_files("#photo-file", upload("notes.jpg", b"no picture"))
    expect(page.locator("#status.bad")).to_contain_text("notes.jpg")
    page.click("#status-close")
    expect(page.locator("#status")).to_have_text("")
    expect(page.locator("#drop")).to_be_visible()


def test_a_server_with_keys_asks_for_one_and_takes_it(open_page: Open, tmp_path: Path) -> None:
    settings = {"MATTESTREAM_API_KEYS_FILE": str(keys_file(tmp_path))}
    with serve(tmp_path, **settings) as server:
        page = open_page(server.http)  # type: ignore[attr-defined]
        page.set_input_files("#photo-file", upload())
        expect(page.locator("#status.bad")).to_contain_text("key")
        expect(page.locator("#api-key")).to_be_visible()  # it opens by itself
        page.fill("#api-key", KEY)
        page.keyboard.press("Enter")
        done(page)
        expect(page.locator("#api-key")).to_be_hidden()
