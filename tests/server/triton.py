"""Requests as `tritonclient` makes them, for the tests of the KServe protocol."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as triton
import tritonclient.grpc.aio as triton_aio
from numpy.typing import NDArray
from tritonclient.utils import InferenceServerException

from tests.server.serving import Served


@asynccontextmanager
async def client_of(served: Served) -> AsyncIterator[triton_aio.InferenceServerClient]:
    """The real client, on the server's port."""
    async with triton_aio.InferenceServerClient(f"127.0.0.1:{served.app.port}") as client:
        yield client


def tensor(name: str, array: NDArray[Any], datatype: str | None = None) -> triton.InferInput:
    """An input with its elements in the message."""
    kinds = {"float32": "FP32", "uint8": "UINT8", "object": "BYTES"}
    made = triton.InferInput(name, list(array.shape), datatype or kinds[array.dtype.name])
    made.set_data_from_numpy(array)
    return made


def files(*data: bytes) -> triton.InferInput:
    """Encoded pictures, a batch of them."""
    elements = np.empty((len(data), 1), object)
    elements[:, 0] = data
    return tensor("image", elements)


def pixels(*images: NDArray[np.uint8]) -> triton.InferInput:
    """Raw pictures of one size, a batch of them."""
    return tensor("pixels", np.stack(images))


def asks(*names: str) -> list[triton.InferRequestedOutput]:
    """These outputs and no others."""
    return [triton.InferRequestedOutput(name) for name in names]


async def failure(call: Awaitable[object]) -> tuple[str, str]:
    """Status and sentence that `call` fails with: "INVALID_ARGUMENT", "..."."""
    with pytest.raises(InferenceServerException) as caught:
        await call
    return str(caught.value.status()).removeprefix("StatusCode."), str(caught.value.message())


def half_white(width: int = 96, height: int = 64) -> NDArray[np.uint8]:
    """(H, W, 3), black on the left, white on the right: the tiny model finds a subject."""
    rgb = np.zeros((height, width, 3), np.uint8)
    rgb[:, width // 2 :] = 255
    return rgb
