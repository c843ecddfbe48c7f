"""The queue of many photos, the camera, and what is said about them."""

from __future__ import annotations

import io
import zipfile

import pytest

from tests.gateway.page.driving import (
    WAIT_MS,
    Open,
    background,
    changed,
    choose_photo,
    done,
    downloaded,
    expect,
    jpeg,
    opened,
    upload,
)

pytestmark = pytest.mark.slow


def test_many_photos_are_queued_and_come_back_in_one_zip(open_page: Open) -> None:
    page = open_page()
    page.click("#tab-batch")
    files = [upload("a.jpg"), upload("b.jpg", jpeg((300, 400))), upload("a.jpg")]
    page.set_input_files("#batch-files", files)
    expect(page.locator("#batch-count")).to_have_text("3 of 3")
    expect(page.locator("#status")).to_have_text("3 of 3 photos are done.")
    name, data = downloaded(page, "#batch-download")
    assert name == "mattestream.zip"
    with zipfile.ZipFile(io.BytesIO(data)) as packed:
        assert packed.testzip() is None
        assert sorted(packed.namelist()) == ["a-2.png", "a.png", "b.png"]
        assert opened(packed.read("b.png")).shape == (400, 300, 4)


def test_a_file_that_is_no_picture_fails_alone(open_page: Open) -> None:
    page = open_page()
    page.click("#tab-batch")
    page.set_input_files("#batch-files", [upload("no.jpg", b"no picture"), upload("a.jpg")])
    expect(page.locator("#batch-count")).to_have_text("2 of 2")
    expect(page.locator("#status")).to_have_text("1 of 2 photos are done.")
    expect(page.locator("#batch-list .state.bad")).to_have_count(1)


def test_a_batch_takes_the_look_of_the_photo(open_page: Open) -> None:
    page = open_page()
    choose_photo(page)
    changed(page, lambda: background(page, "white"))
    page.select_option("#format", "FORMAT_JPEG")
    page.click("#tab-batch")
    page.set_input_files("#batch-files", [upload("a.jpg")])
    expect(page.locator("#batch-count")).to_have_text("1 of 1")
    page.check("#batch-look")
    page.set_input_files("#batch-files", [upload("b.jpg")])
    expect(page.locator("#batch-count")).to_have_text("2 of 2")
    _, data = downloaded(page, "#batch-download")
    with zipfile.ZipFile(io.BytesIO(data)) as packed:
        assert sorted(packed.namelist()) == ["a.png", "b.jpg"]
        assert opened(packed.read("b.jpg"))[10, 10].tolist() == pytest.approx([255] * 3, abs=3)


def test_the_camera_shows_frames_and_gives_a_photo(open_page: Open) -> None:
    page = open_page()
    page.click("#tab-camera")
    page.click("#camera-start")
    expect(page.locator("#camera-rate")).to_contain_text("frames/s")
    page.select_option("#camera-background", "#ffffff")
    view = page.locator("#camera-view")
    opacity = "view => view.getContext('2d').getImageData(5, 5, 1, 1).data[3]"
    for _ in range(WAIT_MS // 50):
        if view.evaluate(opacity) == 255:  # the next frame lies on white
            break
        page.wait_for_timeout(50)
    assert view.evaluate(opacity) == 255
    page.click("#camera-shot")
    done(page)
    expect(page.locator("#tab-photo")).to_have_attribute("aria-selected", "true")
    expect(page.locator("#camera-start")).to_have_text("Start the camera")


def test_a_message_does_not_follow_to_another_tab(open_page: Open) -> None:
    page = open_page()
    page.click("#tab-batch")
    page.set_input_files("#batch-files", [upload("no.jpg", b"no picture")])
    expect(page.locator("#status")).to_have_text("0 of 1 photos are done.")
    page.click("#tab-camera")
    expect(page.locator("#status")).to_have_text("")
