"""The device that kernel tests run on.

Emulated unless `MATTESTREAM_TEST_DEVICE=cuda`, which runs the same tests on the first GPU.
`MATTESTREAM_SHIM_ORDER` (forward, backward, strided) and `MATTESTREAM_SHIM_BUILD` (exact,
contracted, sanitized) change how the emulated one runs, `MATTESTREAM_SHIM_SMALL=1` leaves out the
tests of large pictures; `test_sanitizers` sets them.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from kernels.cuda.catalogue import FOLDER
from kernels.device import Device, Stream
from tests.fakes.cuda_shim.module import CONTRACTED, EXACT, SANITIZED, Order
from tests.fakes.emulated_device import EmulatedDevice
from tests.kernels.cuda.tools import missing

LARGE = 500_000  # pixels
BUILDS = {"exact": EXACT, "contracted": CONTRACTED, "sanitized": SANITIZED}


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leaves out the tests with a large picture among their parameters, if asked to."""
    if os.environ.get("MATTESTREAM_SHIM_SMALL") != "1":
        return
    large = [item for item in items if _is_large(item)]
    config.hook.pytest_deselected(items=large)
    items[:] = [item for item in items if item not in large]


def _is_large(item: pytest.Item) -> bool:
    values = item.callspec.params.values() if hasattr(item, "callspec") else ()
    return any(
        isinstance(value, tuple)
        and len(value) >= 2
        and all(isinstance(side, int) for side in value[:2])
        and value[0] * value[1] > LARGE
        for value in values
    )


def _new_device(folder: Path) -> Device:
    if os.environ.get("MATTESTREAM_TEST_DEVICE") == "cuda":
        from kernels.cupy_device import CupyDevice

        return CupyDevice(0, folder=folder)
    if shutil.which("g++") is None:
        missing("kernels run on the CPU through g++, which is not installed")
    return EmulatedDevice(
        order=Order[os.environ.get("MATTESTREAM_SHIM_ORDER", "forward").upper()],
        flags=BUILDS[os.environ.get("MATTESTREAM_SHIM_BUILD", "exact")],
        folder=folder,
    )


@pytest.fixture(scope="session")
def _shared_device() -> Device:
    return _new_device(FOLDER)


@pytest.fixture
def device(_shared_device: Device) -> Device:
    """The device, ready to be used by the test's thread."""
    _shared_device.use()
    return _shared_device


@pytest.fixture
def stream(device: Device) -> Stream:
    """A stream of its own for each test."""
    return device.new_stream()


@pytest.fixture
def device_of() -> Callable[[Path], Device]:
    """`device_of(folder)`: a device whose `.cu` files are in another folder than the project's."""
    return _new_device


@pytest.fixture
def needs_gcc() -> None:
    """Ends the test where the emulated device cannot be built."""
    if shutil.which("g++") is None:
        missing("kernels run on the CPU through g++, which is not installed")
