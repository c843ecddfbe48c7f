"""What the tests of both services share: a caller whose memory is on a GPU."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.fakes.emulated_ipc import DRIVER, OtherProcess


@pytest.fixture
def caller() -> Iterator[OtherProcess]:
    """A process with memory on GPU 0; nobody writes beside it, and no handle stays open."""
    process = OtherProcess()
    yield process
    process.check_guards()
    assert DRIVER.open_now == 0
