"""The CPU build of CUDA C++: barriers, warp exchanges, atomics, built-in functions, and how their
misuse is reported.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import count
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from kernels.device import DeviceError, Kernel
from tests.fakes.cuda_shim.module import CONTRACTED, EXACT, Order
from tests.fakes.emulated_device import EmulatedDevice
from tests.kernels.cuda.arrays import get, put
from tests.kernels.cuda.tools import write_kernel

pytestmark = pytest.mark.usefixtures("needs_gcc")
Run = Callable[..., NDArray[np.generic]]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """`run(body, result, threads=, blocks=, order=)`: the body of a kernel with the parameters
    (T *out, int n) runs on a copy of `result`, whose new state comes back.
    """
    numbers = count()

    def run(
        body: str,
        result: NDArray[np.generic],
        *,
        threads: int | tuple[int, int, int] = 64,
        blocks: int = 1,
        order: Order = Order.FORWARD,
        flags: tuple[str, ...] = EXACT,
    ) -> NDArray[np.generic]:
        types = {
            "float32": "float",
            "int32": "int",
            "uint32": "u32",
            "uint64": "u64",
            "uint16": "u16",
            "uint8": "u8",
        }
        folder = tmp_path / str(next(numbers))
        folder.mkdir()
        write_kernel(folder, "k", f"{types[result.dtype.name]} *out, int n", body)
        device = EmulatedDevice(order=order, flags=flags, folder=folder)
        stream = device.new_stream()
        memory = put(device, result)
        shape = threads if isinstance(threads, tuple) else (threads, 1, 1)
        arguments = (np.uintp(memory.address), np.int32(result.size))
        device.launch(Kernel("k", "k"), (blocks, 1, 1), shape, arguments, stream)
        return get(device, memory, result.shape, result.dtype)

    return run


REVERSE = """
    __shared__ int tile[64];
    tile[threadIdx.x] = out[threadIdx.x];
    BARRIER
    out[threadIdx.x] = tile[63 - threadIdx.x];
"""


@pytest.mark.parametrize("order", Order)
def test_a_barrier_shows_every_thread_what_the_others_wrote(run: Run, order: Order) -> None:
    values = np.arange(64, dtype=np.int32)
    result = run(REVERSE.replace("BARRIER", "__syncthreads();"), values, order=order)
    assert np.array_equal(result, values[::-1])


@pytest.mark.parametrize("order", Order)
def test_a_missing_barrier_spoils_the_result_in_every_order(run: Run, order: Order) -> None:
    values = np.arange(64, dtype=np.int32)
    assert not np.array_equal(
        run(REVERSE.replace("BARRIER", ""), values, order=order), values[::-1]
    )


def test_a_race_that_one_order_hides_shows_in_another(run: Run) -> None:
    # Each thread reads its left neighbour's value: right by luck when threads run left to right.
    body = """
        __shared__ int tile[64];
        tile[threadIdx.x] = (int)threadIdx.x;
        out[threadIdx.x] = threadIdx.x ? tile[threadIdx.x - 1] : 0;
    """
    wanted = np.maximum(np.arange(64) - 1, 0)
    right = {
        order.name: np.array_equal(run(body, np.zeros(64, np.int32), order=order), wanted)
        for order in Order
    }
    assert right == {"FORWARD": True, "BACKWARD": False, "STRIDED": False}


def test_shared_memory_of_a_new_block_is_garbage(run: Run) -> None:
    body = "__shared__ float sum; sum += 1.0f; out[blockIdx.x] = sum;"
    assert np.isnan(run(body, np.zeros(3, np.float32), threads=1, blocks=3)).all()


def test_threads_go_on_from_barrier_to_barrier_in_a_loop(run: Run) -> None:
    body = """
        __shared__ int value[64];
        value[threadIdx.x] = threadIdx.x;
        for (int step = 0; step < 10; ++step) {
            __syncthreads();
            int right = value[(threadIdx.x + 1) % 64];
            __syncthreads();
            value[threadIdx.x] = right;
        }
        out[threadIdx.x] = value[threadIdx.x];
    """
    result = run(body, np.zeros(64, np.int32), order=Order.STRIDED)
    assert np.array_equal(result, (np.arange(64) + 10) % 64)


def test_indices_count_along_x_first(run: Run) -> None:
    body = """
        int at = threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z);
        out[at] = threadIdx.x + 10 * threadIdx.y + 100 * threadIdx.z;
    """
    result = run(body, np.zeros(24, np.int32), threads=(4, 3, 2))
    z, y, x = np.mgrid[:2, :3, :4]
    assert np.array_equal(result, (x + 10 * y + 100 * z).reshape(-1))


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (
            "if (threadIdx.x < 32)\n__syncthreads();\nelse\n__syncthreads();",
            r"divergent code: some threads wait at k\.cu:3, others at k\.cu:5",
        ),
        (
            "if (threadIdx.x < 40) return;\n__syncthreads();",
            r"barrier at k\.cu:3: 40 of 64 threads ended before it",
        ),
        (
            "if (threadIdx.x < 16)\n__syncwarp(0xffffffffu);\n__syncthreads();",
            r"deadlock: threads wait at k\.cu:3 \(lanes\) and at k\.cu:4 \(the block\)",
        ),
        (
            "if (threadIdx.x % 32 < 20) out[0] = __shfl_down_sync(0xffffffffu, n, 1);",
            r"k\.cu:2: its mask 0xffffffff names lane 20, which has ended",
        ),
        (
            "if (threadIdx.x % 2) __syncwarp(0x55555555u);",
            r"k\.cu:2: lane 1 is not in its own mask 0x55555555",
        ),
    ],
    ids=["divergent", "ended", "deadlock", "a lane has ended", "foreign mask"],
)
def test_a_misused_barrier_is_an_error_with_its_line(run: Run, body: str, sentence: str) -> None:
    with pytest.raises(DeviceError, match=sentence):
        run(body, np.zeros(1, np.int32))


def test_a_mask_that_names_lanes_the_block_lacks_is_an_error(run: Run) -> None:
    with pytest.raises(DeviceError, match="names lane 24, which the block lacks"):
        run("out[0] = __shfl_sync(0xffffffffu, n, 0);", np.zeros(1, np.int32), threads=24)


def test_a_launch_goes_well_after_one_that_failed(run: Run) -> None:
    with pytest.raises(DeviceError):
        run("if (threadIdx.x) __syncthreads();", np.zeros(1, np.int32))
    assert run("__syncthreads(); out[threadIdx.x] = 3;", np.zeros(64, np.int32)).sum() == 192


@pytest.mark.parametrize("threads", [(1025, 1, 1), (1, 1, 65), (0, 1, 1)])
def test_a_block_that_no_gpu_takes_is_an_error(run: Run, threads: tuple[int, int, int]) -> None:
    with pytest.raises(DeviceError, match="invalid launch"):
        run("out[0] = 1;", np.zeros(1, np.int32), threads=threads)


LANES = np.arange(64) % 32
WARPS = np.arange(64) // 32 * 32


@pytest.mark.parametrize("order", Order)
@pytest.mark.parametrize(
    ("call", "source"),
    [
        ("__shfl_sync(0xffffffffu, v, 5)", WARPS + 5),
        ("__shfl_sync(0xffffffffu, v, 3, 8)", WARPS + LANES // 8 * 8 + 3),
        ("__shfl_up_sync(0xffffffffu, v, 4)", WARPS + np.where(LANES < 4, LANES, LANES - 4)),
        ("__shfl_down_sync(0xffffffffu, v, 4)", WARPS + np.where(LANES > 27, LANES, LANES + 4)),
        (
            "__shfl_down_sync(0xffffffffu, v, 3, 8)",
            WARPS + np.where(LANES % 8 > 4, LANES, LANES + 3),
        ),
        ("__shfl_xor_sync(0xffffffffu, v, 9)", WARPS + (LANES ^ 9)),
    ],
)
def test_shuffles_read_the_lane_that_they_name(
    run: Run, call: str, source: NDArray[np.int64], order: Order
) -> None:
    body = f"int v = 100 + threadIdx.x; out[threadIdx.x] = {call};"
    assert np.array_equal(run(body, np.zeros(64, np.int32), order=order), 100 + source)


def test_shuffles_carry_floats_and_64_bits(run: Run) -> None:
    body = """
        u64 wide = __shfl_xor_sync(0xffffffffu, (u64)threadIdx.x << 40, 1);
        float real = __shfl_xor_sync(0xffffffffu, 0.5f * threadIdx.x, 1);
        out[threadIdx.x] = (float)(wide >> 40) + real;
    """
    result = run(body, np.zeros(32, np.float32), threads=32)
    assert np.array_equal(result, 1.5 * (np.arange(32) ^ 1))


def test_half_a_warp_may_exchange_alone(run: Run) -> None:
    body = """
        int v = threadIdx.x;
        if (v < 16) for (int d = 8; d; d /= 2) v += __shfl_xor_sync(0xffffu, v, d);
        out[threadIdx.x] = v;
    """
    result = run(body, np.zeros(32, np.int32), threads=32)
    assert result.tolist() == [120] * 16 + list(range(16, 32))


def test_votes_count_the_lanes_that_say_yes(run: Run) -> None:
    body = """
        const bool odd = threadIdx.x & 1;
        out[0] = __ballot_sync(0xffffffffu, odd);
        out[1] = __any_sync(0xffffffffu, threadIdx.x == 40);
        out[2] = __all_sync(0xffffffffu, threadIdx.x < 64);
        out[3] = __syncthreads_count(odd);
        out[4] = __syncthreads_or(threadIdx.x == 40);
        out[5] = __syncthreads_and(odd);
    """
    result = run(body, np.zeros(6, np.uint32))
    assert result.tolist() == [0xAAAAAAAA, 1, 1, 32, 1, 0]


@pytest.mark.parametrize(
    ("call", "dtype", "start", "wanted"),
    [
        ("atomicAdd(out, 2)", np.int32, 1, 129),
        ("atomicAdd(out, 2u)", np.uint32, 1, 129),
        ("atomicAdd(out, (u64)1 << 33)", np.uint64, 1, (1 << 39) + 1),
        ("atomicAdd(out, 0.5f)", np.float32, 1, 33),
        ("atomicMax(out, (int)threadIdx.x - 70)", np.int32, -80, -7),
        ("atomicMin(out, (int)threadIdx.x - 70)", np.int32, 0, -70),
        ("atomicMax(out, (u64)threadIdx.x << 40)", np.uint64, 0, 63 << 40),
        ("atomicOr(out, 1u << threadIdx.x % 32)", np.uint32, 0, 0xFFFFFFFF),
        ("atomicAnd(out, ~(1u << threadIdx.x % 4))", np.uint32, 0xFF, 0xF0),
        ("atomicCAS(out, (int)threadIdx.x, (int)threadIdx.x + 1)", np.int32, 0, 64),
        ("atomicExch(out, 7)", np.int32, 0, 7),
    ],
)
def test_atomics_see_every_thread(
    run: Run, call: str, dtype: type[np.generic], start: int, wanted: int
) -> None:
    result = run(f"{call};", np.array([start], dtype))
    assert result[0] == wanted


def test_rounding_and_bit_functions_are_those_of_the_device(run: Run) -> None:
    body = """
        out[0] = rintf(2.5f);
        out[1] = __float2int_rn(-0.5f);
        out[2] = __saturatef(-1.0f) + __saturatef(7.0f);
        out[3] = __popc(0xF0F0u) + __clz(1) + __ffs(8);
        out[4] = fminf(fmaxf(0.0f, -1.0f), 5.0f);
        out[5] = __uint_as_float(__float_as_uint(1.25f));
        out[6] = min(3, 2) + max(3u, 9u);
        out[7] = rsqrtf(4.0f) + __fdividef(1.0f, 4.0f);
    """
    result = run(body, np.zeros(8, np.float32), threads=1)
    assert result.tolist() == [2, 0, 1, 8 + 31 + 4, 0, 1.25, 11, 0.75]


def test_halves_are_those_of_numpy_to_the_last_bit(run: Run) -> None:
    values = np.array([0, 1, -2.5, 65504, 65519, 65520, 1e-8, 6e-8, 0.1, 2049, 2051], np.float32)
    numbers = ", ".join(f"{value!r}f" for value in values.tolist())
    with np.errstate(over="ignore"):
        wanted = values.astype(np.float16).view(np.uint16)
    body = f"""
        const float values[] = {{{numbers.replace("0f,", "0f,")}}};
        out[threadIdx.x] = half_bits(from_half(half_bits(values[threadIdx.x])));
    """
    result = run(body, np.zeros(values.size, np.uint16), threads=values.size)
    assert np.array_equal(result, wanted)


def test_vector_types_have_the_sizes_and_alignments_of_the_device(run: Run) -> None:
    body = """
        out[0] = sizeof(uchar4) * 10 + alignof(uchar4);
        out[1] = sizeof(float3) * 10 + alignof(float3);
        out[2] = sizeof(float4) * 10 + alignof(float4);
        out[3] = sizeof(int2) * 10 + alignof(int2);
        out[4] = sizeof(ushort4) * 10 + alignof(ushort4);
        const uchar4 colour = make_uchar4(1, 2, 3, 4);
        out[5] = colour.x + 10 * colour.w;
    """
    assert run(body, np.zeros(6, np.int32), threads=1).tolist() == [44, 124, 176, 88, 88, 41]


def test_contracted_builds_round_differently_where_a_kernel_lets_them(run: Run) -> None:
    # Guards the other tests: the two builds must really differ for them to mean something.
    start = np.array([1 + 2**-12], np.float32)
    fused = "out[0] = out[0] * out[0] - 1.0f;"
    apart = "out[0] = __fadd_rn(__fmul_rn(out[0], out[0]), -1.0f);"
    assert run(fused, start, threads=1) == 2**-11
    assert run(fused, start, threads=1, flags=CONTRACTED) == 2**-11 + 2**-24
    assert run(apart, start, threads=1, flags=CONTRACTED) == 2**-11


def test_a_compiler_message_names_the_kernels_file_and_line(run: Run) -> None:
    with pytest.raises(DeviceError, match=re.compile(r"^k\.cu:3:.*nonsense", re.MULTILINE)):
        run("int a = n;\nout[0] = nonsense(a);", np.zeros(1, np.int32))
