"""Results that are kept, and give way."""

from __future__ import annotations

import pytest

from mattestream.mcp.shelf import Gone, Shelf


def test_the_oldest_result_gives_way() -> None:
    shelf = Shelf(10)
    first, second, third = (shelf.put(bytes(4), "image/png") for _ in range(3))
    with pytest.raises(Gone):
        shelf.get(first)
    assert len(shelf.get(second).data) == len(shelf.get(third).data) == 4


def test_a_result_that_is_fetched_counts_as_new() -> None:
    shelf = Shelf(10)
    first, second = (shelf.put(bytes(4), "image/png") for _ in range(2))
    shelf.get(first)
    shelf.put(bytes(4), "image/png")
    assert shelf.get(first).media_type == "image/png"
    with pytest.raises(Gone):
        shelf.get(second)


def test_a_result_larger_than_the_shelf_is_kept_until_the_next() -> None:
    shelf = Shelf(10)
    large = shelf.put(bytes(40), "image/png")
    assert len(shelf.get(large).data) == 40
    shelf.put(b"1", "image/png")
    with pytest.raises(Gone):
        shelf.get(large)
