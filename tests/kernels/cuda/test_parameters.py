"""The CPU build and the GPU's binary agree on every kernel's parameters, so that the widths which
the emulated device checks at each launch are the real ones.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from kernels.cuda.catalogue import FOLDER, entries, files, kernels
from kernels.cuda.source import PRELUDE, source_of
from kernels.device import DeviceError, Kernel
from kernels.image import IMAGE, JOB
from kernels.nvrtc import compile_file, compile_source, parameter_sizes
from tests.fakes.cuda_shim.module import load_module
from tests.fakes.emulated_device import EmulatedDevice
from tests.kernels.cuda.arrays import get
from tests.kernels.cuda.tools import missing, write_kernel

pytestmark = pytest.mark.usefixtures("needs_gcc")


@pytest.fixture(autouse=True, scope="module")
def _nvrtc() -> None:
    try:
        compile_source("", "nothing.cu", 90)
    except DeviceError as error:
        missing(str(error))


@pytest.mark.parametrize("file", files())
def test_both_builds_have_the_same_parameters(file: str) -> None:
    cubin, _ = compile_file(file, 90)
    module = load_module(file)
    on_cpu = {
        entry: tuple(parameter.nbytes for parameter in module.parameters(entry))
        for entry in entries(source_of(file))
    }
    assert parameter_sizes(cubin) == on_cpu


def test_every_file_has_a_kernel() -> None:
    assert [file for file in files() if not kernels(file)] == []


def test_the_hosts_structs_are_as_large_as_the_preludes() -> None:
    source = (FOLDER / PRELUDE).read_text(encoding="utf-8")
    kernel = 'extern "C" __global__ void sizes(Image image, Job job) {}'
    cubin, _ = compile_source(source + kernel, "sizes.cu", 90)
    assert parameter_sizes(cubin)["sizes"] == (IMAGE.itemsize, JOB.itemsize)


@pytest.mark.parametrize(("name", "dtype"), [("Image", IMAGE), ("Job", JOB)])
def test_the_hosts_fields_lie_where_the_preludes_do(
    tmp_path: Path, name: str, dtype: np.dtype[np.void]
) -> None:
    fields = dtype.fields
    assert fields is not None
    body = "".join(
        f"out[{index}] = __builtin_offsetof({name}, {field});\n"
        for index, field in enumerate(fields)
    )
    write_kernel(tmp_path, "offsets", "int *out", body)
    device = EmulatedDevice(folder=tmp_path)
    memory = device.allocate(4 * len(fields))
    stream = device.new_stream()
    arguments = (np.uintp(memory.address),)
    device.launch(Kernel("offsets", "offsets"), (1, 1, 1), (1, 1, 1), arguments, stream)
    found = get(device, memory, (len(fields),), np.int32)
    assert dict(zip(fields, found.tolist(), strict=True)) == {
        field: place[1] for field, place in fields.items()
    }
