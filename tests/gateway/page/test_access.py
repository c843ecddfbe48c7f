"""The page by keyboard, on a phone, in the dark, without motion, and without the internet."""

from __future__ import annotations

import re

import pytest

from server.gateway import page as page_files
from tests.gateway.page.driving import DOT, Open, changed, choose_photo, expect, shown

pytestmark = pytest.mark.slow


# The weakest contrast of shown text with what lies behind it, and that text. 4.5 is WCAG's AA.
CONTRAST = """() => {
  const channels = (text) => text.match(/[\\d.]+/g).map(Number);
  const light = (text) => channels(text).slice(0, 3).reduce((sum, value, at) => {
    const part = value / 255;
    const linear = part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
    return sum + linear * [0.2126, 0.7152, 0.0722][at];
  }, 0);
  const behind = (part) => {
    for (let at = part; at; at = at.parentElement) {
      const color = getComputedStyle(at).backgroundColor;
      if ((channels(color)[3] ?? 1) > 0.5) return color;
    }
  };
  const hasText = (node) => node.nodeType === 3 && node.data.trim();
  return [...document.querySelectorAll("body *")]
    .filter((part) => part.offsetParent && [...part.childNodes].some(hasText))
    .filter((part) => !part.closest(":disabled, .toast"))
    .map((part) => {
      const both = [getComputedStyle(part).color, behind(part)].map(light);
      return [(Math.max(...both) + 0.05) / (Math.min(...both) + 0.05), part.textContent.trim()];
    })
    .sort((one, other) => one[0] - other[0])[0];
}"""


def test_the_tabs_and_the_file_are_reached_by_keyboard(open_page: Open) -> None:
    page = open_page()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "tab-photo"
    page.keyboard.press("ArrowRight")
    assert page.evaluate("document.activeElement.id") == "tab-batch"
    expect(page.locator("#batch")).to_be_visible()
    page.keyboard.press("ArrowLeft")
    for _ in range(4):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.id") == "photo-file":
            return
    raise AssertionError("the file's field was not reached")


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


def test_a_subject_is_chosen_by_keyboard_alone(open_page: Open) -> None:
    page = open_page()
    choose_photo(page)
    page.locator("input[name=tool][value=compare]").focus()
    page.keyboard.press("ArrowRight")
    page.locator("#stage").focus()
    for _ in range(5):
        page.keyboard.press("ArrowDown")  # from the middle, a fiftieth of the width each
    changed(page, lambda: page.keyboard.press("Enter"))
    assert page.locator("#marks").evaluate(DOT, [404, 384]) == [0x1D, 0xB3, 0x7C, 255]
    assert shown(page)[420, 400, 3] > 200


def test_a_phone_shows_everything_in_one_column(open_page: Open) -> None:
    page = open_page(viewport={"width": 360, "height": 740}, has_touch=True)
    choose_photo(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    page.locator("input[name=tool][value=subject]").check()
    small = """[...document.querySelectorAll("button, select, .segments label, .tiles label")]
      .filter((part) => part.offsetParent && part.getBoundingClientRect().height < 40)
      .map((part) => part.id || part.textContent)"""
    assert page.evaluate(small) == []  # what fingers must hit
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    stage = page.locator("#stage")
    page.locator("#exclude").check()  # a finger has no Shift
    changed(page, lambda: stage.tap(position={"x": 20, "y": 20}))
    assert page.locator("#marks").evaluate(DOT, [49, 58]) == [0xE0, 0x43, 0x3A, 255]
    expect(page.locator("#status")).to_contain_text("Now click what you want")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_word_can_be_read(open_page: Open, scheme: str) -> None:
    page = open_page(color_scheme=scheme)
    for tab in ("#tab-batch", "#tab-camera", "#tab-photo"):
        page.click(tab)
        ratio, text = page.evaluate(CONTRAST)
        assert ratio >= 4.5, text
    choose_photo(page)
    ratio, text = page.evaluate(CONTRAST)
    assert ratio >= 4.5, text
    paper = page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
    assert (int(re.findall(r"\d+", paper)[0]) < 40) == (scheme == "dark")


def test_nothing_moves_for_those_who_asked_for_that(open_page: Open) -> None:
    page = open_page(reduced_motion="reduce")
    choose_photo(page)
    assert page.evaluate("document.getAnimations().length") == 0
    assert page.evaluate("getComputedStyle(stage).getPropertyValue('--split')").strip() == "35%"


def test_the_pages_files_name_no_other_host() -> None:
    for file in page_files.FILES.iterdir():
        named = re.findall(r"""["'(`]((?:https?:)?//[^\s"'`)]+)""", file.read_text())
        assert set(named) <= {"http://www.w3.org/2000/svg"}, file.name  # a name, no address
