"""remove.bg's parameters one by one, and the page that says how each stands."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.gateway import removebg_table as table
from tests.gateway.serving import LOOPBACK, Gateway, Open

PAGE = Path(__file__).parents[2] / "docs" / "removebg.md"


@pytest.fixture
async def it(open_gateway: Open) -> AsyncIterator[Gateway]:
    async with open_gateway(allow_url_fetch=True, reachable=LOOPBACK) as running:
        yield running


@pytest.mark.parametrize("row", table.ROWS, ids=lambda row: f"{row.parameter} {row.values}")
async def test_a_parameter_is_as_the_table_says(it: Gateway, row: table.Row) -> None:
    found = await table.verdict(row, it)
    line = f"| `{row.parameter}` | {row.values} | {found} | {row.words} |"
    assert line in PAGE.read_text(encoding="utf-8"), (
        "stale: python -m tests.gateway.removebg_table docs/removebg.md"
    )


def test_the_page_has_these_rows_and_no_others() -> None:
    page = PAGE.read_text(encoding="utf-8")
    between = page.partition(table.BEGIN)[2].partition(table.END)[0].strip().splitlines()
    assert len(between) == len(table.ROWS) + 2
