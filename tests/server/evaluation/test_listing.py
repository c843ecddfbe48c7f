"""The page's table of pictures: its order, what it says, and its filters in a real Chromium."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from server.evaluation.listing import listing
from server.evaluation.report import Evaluation, write_html
from tests.server.evaluation.test_summary import one

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
MEASURED = [
    one("good.jpg", mae=0.01),
    one("good.jpg", mae=0.02, run="s"),
    one("bad.jpg", mae=0.1, group="h"),
    one("bad.jpg", mae=0.4, group="h", run="s", no_subject=True),
    one("empty.jpg", mae=0.2, is_empty=True, no_subject=True),
]


def rows(html: str) -> list[str]:
    return re.findall(r"<tr data-name.*?</tr>", html)


def test_the_picture_that_any_run_does_worst_on_comes_first() -> None:
    names = [re.search(r'data-name="([^"]*)"', row).group(1) for row in rows(listing(MEASURED))]
    assert names == ["bad.jpg", "empty.jpg", "good.jpg"]


def test_runs_stand_side_by_side_with_what_their_reports_say() -> None:
    bad, empty, _ = rows(listing(MEASURED))
    assert re.findall(r"<td[^>]*>([^<]*)", bad)[2:] == [
        *("0.900", "0.100", "0.10", "yes"),
        *("0.600", "0.400", "0.40", "none"),
    ]
    assert re.findall(r"<td[^>]*>([^<]*)", empty)[2:] == ["-", "0.200", "0.20", "none"] + ["-"] * 4


def test_what_the_report_got_wrong_is_marked() -> None:
    assert ["data-wrong" in row for row in rows(listing(MEASURED))] == [True, False, False]


def test_names_cannot_write_into_the_page() -> None:
    html = listing([one('<b>"x".jpg', group="<i>")])
    assert "<b>" not in html
    assert "<i>" not in html
    assert '"x"' not in html


def test_nothing_measured_is_no_table() -> None:
    assert listing([]) == ""


@pytest.mark.slow
def test_the_filters_hide_what_does_not_fit(tmp_path: Path) -> None:
    api = pytest.importorskip("playwright.sync_api", reason="Playwright comes with the extra dev")
    if CHROMIUM is None:
        pytest.skip("there is no Chromium here: apt-get install chromium")
    write_html(tmp_path / "report.html", Evaluation({}, (), MEASURED, (), (), ()), ())
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page()
        page.goto((tmp_path / "report.html").as_uri())
        count, shown = page.locator("output"), page.locator("#list tr:visible")
        assert (count.inner_text(), shown.count()) == ("3 of 3 pictures", 3)
        page.get_by_label("part of a name").fill("GOOD")
        assert (count.inner_text(), shown.count()) == ("1 of 3 pictures", 1)
        page.get_by_label("part of a name").fill("")
        page.get_by_label("group", exact=True).select_option("h")
        assert shown.inner_text().startswith("bad.jpg")
        page.get_by_label("group", exact=True).select_option("")
        page.get_by_label("subject missed").check()
        assert (count.inner_text(), shown.count()) == ("1 of 3 pictures", 1)
        browser.close()
