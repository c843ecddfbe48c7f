"""The four calls of the CUDA driver that a picture's owner needs to share it.

Used by `mattestream.cuda_frame`, with the driver that the owner's own library (CuPy, PyTorch, ...)
has loaded: no package is needed, and nothing is loaded before a frame is made.
"""

from __future__ import annotations

import ctypes

from mattestream.errors import InvalidRequest, MattestreamError

HANDLE_BYTES = 64  # of a CUipcMemHandle, which is a cudaIpcMemHandle_t
_DEVICE_ORDINAL = 9  # CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL
_NO_CONTEXT = 201  # CUDA_ERROR_INVALID_CONTEXT


class CudaDriver:
    """The driver of this process.

    Args:
        library: its file.

    Raises:
        MattestreamError: there is none.
    """

    def __init__(self, library: str = "libcuda.so.1") -> None:
        try:
            self._driver = ctypes.CDLL(library)
        except OSError as error:
            raise MattestreamError(
                f"there is no CUDA driver to share memory with ({error}): send the image as an "
                "array instead"
            ) from error
        pointer, address = ctypes.c_void_p, ctypes.c_uint64
        self._driver.cuMemGetAddressRange_v2.argtypes = (pointer, pointer, address)
        self._driver.cuIpcGetMemHandle.argtypes = (pointer, address)
        self._driver.cuPointerGetAttribute.argtypes = (pointer, ctypes.c_int, address)
        self._driver.cuStreamSynchronize.argtypes = (pointer,)

    def allocation(self, address: int) -> tuple[int, int]:
        """Base address and size of the allocation that `address` lies in.

        Raises:
            InvalidRequest: in none.
        """
        base, size = ctypes.c_uint64(), ctypes.c_size_t()
        status = self._driver.cuMemGetAddressRange_v2(
            ctypes.byref(base), ctypes.byref(size), address
        )
        _check(status, "cuMemGetAddressRange", "the array must lie in a GPU's memory")
        return base.value, size.value

    def handle(self, base: int) -> bytes:
        """The 64 bytes by which another process opens the allocation at `base`.

        Raises:
            InvalidRequest: its memory cannot be shared.
        """
        made = ctypes.create_string_buffer(HANDLE_BYTES)
        status = self._driver.cuIpcGetMemHandle(made, base)
        _check(
            status,
            "cuIpcGetMemHandle",
            "memory of cudaMalloc can be shared, that of cudaMallocAsync's pools and of PyTorch's "
            "expandable segments cannot",
        )
        return made.raw

    def device(self, address: int) -> int:
        """The GPU that `address` lies on, as this process counts.

        Raises:
            InvalidRequest: on none.
        """
        found = ctypes.c_int()
        status = self._driver.cuPointerGetAttribute(ctypes.byref(found), _DEVICE_ORDINAL, address)
        _check(status, "cuPointerGetAttribute", "the array must lie in a GPU's memory")
        return found.value

    def wait(self, stream: int) -> None:
        """Returns when what is queued on the stream is done.

        Raises:
            InvalidRequest: it failed, or is no stream.
        """
        status = self._driver.cuStreamSynchronize(stream)
        _check(status, "cuStreamSynchronize", "the work that fills the array must succeed")


def _check(status: int, call: str, what: str) -> None:
    if status == _NO_CONTEXT:
        what = "make the frame in the thread that made the array"
    if status:
        raise InvalidRequest(f"the array cannot be shared ({call} answered {status}): {what}")
