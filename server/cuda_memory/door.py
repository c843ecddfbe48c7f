"""Messages to sources and targets in callers' device memory, past the policy and every check that
needs no driver.

`server.services.removal` asks here for images and results that lie on a GPU. As with POSIX shared
memory it is off unless the operator allows it, and then for callers of this machine only. Who may
connect can then name whatever handle it was given: handles are secrets of 64 bytes, not names.
"""

from __future__ import annotations

from functools import partial
from urllib.parse import unquote

from kernels.cuda_ipc import HANDLE_BYTES
from kernels.device import Device
from mattestream.v1 import image_pb2
from server.codecs.raw import planes
from server.cuda_memory.leases import Held, Lease, Leases
from server.cuda_memory.ranges import CudaRange, CudaSource, CudaTarget
from server.job import Format, Options
from server.option_rules import InvalidOption
from server.options.source import read_layout
from server.shared_memory.policy import SharedMemoryRefused, SharedMemoryWrong, is_local


class CudaMemory:
    """All of the server's use of callers' device memory.

    Args:
        is_on: the operator allows it.
        leases: the handles that are open.
    """

    def __init__(self, *, is_on: bool, leases: Leases | None = None) -> None:
        self.is_on = is_on
        self.leases = leases or Leases()

    def hold(self) -> Held:
        """For one stream: what its frames name stays open until it ends."""
        return Held(self.leases)

    def check_caller(self, peer: str) -> None:
        """Nothing when a caller at `peer` may name device memory at all.

        Args:
            peer: as gRPC writes it.

        Raises:
            SharedMemoryRefused: it is off, or the caller sits on another machine.
        """
        if not self.is_on:
            raise SharedMemoryRefused(
                "CUDA shared memory is off on this server: send the bytes in the message, or start "
                "it with --cuda-shared-memory"
            )
        if not is_local(peer):
            raise SharedMemoryRefused(
                f"CUDA memory was named by a caller at {unquote(peer)}: it is for callers of the "
                "same machine, over 127.0.0.1, ::1 or a unix socket; send the bytes in the message"
            )

    def source(
        self, message: image_pb2.CudaMemoryImage, peer: str, hold: Held | None = None
    ) -> CudaSource:
        """The picture that `message` names.

        Args:
            message: as it came.
            peer: who sent it, as gRPC writes it.
            hold: of the stream that it is a frame of.

        Raises:
            SharedMemoryRefused, SharedMemoryWrong: see `check_caller`, and the range.
            InvalidOption, RawLayoutWrong: the layout makes no sense, or not with that many bytes.
        """
        self.check_caller(peer)
        if not message.HasField("layout"):
            raise InvalidOption(
                "image.cuda_memory has no layout: a GPU's memory holds pixels, describe them; send "
                "a file's bytes in encoded"
            )
        layout = read_layout(message.layout, "image.cuda_memory")
        planes(layout, nbytes=message.range.byte_size)
        return CudaSource(self._range(message.range, hold), layout)

    def target(
        self,
        message: image_pb2.CudaMemoryRange,
        options: Options,
        peer: str,
        hold: Held | None = None,
    ) -> CudaTarget:
        """Where the result goes.

        Args:
            message: `cuda_memory_output`, of the options or of a frame.
            options: what the result will be.
            peer: who sent it, as gRPC writes it.
            hold: of the stream that it is a frame of.

        Raises:
            SharedMemoryRefused, SharedMemoryWrong: see `check_caller`, and the range.
            InvalidOption: the result is no raw pixels.
        """
        self.check_caller(peer)
        if not options.output.has_pixels or options.format is not Format.RAW:
            raise InvalidOption(
                f"cuda_memory_output is set, but the result is a {options.output} as "
                f"{options.format.upper()}: choose an output of pixels with FORMAT_RAW, or leave "
                "cuda_memory_output unset"
            )
        return CudaTarget(self._range(message, hold))

    def _range(self, message: image_pb2.CudaMemoryRange, hold: Held | None) -> CudaRange:
        check_handle(message.handle)
        if message.byte_size < 1:
            raise SharedMemoryWrong("the range of CUDA memory is 0 bytes: set byte_size")
        return CudaRange(
            gpu=message.device,
            handle=message.handle,
            offset=message.offset,
            nbytes=message.byte_size,
            take=partial(_take, hold or self.leases, message.handle),
        )


def check_handle(handle: bytes) -> None:
    """Nothing when it has as many bytes as a handle.

    Raises:
        SharedMemoryWrong: it has not.
    """
    if len(handle) != HANDLE_BYTES:
        raise SharedMemoryWrong(
            f"the CUDA IPC handle has {len(handle)} bytes: send the {HANDLE_BYTES} of the "
            "cudaIpcMemHandle_t that cudaIpcGetMemHandle gives"
        )


def _take(leases: Leases | Held, handle: bytes, device: Device) -> Lease:
    return leases.take(device, handle)
