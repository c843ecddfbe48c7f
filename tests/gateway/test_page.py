"""The page at `/` in a real Chromium, against a real server with the built-in model.

Chromium comes from the system's packages (`apt-get install chromium`); without one these tests are
skipped. With MATTESTREAM_SCREENSHOTS set to a folder, what was seen is kept there.
"""

from __future__ import annotations

import base64
import io
import os
import re
import shutil
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from loadtest.servers import HOST, ServerProcess, free_port, mattestream_server
from tests.gateway.serving import KEY, keys_file

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
sync_api = pytest.importorskip("playwright.sync_api", reason="Playwright comes with the extra dev")
if CHROMIUM is None:
    pytest.skip("there is no Chromium here: apt-get install chromium", allow_module_level=True)
pytestmark = pytest.mark.slow

SIZE = (800, 600)
WAIT_MS = 30_000
sync_api.expect.set_options(timeout=WAIT_MS)
Page = sync_api.Page


def jpeg(size: tuple[int, int] = SIZE) -> bytes:
    """Somebody in red before a grey wall; where nobody is, 40, 60, 80."""
    picture = Image.new("RGB", size, (40, 60, 80))
    pen = ImageDraw.Draw(picture)
    wide, high = size
    pen.ellipse((wide * 0.42, high * 0.1, wide * 0.58, high * 0.4), fill=(230, 190, 160))
    pen.rounded_rectangle((wide * 0.33, high * 0.38, wide * 0.67, high), 40, fill=(190, 30, 40))
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


def upload(name: str = "me.jpg", data: bytes | None = None) -> dict[str, object]:
    return {"name": name, "mimeType": "image/jpeg", "buffer": jpeg() if data is None else data}


def opened(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)))


@pytest.fixture(scope="module")
def browser() -> Iterator[sync_api.Browser]:
    """Chromium with a camera that shows a test picture."""
    flags = [
        "--no-sandbox",
        "--use-fake-ui-for-media-stream",
        "--use-fake-device-for-media-stream",
    ]
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=flags)
        yield browser
        browser.close()


def serve(work: Path, **settings: str) -> ServerProcess:
    """A server with its door open, not started; its `http` attribute is where."""
    port = free_port()
    environment = {"MATTESTREAM_HTTP_PORT": str(port), "MATTESTREAM_DEVICE": "cpu", **settings}
    server = mattestream_server(work, environment=environment)
    server.http = f"http://{HOST}:{port}/"  # type: ignore[attr-defined]
    return server


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serve(tmp_path_factory.mktemp("server")) as server:
        yield server.http  # type: ignore[attr-defined]


Open = Callable[..., Page]


@pytest.fixture
def open_page(
    browser: sync_api.Browser, address: str, request: pytest.FixtureRequest
) -> Iterator[Open]:
    """The page in a window of its own. At the end nothing may have been said in the console, and
    nothing asked of another host.
    """
    said: list[str] = []
    contexts: list[sync_api.BrowserContext] = []
    pages: list[Page] = []

    def open_one(at: str = address, **how: object) -> Page:
        context = browser.new_context(accept_downloads=True, **how)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(WAIT_MS)
        pages.append(page)
        page.on("pageerror", lambda error: said.append(f"error: {error}"))
        page.on(
            "console",
            lambda message: said.append(message.text) if message.type == "error" else None,
        )
        page.on(
            "request",
            lambda asked: (
                None
                if asked.url.startswith((at, "blob:", "data:"))
                else said.append(f"asked {asked.url}")
            ),
        )
        page.goto(at)
        return page

    yield open_one
    folder = os.environ.get("MATTESTREAM_SCREENSHOTS")
    for number, page in enumerate(pages):
        if folder:
            Path(folder).mkdir(parents=True, exist_ok=True)
            name = re.sub(r"\W+", "-", request.node.name).strip("-")
            page.screenshot(path=Path(folder) / f"{name}-{number}.png")
    for context in contexts:
        context.close()
    # Refusals of the server are told on the page; the browser notes them, too.
    assert [line for line in said if "status of 4" not in line] == []


def choose_photo(page: Page, data: bytes | None = None) -> None:
    """Gives the page a photo and waits for the first result."""
    page.set_input_files("#photo-file", upload(data=data))
    done(page)


def done(page: Page) -> None:
    """Returns when a result is shown and nothing is under way."""
    sync_api.expect(page.locator("#after")).to_have_attribute("src", re.compile("^blob:"))
    sync_api.expect(page.locator("#busy")).to_be_hidden()


def changed(page: Page, change: Callable[[], object]) -> None:
    """Makes a change and waits for the result that comes of it."""
    before = page.get_attribute("#after", "src")
    change()
    sync_api.expect(page.locator("#after")).not_to_have_attribute("src", before or "")
    done(page)


def shown(page: Page) -> np.ndarray:
    """The result on the page, (h, w, 4)."""
    text = page.evaluate(
        """async () => {
          const blob = await (await fetch(document.getElementById("after").src)).blob();
          const bytes = new Uint8Array(await blob.arrayBuffer());
          return btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(""));
        }"""
    )
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(text))).convert("RGBA"))


def downloaded(page: Page, press: str) -> tuple[str, bytes]:
    """Name and bytes of the file that pressing a button gives."""
    with page.expect_download() as waiting:
        page.click(press)
    return waiting.value.suggested_filename, Path(waiting.value.path()).read_bytes()


def test_a_photo_becomes_a_cutout_and_the_facts_are_told(open_page: Open) -> None:
    page = open_page()
    choose_photo(page)
    pixels = shown(page)
    assert pixels.shape == (SIZE[1], SIZE[0], 4)
    assert pixels[10, 10, 3] < 40
    assert pixels[450, 400, 3] > 200
    sync_api.expect(page.locator("#status")).to_contain_text("Done in")
    sync_api.expect(page.locator("#facts")).to_contain_text("matte-s")


def test_the_divider_moves_by_keyboard_and_by_pointer(open_page: Open) -> None:
    page = open_page()
    choose_photo(page)
    page.focus("#divider")
    for _ in range(5):
        page.keyboard.press("ArrowRight")
    assert page.input_value("#divider") == "40"
    assert page.evaluate("getComputedStyle(stage).getPropertyValue('--split')").strip() == "40%"
    box = page.locator("#stage").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] * 0.4, box["y"] + 50)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.8, box["y"] + 50)
    page.mouse.up()
    assert int(page.input_value("#divider")) == pytest.approx(80, abs=2)


def test_a_coloured_background_shows_and_a_jpeg_of_full_size_is_downloaded(
    open_page: Open,
) -> None:
    page = open_page()
    choose_photo(page, jpeg((2400, 1800)))  # larger than what the page works on meanwhile
    changed(page, lambda: page.select_option("#background", "color"))
    changed(page, lambda: page.fill("#background-color", "#00ff00"))
    assert shown(page)[10, 10].tolist() == [0, 255, 0, 255]
    page.select_option("#format", "FORMAT_JPEG")
    name, data = downloaded(page, "#download")
    assert name == "me-mattestream.jpg"
    assert opened(data).shape == (1800, 2400, 3)


def test_blur_studio_feather_and_shadow_change_the_result(open_page: Open) -> None:
    page = open_page()
    choose_photo(page)
    changed(page, lambda: page.select_option("#background", "blur"))
    assert shown(page)[10, 10].tolist()[:3] == pytest.approx([40, 60, 80], abs=12)
    changed(page, lambda: page.select_option("#background", "studio"))
    assert shown(page)[2, 2].tolist() == [255, 255, 255, 255]
    changed(page, lambda: page.locator("#feather").fill("8"))
    changed(page, lambda: page.select_option("#shadow", "SHADOW_KIND_DROP"))


def test_a_brush_stroke_takes_a_part_away_and_undo_brings_it_back(open_page: Open) -> None:
    page = open_page()
    choose_photo(page)
    page.get_by_label("Brush: remove").check()
    box = page.locator("#stage").bounding_box()
    assert box is not None

    def paint() -> None:
        x, y = box["x"] + box["width"] * 0.5, box["y"] + box["height"] * 0.75
        page.mouse.move(x - 60, y)
        page.mouse.down()
        page.mouse.move(x + 60, y, steps=5)
        page.mouse.up()

    assert shown(page)[450, 400, 3] > 200
    changed(page, paint)
    assert shown(page)[450, 400, 3] < 60
    changed(page, lambda: page.click("#undo"))
    assert shown(page)[450, 400, 3] > 200


def test_a_click_chooses_the_subject_and_a_second_click_leaves_a_part_out(
    open_page: Open,
) -> None:
    page = open_page()
    choose_photo(page)
    page.get_by_label("Click subject").check()
    box = page.locator("#stage").bounding_box()
    assert box is not None
    on_the_coat = {"x": box["width"] * 0.5, "y": box["height"] * 0.7}
    changed(page, lambda: page.locator("#stage").click(position=on_the_coat))
    assert shown(page)[420, 400, 3] > 200
    on_the_wall = {"x": box["width"] * 0.1, "y": box["height"] * 0.1}
    changed(page, lambda: page.locator("#stage").click(position=on_the_wall, modifiers=["Shift"]))
    # The dot on what is not wanted is red, the other one green.
    dot = "marks => [...marks.getContext('2d').getImageData(80, 60, 1, 1).data]"
    assert page.locator("#marks").evaluate(dot) == [0xE0, 0x43, 0x3A, 255]
    changed(page, lambda: page.click("#start-over"))


def test_many_photos_are_queued_and_come_back_in_one_zip(open_page: Open) -> None:
    page = open_page()
    page.click("#tab-batch")
    files = [upload("a.jpg"), upload("b.jpg", jpeg((300, 400))), upload("a.jpg")]
    page.set_input_files("#batch-files", files)
    sync_api.expect(page.locator("#batch-count")).to_have_text("3 of 3")
    sync_api.expect(page.locator("#status")).to_have_text("3 of 3 photos are done.")
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
    sync_api.expect(page.locator("#batch-count")).to_have_text("2 of 2")
    sync_api.expect(page.locator("#status")).to_have_text("1 of 2 photos are done.")
    sync_api.expect(page.locator("#batch-list .state.bad")).to_have_count(1)


def test_the_camera_shows_frames_and_gives_a_photo(open_page: Open) -> None:
    page = open_page()
    page.click("#tab-camera")
    page.click("#camera-start")
    sync_api.expect(page.locator("#camera-rate")).to_contain_text("frames/s")
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
    sync_api.expect(page.locator("#tab-photo")).to_have_attribute("aria-selected", "true")
    sync_api.expect(page.locator("#camera-start")).to_have_text("Start the camera")


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


def test_the_tabs_and_the_file_are_reached_by_keyboard(open_page: Open) -> None:
    page = open_page()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "tab-photo"
    page.keyboard.press("ArrowRight")
    assert page.evaluate("document.activeElement.id") == "tab-batch"
    sync_api.expect(page.locator("#batch")).to_be_visible()
    page.keyboard.press("ArrowLeft")
    for _ in range(4):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.id") == "photo-file":
            return
    raise AssertionError("the file's field was not reached")


def test_a_phone_shows_everything_in_one_column(open_page: Open) -> None:
    page = open_page(viewport={"width": 360, "height": 740}, has_touch=True)
    choose_photo(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    small = """[...document.querySelectorAll("button, select, .tools label")]
      .filter((part) => part.offsetParent && part.getBoundingClientRect().height < 40)
      .map((part) => part.id || part.textContent)"""
    assert page.evaluate(small) == []  # what fingers must hit


def test_dark_mode_is_dark_and_its_words_can_be_read(open_page: Open) -> None:
    page = open_page(color_scheme="dark")
    choose_photo(page)
    light = """(what) => getComputedStyle(document.documentElement)[what]
      .match(/[\\d.]+/g).slice(0, 3).reduce((sum, part) => sum + +part, 0) / 3"""
    assert page.evaluate(light, "backgroundColor") < 40
    assert page.evaluate(light, "color") > 200


def test_a_server_with_keys_asks_for_one_and_takes_it(open_page: Open, tmp_path: Path) -> None:
    settings = {"MATTESTREAM_API_KEYS_FILE": str(keys_file(tmp_path))}
    with serve(tmp_path, **settings) as server:
        page = open_page(server.http)  # type: ignore[attr-defined]
        page.set_input_files("#photo-file", upload())
        sync_api.expect(page.locator("#status.bad")).to_contain_text("key")
        page.get_by_text("API key", exact=True).click()
        page.fill("#api-key", KEY)
        choose_photo(page)
