"""A real Chromium, a real server with the built-in model, and windows that must stay quiet.

With MATTESTREAM_SCREENSHOTS set to a folder, what was seen at each test's end is kept there.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.gateway.page.driving import CHROMIUM, WAIT_MS, Open, Page, serve, sync_api


@pytest.fixture(scope="module")
def browser() -> Iterator[sync_api.Browser]:
    """Chromium with a camera that shows a test picture."""
    if CHROMIUM is None:
        pytest.skip("there is no Chromium here: apt-get install chromium")
    flags = [
        "--no-sandbox",
        "--use-fake-ui-for-media-stream",
        "--use-fake-device-for-media-stream",
    ]
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=flags)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serve(tmp_path_factory.mktemp("server")) as server:
        yield server.http  # type: ignore[attr-defined]


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
    assert [
        line for line in said if not re.search(r"status of 4|ERR_INTERNET_DISCONNECTED", line)
    ] == []
