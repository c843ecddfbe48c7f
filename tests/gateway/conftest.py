"""Fixtures of the HTTP door's tests."""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest

from tests.gateway.serving import Gateway, Open, gateway


@pytest.fixture
def open_gateway(model_dir: Path) -> Open:
    """`async with open_gateway(max_requests=2) as it`: a server with these settings."""
    return partial(gateway, model_dir)


@pytest.fixture
async def it(open_gateway: Open) -> AsyncIterator[Gateway]:
    """A server with the tests' defaults, called without a port."""
    async with open_gateway() as running:
        yield running
