"""The page at `/` as a person drives it: photos, tools, strokes, downloads.

Chromium comes from the system's packages (`apt-get install chromium`); without one the tests beside
this file are skipped.
"""

from __future__ import annotations

import base64
import io
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from loadtest.servers import HOST, ServerProcess, free_port, mattestream_server

sync_api = pytest.importorskip("playwright.sync_api", reason="Playwright comes with the extra dev")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
SIZE = (800, 600)
WAIT_MS = 30_000
expect = sync_api.expect
expect.set_options(timeout=WAIT_MS)
Page = sync_api.Page
Open = Callable[..., Page]
# The colour of the marks at a place: `page.locator("#marks").evaluate(DOT, [x, y])`.
DOT = "(marks, place) => [...marks.getContext('2d').getImageData(...place, 1, 1).data]"


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


def serve(work: Path, **settings: str) -> ServerProcess:
    """A server with its door open, not started; its `http` attribute is where."""
    port = free_port()
    environment = {"MATTESTREAM_HTTP_PORT": str(port), "MATTESTREAM_DEVICE": "cpu", **settings}
    server = mattestream_server(work, environment=environment)
    server.http = f"http://{HOST}:{port}/"  # type: ignore[attr-defined]
    return server


def choose_photo(page: Page, data: bytes | None = None) -> None:
    """Gives the page a photo and waits for the first result."""
    page.set_input_files("#photo-file", upload(data=data))
    done(page)


def background(page: Page, name: str) -> None:
    page.locator(f"input[name=background][value={name}]").check()


def take(page: Page, tool: str) -> sync_api.Locator:
    """The stage, with that tool in hand."""
    page.locator(f"input[name=tool][value={tool}]").check()
    return page.locator("#stage")


def paint(page: Page, across: float, down: float) -> None:
    """A stroke of 120 px around that place of the stage, both in 0..1."""
    box = page.locator("#stage").bounding_box()
    assert box is not None
    x, y = box["x"] + box["width"] * across, box["y"] + box["height"] * down
    page.mouse.move(x - 60, y)
    page.mouse.down()
    page.mouse.move(x + 60, y, steps=5)
    page.mouse.up()


def done(page: Page) -> None:
    """Returns when a result is shown and nothing is under way."""
    expect(page.locator("#after")).to_have_attribute("src", re.compile("^blob:"))
    expect(page.locator("#busy")).to_be_hidden()


def changed(page: Page, change: Callable[[], object]) -> None:
    """Makes a change and waits for the result that comes of it."""
    before = page.get_attribute("#after", "src")
    change()
    expect(page.locator("#after")).not_to_have_attribute("src", before or "")
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
