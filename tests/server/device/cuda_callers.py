"""Requests of callers whose pictures are on the (emulated) GPU, and a server that takes them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc
import numpy as np
import pytest

from mattestream.v1 import image_pb2, options_pb2, removal_pb2, removal_pb2_grpc
from server.app import App
from tests.fakes.emulated_engine import EmulatedRegistry
from tests.fakes.emulated_ipc import DRIVER
from tests.server.device.served import serving

WIDTH, HEIGHT = 64, 48
RGB_BYTES, ALPHA_BYTES = WIDTH * HEIGHT * 3, WIDTH * HEIGHT
HALF = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
HALF[:, WIDTH // 2 :] = 255
RAW_ALPHA = options_pb2.RemoveOptions(
    output=options_pb2.OUTPUT_ALPHA, format=options_pb2.FORMAT_RAW
)


@dataclass
class Served:
    app: App
    registry: EmulatedRegistry
    removal: removal_pb2_grpc.BackgroundRemovalServiceAsyncStub


@asynccontextmanager
async def gpu_server(folder: Path, **settings: object) -> AsyncIterator[Served]:
    allowed = {"cuda_shared_memory": True}
    async with serving(folder, **{**allowed, **settings}) as (app, registry, removal):
        yield Served(app, registry, removal)


def image_at(
    handle: bytes, offset: int = 0, byte_size: int = RGB_BYTES, device: int = 0
) -> image_pb2.Image:
    return image_pb2.Image(
        cuda_memory=image_pb2.CudaMemoryImage(
            range=place(handle, offset, byte_size, device),
            layout=image_pb2.PixelLayout(
                format=image_pb2.PIXEL_FORMAT_RGB8, width=WIDTH, height=HEIGHT
            ),
        )
    )


def place(
    handle: bytes, offset: int = 0, byte_size: int = ALPHA_BYTES, device: int = 0
) -> image_pb2.CudaMemoryRange:
    return image_pb2.CudaMemoryRange(
        handle=handle, offset=offset, byte_size=byte_size, device=device
    )


def alpha_to(span: image_pb2.CudaMemoryRange, **fields: object) -> options_pb2.RemoveOptions:
    options = options_pb2.RemoveOptions(**fields)  # type: ignore[arg-type]
    options.MergeFrom(RAW_ALPHA)
    options.cuda_memory_output.CopyFrom(span)
    return options


async def remove(served: Served, **fields: object) -> removal_pb2.RemoveResponse:
    return await served.removal.Remove(removal_pb2.RemoveRequest(**fields))  # type: ignore[arg-type]


async def refused(served: Served, **fields: object) -> tuple[str, str]:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await remove(served, **fields)
    assert DRIVER.open_now == 0
    return caught.value.code().name, str(caught.value.details())
