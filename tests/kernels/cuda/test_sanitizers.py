"""The kernel tests once more, in processes of their own: under the address and undefined-behaviour
sanitizers, with threads in other orders, and with contracted arithmetic.

Each run takes the small sizes only. What a GPU adds (compute-sanitizer's memcheck and racecheck) is
in `make gpu-check`.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fakes.cuda_shim.module import can_contract
from tests.kernels.cuda.tools import missing, write_kernel

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900), pytest.mark.usefixtures("needs_gcc")]

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
OTHERS = (
    *("test_sanitizers.py", "test_nvrtc.py", "test_parameters.py"),
    *("test_shim.py", "test_documentation.py"),  # these run no kernel of ours
)
PLANT = """
import sys
from pathlib import Path
import numpy as np
from kernels.device import Kernel
from tests.fakes.cuda_shim.module import SANITIZED
from tests.fakes.emulated_device import EmulatedDevice

device = EmulatedDevice(flags=SANITIZED, folder=Path(sys.argv[1]))
memory = device.allocate(64 * 4)
arguments = (np.uintp(memory.address), np.int32(sys.argv[2]))
device.launch(Kernel("planted", "planted"), (1, 1, 1), (64, 1, 1), arguments, device.new_stream())
print("went well")
"""


def _library(name: str) -> str:
    found = subprocess.run(
        ["g++", f"-print-file-name={name}"], capture_output=True, text=True, check=True
    ).stdout.strip()
    if not Path(found).is_absolute():
        missing(f"g++ has no {name}: install its sanitizers")
    return found


def _run(command: list[str], **settings: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "MATTESTREAM_SHIM_SMALL": "1", **settings}
    return subprocess.run(
        [sys.executable, *command],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def _run_sanitized(command: list[str]) -> subprocess.CompletedProcess[str]:
    return _run(
        command,
        MATTESTREAM_SHIM_BUILD="sanitized",
        LD_PRELOAD=f"{_library('libasan.so')} {_library('libubsan.so')}",
        # Python frees little at its end, and fibres are stacks that ASan did not make.
        ASAN_OPTIONS="detect_leaks=0:detect_stack_use_after_return=0",
        UBSAN_OPTIONS="print_stacktrace=1",
        PYTHONMALLOC="malloc",
    )


KERNEL_TESTS = [
    *("-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "not slow"),
    f"--confcutdir={HERE.parent}",
    *(f"--ignore={HERE / name}" for name in OTHERS),
    str(HERE),
]


def test_kernels_touch_only_their_memory_and_do_nothing_undefined() -> None:
    done = _run_sanitized(KERNEL_TESTS)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-8000:]


@pytest.mark.parametrize("order", ["backward", "strided"])
def test_results_do_not_depend_on_the_order_of_threads_and_blocks(order: str) -> None:
    done = _run(KERNEL_TESTS, MATTESTREAM_SHIM_ORDER=order)
    assert done.returncode == 0, done.stdout[-4000:]


def test_results_stay_in_tolerance_when_the_compiler_contracts() -> None:
    if not can_contract():
        pytest.skip("this processor has no fused multiply-add")
    done = _run(KERNEL_TESTS, MATTESTREAM_SHIM_BUILD="contracted")
    assert done.returncode == 0, done.stdout[-4000:]


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ("out[threadIdx.x + n] = 1;", "heap-buffer-overflow"),
        ("out[threadIdx.x] = out[(int)threadIdx.x - n];", "heap-buffer-overflow"),
        (
            "__shared__ int t[64]; t[threadIdx.x + n] = 1; out[threadIdx.x] = t[threadIdx.x];",
            "(global-buffer-overflow|index 64 out of bounds)",
        ),
        ("out[threadIdx.x] = n << 40 * n;", "shift exponent"),
        ("*(float4 *)(out + n) = make_float4(1, 2, 3, 4);", "misaligned address"),
        ("out[threadIdx.x] = 2147483647 + n;", "signed integer overflow"),
    ],
    ids=["write", "read", "shared", "shift", "alignment", "overflow"],
)
def test_a_planted_mistake_is_reported(tmp_path: Path, body: str, sentence: str) -> None:
    write_kernel(tmp_path, "planted", "int *out, int n", body)
    harmless = _run_sanitized(["-c", PLANT, str(tmp_path), "0"])
    assert harmless.stdout == "went well\n", harmless.stderr
    done = _run_sanitized(["-c", PLANT, str(tmp_path), "1"])
    assert done.returncode != 0
    assert "went well" not in done.stdout
    assert re.search(sentence, done.stderr), done.stderr
    assert "planted.cu:2" in done.stderr
