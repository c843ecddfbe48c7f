"""What the pages promise is there: links, functions, targets and flags."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from mattestream.cli.root import cli

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


def test_the_commands_of_the_readme_exist_with_their_flags():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    lines = [line.split("#")[0] for line in text.splitlines() if line.startswith("mattestream ")]
    assert len(lines) >= 5
    for line in lines:
        command, flags = line.split()[1], re.findall(r" (--?[a-z-]+)", line)
        output = CliRunner().invoke(cli, [command, "--help"]).output
        assert all(flag in output for flag in flags), line


def test_the_make_targets_that_pages_name_exist():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):.*## ", makefile, re.M))
    named = {
        name
        for page in (ROOT / "README.md", ROOT / "CONTRIBUTING.md")
        for name in re.findall(r"(?:^|`)make ([a-z-]+)", page.read_text(encoding="utf-8"), re.M)
    }
    assert named <= targets


def test_the_picture_of_the_readme_is_small():
    assert (ROOT / "docs" / "images" / "astronaut.jpg").stat().st_size < 100_000
