"""Every kernel file compiles for every architecture without spilling, by the compiler and options
that a GPU's driver is given.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest

from kernels.cuda.catalogue import entries, files
from kernels.cuda.source import source_of
from kernels.device import DeviceError
from kernels.nvrtc import (
    ARCHITECTURES,
    Usage,
    compile_file,
    compile_source,
    main,
    parameter_sizes,
    usage,
)
from tests.kernels.cuda.tools import missing, write_kernel

EMPTY = 'extern "C" __global__ void empty() {}'


@pytest.fixture(autouse=True, scope="module")
def _nvrtc() -> None:
    try:
        compile_source(EMPTY, "empty.cu", 90)
    except DeviceError as error:
        missing(str(error))


@cache
def compiled(file: str, architecture: int) -> tuple[Usage, ...]:
    """What each kernel of a file takes; compiled once for all tests."""
    return usage(compile_file(file, architecture)[1])


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("file", files())
def test_every_kernel_compiles_without_spills(file: str, architecture: int) -> None:
    found = compiled(file, architecture)
    assert sorted(one.entry for one in found) == sorted(entries(source_of(file)))
    assert [one for one in found if one.spilled_bytes] == []


@pytest.mark.parametrize("file", files())
def test_every_kernel_fits_many_blocks_on_a_multiprocessor(file: str) -> None:
    # 255 registers of 256 threads fill one; 48 KiB is what a launch may have without asking.
    for one in compiled(file, 90):
        assert one.registers <= 128
        assert one.shared_bytes <= 48 * 1024


def test_a_mistake_is_reported_with_file_and_line(tmp_path: Path) -> None:
    write_kernel(tmp_path, "wrong", "float *out", "out[0] = 1;\nout[1] = nonsense;")
    with pytest.raises(DeviceError, match=r"wrong\.cu\(3\): error"):
        compile_file("wrong", 90, tmp_path)


def test_a_spill_is_seen(tmp_path: Path) -> None:
    body = """
        float v[64];
        for (int i = 0; i < 64; ++i) v[i] = in[i * 64 + threadIdx.x];
        for (int j = 0; j < 9; ++j)
            for (int i = 0; i < 64; ++i) v[i] = v[(i + 1) % 64] * v[i] + v[(i * 7) % 64];
        for (int i = 0; i < 64; ++i) out[i * 64 + threadIdx.x] = v[i];
    """
    write_kernel(tmp_path, "greedy", "const float *in, float *out", body)
    (roomy,) = usage(compile_file("greedy", 90, tmp_path)[1])
    (tight,) = usage(compile_file("greedy", 90, tmp_path, ("-maxrregcount=24",))[1])
    assert roomy.spilled_bytes == 0
    assert tight.spilled_bytes > 0


def test_shared_memory_and_registers_are_read_from_the_log(tmp_path: Path) -> None:
    body = "__shared__ float tile[300]; tile[threadIdx.x] = n; __syncthreads(); *out = tile[n];"
    write_kernel(tmp_path, "shares", "float *out, int n", body)
    (found,) = usage(compile_file("shares", 90, tmp_path)[1])
    assert found == Usage("shares", found.registers, 0, 0, 1200)
    assert 0 < found.registers < 32


def test_parameter_sizes_are_those_of_the_declaration(tmp_path: Path) -> None:
    parameters = "const u8 *a, int b, u8 c, Image image, float3 d, u64 e, double f, u16 g"
    write_kernel(tmp_path, "many", parameters, "")
    cubin, _ = compile_file("many", 75, tmp_path)
    assert parameter_sizes(cubin) == {"many": (8, 4, 1, 88, 12, 8, 8, 2)}


def test_the_command_refuses_a_file_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["nosuch.cu"]) == 2
    assert "there is no nosuch.cu; there are " in capsys.readouterr().out
