"""Who owns locked pages, and when they are unlocked. No GPU: the driver is a strict stand-in.

Not run anywhere yet: PyCUDA itself (it cannot be installed on the machine where this was written)
and the driver's own refusals. `loadtest.gpu_check` does both where there is a GPU.
"""

from __future__ import annotations

import gc
import types
from multiprocessing import shared_memory

import numpy as np
import pytest

from kernels.device import DeviceError
from kernels.page_lock import (
    CupyRegistrar,
    PageLocked,
    PageLockRefused,
    PageLocks,
    PycudaRegistrar,
    open_registrar,
)

PAGE = 4096


class Driver:
    """What cudaHostRegister keeps: which addresses are locked, and in which order calls came."""

    def __init__(self, *, refuse: str = "") -> None:
        self.locked: dict[int, int] = {}
        self.calls: list[str] = []
        self.refuse = refuse

    def register(self, address: int, nbytes: int) -> None:
        if self.refuse:
            raise RuntimeError(self.refuse)
        assert address not in self.locked, "the driver refuses to lock twice"
        self.locked[address] = nbytes
        self.calls.append("lock")

    def unregister(self, address: int) -> None:
        del self.locked[address]
        self.calls.append("unlock")


class FakeCupy:
    """The five calls of CuPy that are made, with its own names and argument order."""

    __version__ = "14.2.0"

    def __init__(self, driver: Driver) -> None:
        self.driver, self.current = driver, 3
        self.cuda = types.SimpleNamespace(runtime=self)

    def getDeviceCount(self) -> int:  # noqa: N802
        return 4

    def getDevice(self) -> int:  # noqa: N802
        return self.current

    def setDevice(self, device: int) -> None:  # noqa: N802
        self.current = device
        self.driver.calls.append(f"device {device}")

    def hostRegister(self, ptr: int, size: int, flags: int) -> None:  # noqa: N802
        assert flags == 1
        self.driver.register(ptr, size)

    def hostUnregister(self, ptr: int) -> None:  # noqa: N802
        self.driver.unregister(ptr)


class FakePycuda:
    """`pycuda.driver`, its names as introspected from the real module, with the context stack."""

    VERSION_TEXT = "2026.1"

    def __init__(self, driver: Driver) -> None:
        self.driver, self.stack, self.started = driver, [], False

    def init(self) -> None:
        self.started = True

    def Device(self, index: int) -> FakePycuda:  # noqa: N802
        assert self.started
        self.index = index
        return self

    def retain_primary_context(self) -> FakePycuda:
        return self

    def push(self) -> None:
        self.stack.append(self.index)

    def pop(self) -> None:
        self.stack.pop()

    def register_host_memory(self, ary: np.ndarray, flags: int) -> types.SimpleNamespace:
        assert self.stack == [self.index], "needs our context, once"
        assert flags == 1
        self.driver.register(ary.ctypes.data, ary.nbytes)

        def unregister() -> None:
            assert self.stack == [self.index], "needs our context, once"
            self.driver.unregister(ary.ctypes.data)

        return types.SimpleNamespace(base=types.SimpleNamespace(unregister=unregister))


@pytest.fixture
def driver():
    return Driver()


@pytest.fixture(params=["CuPy", "PyCUDA"])
def registrar(request, driver):
    if request.param == "CuPy":
        return CupyRegistrar(FakeCupy(driver), 1)
    return PycudaRegistrar(FakePycuda(driver), "2026.1", 1)


def page(count: int = 1) -> np.ndarray:
    return np.zeros(count * PAGE, np.uint8)


def test_pages_are_locked_while_their_owner_lives_and_unlocked_when_it_goes(registrar, driver):
    memory = page()
    owner = PageLocks(registrar).lock(memory)
    assert driver.locked == {memory.ctypes.data: PAGE}
    assert owner.array is memory
    del owner
    gc.collect()
    assert driver.locked == {}


def test_closing_twice_unlocks_once(registrar, driver):
    owner = PageLocks(registrar).lock(page())
    owner.close()
    owner.close()
    assert [call for call in driver.calls if call.endswith("lock")] == ["lock", "unlock"]
    assert owner.closed
    with pytest.raises(PageLockRefused, match="not page-locked any more"):
        _ = owner.array


def test_leaving_the_block_unlocks(registrar, driver):
    with PageLocks(registrar).lock(page()) as owner:
        assert driver.locked
    assert (owner.closed, driver.locked) == (True, {})


def test_the_same_memory_again_gives_the_same_owner(registrar, driver):
    locks, memory = PageLocks(registrar), page()
    first = locks.lock(memory)
    assert locks.lock(memory) is first
    assert driver.calls.count("lock") == 1


def test_memory_can_be_locked_again_after_it_was_unlocked(registrar, driver):
    locks, memory = PageLocks(registrar), page()
    old = locks.lock(memory)
    old.close()
    new = locks.lock(memory)
    assert new is not old
    assert driver.locked == {memory.ctypes.data: PAGE}
    new.close()


@pytest.mark.parametrize("part", [slice(0, PAGE), slice(100, 200), slice(PAGE, 2 * PAGE)])
def test_a_part_of_locked_memory_is_refused_in_a_sentence(registrar, part):
    locks, memory = PageLocks(registrar), page(2)
    owner = locks.lock(memory)
    with pytest.raises(
        PageLockRefused, match=r"overlap 8192 bytes .* lock whole blocks, each once"
    ):
        locks.lock(memory[part])
    owner.close()


def test_neighbours_do_not_overlap(registrar, driver):
    locks, memory = PageLocks(registrar), page(2)
    owners = [locks.lock(memory[:PAGE]), locks.lock(memory[PAGE:])]
    assert len(driver.locked) == 2
    for owner in owners:
        owner.close()


def test_a_refusal_says_how_much_by_whom_and_what_to_do():
    driver = Driver(refuse="cudaErrorMemoryAllocation: out of memory")
    locks = PageLocks(CupyRegistrar(FakeCupy(driver), 0))
    with pytest.raises(PageLockRefused) as caught:
        locks.lock(page())
    for words in ("4096 bytes", "CuPy 14.2.0", "out of memory", "fewer or smaller blocks"):
        assert words in str(caught.value)
    assert isinstance(caught.value, DeviceError)


def test_after_a_refusal_the_same_memory_can_be_tried_again():
    driver = Driver(refuse="busy")
    locks, memory = PageLocks(CupyRegistrar(FakeCupy(driver), 0)), page()
    with pytest.raises(PageLockRefused):
        locks.lock(memory)
    driver.refuse = ""
    locks.lock(memory).close()


@pytest.mark.parametrize(
    "wrong", [np.zeros((2, 2), np.uint8), np.zeros(4, np.int32), np.zeros(8, np.uint8)[::2]]
)
def test_only_whole_bytes_in_a_row_can_be_locked(registrar, wrong):
    with pytest.raises(ValueError, match=r"\(n,\) uint8"):
        PageLocks(registrar).lock(wrong)


def test_no_memory_cannot_be_locked(registrar):
    with pytest.raises(ValueError, match="1 byte or more"):
        PageLocks(registrar).lock(np.zeros(0, np.uint8))


def test_a_shared_block_cannot_be_unmapped_under_the_lock(registrar, driver):
    block = shared_memory.SharedMemory(create=True, size=PAGE)
    try:
        owner = PageLocks(registrar).lock(np.frombuffer(block.buf, np.uint8))
        with pytest.raises(BufferError):
            block.close()
        assert driver.locked
        owner.close()
        block.close()  # nothing holds it any more
        assert driver.locked == {}
    finally:
        block.unlink()


def test_an_owner_without_references_lets_the_block_be_unmapped(registrar):
    block = shared_memory.SharedMemory(create=True, size=PAGE)
    try:
        PageLocks(registrar).lock(np.frombuffer(block.buf, np.uint8))
        gc.collect()
        block.close()
    finally:
        block.unlink()


def test_memory_is_there_until_the_driver_has_unlocked_it():
    order = []

    class Block(np.ndarray):
        def __del__(self) -> None:
            order.append("gone")

    memory = np.zeros(8, np.uint8).view(Block)
    owner = PageLocked(memory, lambda: order.append("unlocked"))
    del memory
    owner.close()
    del owner
    gc.collect()
    assert order == ["unlocked", "gone"]


def test_the_threads_own_device_comes_back(driver):
    cupy = FakeCupy(driver)
    PageLocks(CupyRegistrar(cupy, 1)).lock(page()).close()
    assert cupy.current == 3
    assert driver.calls == ["device 1", "lock", "device 3", "device 1", "unlock", "device 3"]


def test_pycudas_context_is_popped_after_a_refusal():
    driver = Driver(refuse="no")
    pycuda = FakePycuda(driver)
    with pytest.raises(PageLockRefused):
        PageLocks(PycudaRegistrar(pycuda, "2026.1", 0)).lock(page())
    assert pycuda.stack == []


def test_pycuda_is_taken_where_it_is_installed(driver):
    modules = {"pycuda.driver": FakePycuda(driver), "pycuda": FakePycuda(driver)}
    assert open_registrar(0, modules.__getitem__).name == "PyCUDA 2026.1"


def test_cupy_is_taken_without_pycuda(driver):
    def load(name: str) -> object:
        if name.startswith("pycuda"):
            raise ModuleNotFoundError(name)
        return FakeCupy(driver)

    assert open_registrar(0, load).name == "CuPy 14.2.0"


def test_neither_is_a_sentence_with_both_reasons_and_what_to_install():
    def load(name: str) -> object:
        raise ModuleNotFoundError(f"No module named {name!r}")

    with pytest.raises(PageLockRefused) as caught:
        open_registrar(0, load)
    for words in ("pycuda.driver", "'cupy'", "pip install 'mattestream[gpu]'"):
        assert words in str(caught.value)


def test_the_real_cupy_has_the_calls_by_these_names():
    cupy = pytest.importorskip("cupy", reason="CuPy is not installed here")
    signatures = {
        "hostRegister": "hostRegister(intptr_t ptr, size_t size, unsigned int flags)",
        "hostUnregister": "hostUnregister(intptr_t ptr)",
        "setDevice": "setDevice(int device)",
        "getDevice": "getDevice() -> int",
        "getDeviceCount": "getDeviceCount() -> int",
    }
    for name, signature in signatures.items():
        assert getattr(cupy.cuda.runtime, name).__doc__.strip().startswith(signature)
    assert cupy.cuda.runtime.hostAllocPortable == 1


def test_the_real_cupy_without_a_driver_ends_in_the_sentence():
    cupy = pytest.importorskip("cupy", reason="CuPy is not installed here")
    if cupy.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with pytest.raises(PageLockRefused, match="CuPy: cudaError"):
        open_registrar()
