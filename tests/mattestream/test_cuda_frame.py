"""Arrays on a GPU as the SDK shares them: what it says of them, and what it refuses. The driver is
a stand-in of four functions in C, so that its real calls are made; a server on the emulated device
answers.
"""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from kernels.cuda_ipc import _address_range
from mattestream import BadImage, Client, CudaFrame, InvalidRequest, MattestreamError, ServerError
from mattestream.cuda_driver import CudaDriver
from mattestream.request import Frame, build_frame, build_request
from mattestream.v1 import image_pb2, options_pb2
from tests.fakes.emulated_ipc import DRIVER, OtherProcess
from tests.fakes.emulated_memory import EmulatedMemory
from tests.fakes.tiny_onnx import write_tiny_model
from tests.kernels.cuda.tools import missing
from tests.server.device.served import serving

HALF = np.zeros((48, 64, 3), np.uint8)
HALF[:, 32:] = 255

# An allocation of 1 MiB at 0x7f0000200000, on GPU 1; addresses that do not fit into 32 bits.
DRIVER_IN_C = r"""
#include <stddef.h>
#include <string.h>
typedef unsigned long long address;
static const address BASE = 0x7f0000200000ull;
static const size_t SIZE = 1 << 20;
static int is_there(address at) { return at >= BASE && at < BASE + SIZE; }
int cuMemGetAddressRange_v2(address *base, size_t *size, address at) {
    if (!is_there(at)) return 1;
    *base = BASE; *size = SIZE; return 0;
}
int cuIpcGetMemHandle(char *handle, address at) {
    if (at != BASE) return 1;
    memset(handle, 7, 64); handle[63] = 9; return 0;
}
int cuPointerGetAttribute(void *data, int attribute, address at) {
    if (attribute != 9 || !is_there(at)) return 1;
    *(int *)data = 1; return 0;
}
int cuStreamSynchronize(void *stream) { return stream == (void *)0x7e0000000010ull ? 0 : 201; }
"""


class OnGpu:
    """An array as CuPy, PyTorch or Numba shows one."""

    def __init__(self, address: int, shape: tuple[int, ...], **told: Any) -> None:
        self.__cuda_array_interface__ = {
            "shape": shape,
            "typestr": "|u1",
            "data": (address, False),
            "version": 3,
            **told,
        }


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> str:
    if shutil.which("gcc") is None:
        missing("the stand-in for the driver is C, and gcc is not installed")
    folder = tmp_path_factory.mktemp("driver")
    source, made = folder / "driver.c", folder / "libcuda.so"
    source.write_text(DRIVER_IN_C)
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", made, source], check=True)
    return str(made)


@pytest.fixture
def driver(library: str) -> CudaDriver:
    return CudaDriver(library)


BASE = 0x7F0000200000


def test_an_array_is_named_by_its_allocation_and_its_place_there(driver: CudaDriver) -> None:
    frame = CudaFrame(OnGpu(BASE + 4096, (48, 64, 3)), driver=driver)
    named = frame.message().cuda_memory
    assert named.range.handle == bytes([7]) * 63 + bytes([9])
    assert (named.range.offset, named.range.byte_size, named.range.device) == (4096, 9216, 1)
    assert named.layout.format == image_pb2.PIXEL_FORMAT_RGB8
    assert (named.layout.width, named.layout.height) == (64, 48)
    assert not named.layout.strides
    assert frame.target() is None
    assert CudaFrame(OnGpu(BASE, (2, 2)), device=0, driver=driver).message().cuda_memory.range == (
        image_pb2.CudaMemoryRange(handle=named.range.handle, byte_size=4)
    )


@pytest.mark.parametrize(
    ("shape", "pixels", "expected", "rows"),
    [
        ((48, 64), None, image_pb2.PIXEL_FORMAT_GRAY8, 48),
        ((48, 64, 1), None, image_pb2.PIXEL_FORMAT_GRAY8, 48),
        ((48, 64, 4), None, image_pb2.PIXEL_FORMAT_RGBA8, 48),
        ((48, 64, 3), "bgr", image_pb2.PIXEL_FORMAT_BGR8, 48),
        ((72, 64), "nv12", image_pb2.PIXEL_FORMAT_NV12, 48),
        ((72, 64), "i420", image_pb2.PIXEL_FORMAT_I420, 48),
    ],
)
def test_pixels_are_what_they_are_said_to_be(
    driver: CudaDriver, shape: tuple[int, ...], pixels: Any, expected: int, rows: int
) -> None:
    frame = CudaFrame(OnGpu(BASE, shape), pixels=pixels, driver=driver)
    layout = frame.message().cuda_memory.layout
    assert (layout.format, layout.height, layout.width) == (expected, rows, 64)


def test_rows_may_be_padded_and_work_on_a_stream_is_waited_for(driver: CudaDriver) -> None:
    padded = OnGpu(BASE, (48, 64, 3), strides=(256, 3, 1), stream=0x7E0000000010)
    named = CudaFrame(padded, driver=driver).message().cuda_memory
    assert list(named.layout.strides) == [256]
    assert named.range.byte_size == 256 * 48
    with pytest.raises(InvalidRequest, match="in the thread that made the array"):
        CudaFrame(OnGpu(BASE, (48, 64), stream=1), driver=driver)


@pytest.mark.parametrize(
    ("array", "sentence"),
    [
        (HALF, "give an array on a GPU"),
        (OnGpu(BASE, (48, 64, 3), typestr="<f4"), "give uint8"),
        (OnGpu(BASE, (48,)), "give uint8, .H, W."),
        (OnGpu(BASE, (48, 0)), "give uint8, .H, W."),
        (OnGpu(BASE, (48, 64, 2)), "2 channels"),
        (OnGpu(BASE, (48, 64), strides=(1, 48)), "contiguous copy"),
        (OnGpu(BASE, (48, 64, 3), strides=(-192, 3, 1)), "contiguous copy"),
        (OnGpu(BASE, (48, 64, 3), strides=(192, 4, 1)), "contiguous copy"),
        (OnGpu(BASE + (1 << 20) - 10, (48, 64)), "behind its memory"),
    ],
)
def test_other_arrays_are_refused(driver: CudaDriver, array: Any, sentence: str) -> None:
    with pytest.raises(BadImage, match=sentence):
        CudaFrame(array, driver=driver)


def test_memory_that_cannot_be_shared_and_machines_without_a_driver_are_named(
    driver: CudaDriver,
) -> None:
    with pytest.raises(InvalidRequest, match="must lie in a GPU's memory"):
        CudaFrame(OnGpu(0x1000, (48, 64)), driver=driver)
    with pytest.raises(InvalidRequest, match=r"cuIpcGetMemHandle answered 1\): memory of cudaMal"):
        driver.handle(BASE + 1)
    with pytest.raises(MattestreamError, match="there is no CUDA driver to share memory with"):
        CudaDriver("libcuda-that-is-not-there.so")


def test_the_server_asks_the_same_driver_for_an_allocations_size(library: str) -> None:
    assert _address_range(BASE + 5, library) == (BASE, 1 << 20)
    with pytest.raises(OSError, match="answered 1"):
        _address_range(5, library)


def test_out_says_what_is_asked_for(driver: CudaDriver) -> None:
    image = OnGpu(BASE, (48, 64, 3))
    for shape, output in (
        ((48, 64), options_pb2.OUTPUT_ALPHA),
        ((48, 64, 4), options_pb2.OUTPUT_CUTOUT),
        ((48, 64, 3), options_pb2.OUTPUT_COMPOSITE),
    ):
        frame = CudaFrame(image, out=OnGpu(BASE + 65536, shape), driver=driver)
        options = build_request(frame, {}).options
        assert (options.output, options.format) == (output, options_pb2.FORMAT_RAW)
        assert options.cuda_memory_output.offset == 65536
        assert not build_request(frame, {"format": "png"}).options.HasField("cuda_memory_output")
        assert build_frame(Frame(frame), 3).frame.cuda_memory_output.offset == 65536
    with pytest.raises(BadImage, match="give a packed array"):
        CudaFrame(image, out=OnGpu(BASE, (48, 64), strides=(128, 1)), driver=driver)


def test_a_frame_is_not_sent_twice_at_once(driver: CudaDriver) -> None:
    frame = CudaFrame(OnGpu(BASE, (48, 64)), driver=driver)
    frame.sent()
    with pytest.raises(InvalidRequest, match="on its way already"):
        frame.sent()
    frame.answered()
    frame.sent()


def test_an_answer_that_names_another_place_is_refused(driver: CudaDriver) -> None:
    out = OnGpu(BASE + 65536, (48, 64))
    frame = CudaFrame(OnGpu(BASE, (48, 64, 3)), out=out, driver=driver)
    target = frame.target()
    assert target is not None
    layout = image_pb2.PixelLayout(format=image_pb2.PIXEL_FORMAT_GRAY8, width=64, height=48)
    good = image_pb2.CudaMemoryImage(range=target, layout=layout)
    assert frame.pixels(good) is out
    for changes in ({"offset": 0}, {"byte_size": 9}, {"handle": bytes(64)}, {"device": 0}):
        bad = image_pb2.CudaMemoryImage(range=target, layout=layout)
        for name, value in changes.items():
            setattr(bad.range, name, value)
        with pytest.raises(ServerError, match="not the place that it was given"):
            frame.pixels(bad)


def test_the_sdk_does_without_cuda_and_cupy() -> None:
    code = "import sys, mattestream; mattestream.CudaFrame; sys.exit('cupy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


class EmulatedDriver(CudaDriver):
    """Of a process whose memory the emulated device can open."""

    def __init__(self, process: OtherProcess) -> None:
        self.process = process

    def allocation(self, address: int) -> tuple[int, int]:
        block = self._block(address)
        return block.address, block.nbytes

    def handle(self, base: int) -> bytes:
        return self.process.handles[base]

    def device(self, address: int) -> int:
        return 0

    def _block(self, address: int) -> EmulatedMemory:
        return next(
            each
            for each in self.process.blocks
            if each.address <= address < each.address + each.nbytes
        )


class EmulatedArray(OnGpu):
    """A part of another process's memory, whose content a test may look at."""

    def __init__(self, block: EmulatedMemory, offset: int, shape: tuple[int, ...]) -> None:
        super().__init__(block.address + offset, shape)
        self._of = block, offset, shape

    @property
    def seen(self) -> NDArray[np.uint8]:
        block, offset, shape = self._of
        return block.array[offset : offset + int(np.prod(shape))].reshape(shape)


@pytest.fixture
def process() -> Iterator[OtherProcess]:
    made = OtherProcess()
    yield made
    made.check_guards()
    assert DRIVER.open_now == 0


async def test_both_ways_of_the_client_end_to_end(tmp_path: Path, process: OtherProcess) -> None:
    write_tiny_model(tmp_path, max_batch=4)
    _, block = process.share(np.zeros(20 * (9216 + 3072), np.uint8))
    driver = EmulatedDriver(process)

    def placed(index: int) -> tuple[CudaFrame, EmulatedArray]:
        start = index * (9216 + 3072)
        image = EmulatedArray(block, start, HALF.shape)
        image.seen[:] = 10 * index
        out = EmulatedArray(block, start + 9216, HALF.shape[:2])
        return CudaFrame(image, out=out, driver=driver), out

    def use(port: int) -> None:
        with Client(f"127.0.0.1:{port}") as client:
            frame, out = placed(20 - 1)
            done = client.remove(frame)
            assert done.array() is out
            assert (out.seen == 190).all()
            assert done.report.copies.host_to_device == 0
            again = client.remove(frame, format="png")  # a frame may be sent again
            assert again.media_type == "image/png"
            frames = [placed(index) for index in range(12)]
            results = list(client.remove_stream(frame for frame, _ in frames))
        for index, (result, (_, goes)) in enumerate(zip(results, frames, strict=True)):
            assert result.frame_id == index
            assert (goes.seen == 10 * index).all()

    async with serving(tmp_path, cuda_shared_memory=True) as (app, _, _):
        await asyncio.to_thread(use, app.port)
