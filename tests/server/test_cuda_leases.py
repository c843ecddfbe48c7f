"""Which handles are open: each once, no more than there may be, none longer than it is leased."""

from __future__ import annotations

import pytest

from kernels.device import DeviceError
from server.cuda_memory.leases import Held, Leases
from server.shared_memory.policy import SharedMemoryWrong
from tests.fakes.emulated_device import EmulatedDevice
from tests.fakes.emulated_ipc import DRIVER, OtherProcess


def test_there_are_no_more_handles_open_than_there_may_be() -> None:
    device, process = EmulatedDevice(), OtherProcess()
    leases = Leases(most=2)
    handles = [process.share(10)[0] for _ in range(3)]
    first, again, second = (leases.take(device, handles[at]) for at in (0, 0, 1))
    with pytest.raises(SharedMemoryWrong, match="2 CUDA IPC handles are open"):
        leases.take(device, handles[2])
    first.close()
    first.close()  # a second time is nothing
    assert len(leases) == 2
    again.close()
    leases.take(device, handles[2]).close()
    second.close()
    assert len(leases) == DRIVER.open_now == 0


def test_a_device_that_refuses_to_close_is_no_error_of_the_caller(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    device, process = EmulatedDevice(), OtherProcess()
    leases = Leases()
    lease = leases.take(device, process.share(10)[0])
    address = lease.memory.address

    def refuses(memory: object) -> None:
        raise DeviceError("the device is lost")

    monkeypatch.setattr(device, "close_handle", refuses)
    lease.close()
    assert len(leases) == 0
    DRIVER.close(address)


def test_a_stream_holds_few_handles_and_lets_the_oldest_go() -> None:
    device, process = EmulatedDevice(), OtherProcess()
    leases = Leases()
    held = Held(leases, most=2)
    handles = [process.share(10)[0] for _ in range(3)]
    for at in (0, 1, 0, 2):  # 1 is the one used longest ago
        held.take(device, handles[at]).close()
    assert len(leases) == 2
    before = DRIVER.opened
    held.take(device, handles[0]).close()
    assert DRIVER.opened == before
    held.close()
    held.take(device, handles[0]).close()
    assert len(leases) == DRIVER.open_now == 0
