"""What the pages point at is there: links, functions, the pages themselves."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
]
LINK = re.compile(r"\[([^\]]*)\]\(([^)#\s]+)[^)]*\)")


def local_links(page: Path) -> list[tuple[str, Path]]:
    links = LINK.findall(page.read_text(encoding="utf-8"))
    return [
        (text, (page.parent / target).resolve()) for text, target in links if "://" not in target
    ]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_to_a_file(page):
    missing = [str(target) for _, target in local_links(page) if not target.exists()]
    assert missing == []


def test_every_function_on_the_path_of_one_image_is_where_the_link_says():
    links = local_links(ROOT / "docs" / "one-image.md")
    named = [(text.strip("`"), target) for text, target in links if text.startswith("`")]
    assert len(named) > 20
    for name, target in named:
        source = target.read_text(encoding="utf-8")
        for part in name.split("."):
            assert re.search(rf"(def|class) {part}\b|^{part}\b", source, re.M), (name, target)


def test_every_page_can_be_reached_from_the_readme():
    seen: set[Path] = set()
    open_ = [ROOT / "README.md"]
    while open_:
        page = open_.pop()
        seen.add(page)
        targets = {target for _, target in local_links(page)}
        targets |= {each for target in targets if target.is_dir() for each in target.glob("*.md")}
        open_ += [target for target in targets - seen if target.suffix == ".md"]
    assert {path.resolve() for path in PAGES} - seen - {ROOT / "CHANGELOG.md"} == set()


def test_every_fence_that_is_opened_is_closed():
    odd = [page.name for page in PAGES if page.read_text("utf-8").count("\n```") % 2]
    assert odd == []


def test_the_picture_of_the_readme_is_small():
    assert (ROOT / "docs" / "images" / "portrait.jpg").stat().st_size < 100_000
