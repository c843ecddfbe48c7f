"""Every kernel compiled for every architecture, without a GPU: `python -m kernels.nvrtc [files]`.

Prints registers, spilled bytes and static shared memory of each kernel, and fails when one does not
compile or spills. Also reads a compiled kernel's own table of parameters, which the tests compare
with what launchers pass. Run by CI and by whoever writes a kernel; the server compiles through
`kernels.cupy_device`, with the same options.
"""

from __future__ import annotations

import re
import struct
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from kernels.cuda.catalogue import FOLDER, files
from kernels.cuda.source import source_of
from kernels.device import DeviceError

ARCHITECTURES = (75, 80, 86, 89, 90, 100, 120)
# What CuPy adds to the device's own options, so that this compiles what will run.
OPTIONS = ("-std=c++17", "-lineinfo", "-ftz=true", "--device-as-default-execution-space")

_FUNCTION = re.compile(r"Compiling entry function '(\w+)'")
_SPILLS = re.compile(r"(\d+) bytes spill stores, (\d+) bytes spill loads")
_STACK = re.compile(r"(\d+) bytes stack frame")
_REGISTERS = re.compile(r"Used (\d+) registers")
_SHARED = re.compile(r"(\d+) bytes smem")


@dataclass(frozen=True, slots=True)
class Usage:
    """What one kernel takes of a multiprocessor."""

    entry: str
    registers: int  # per thread
    spilled_bytes: int  # per thread, stores and loads
    stack_bytes: int  # per thread: arrays that do not fit into registers
    shared_bytes: int  # per block, static


def compile_source(
    source: str, name: str, architecture: int, options: tuple[str, ...] = ()
) -> tuple[bytes, str]:
    """The cubin of a source text and the compiler's log.

    Args:
        source: the whole text.
        name: for the compiler's messages.
        architecture: 90 for sm_90.
        options: more options of NVRTC.

    Raises:
        DeviceError: NVRTC is not installed, or it refuses; its log is in the message.
    """
    try:
        nvrtc: Any = import_module("cupy_backends.cuda.libs.nvrtc")
        nvrtc.getVersion()  # the library itself is loaded with the first call
    except (ImportError, RuntimeError) as error:
        raise DeviceError(
            f"kernels are compiled by NVRTC through CuPy, which does not load ({error}):"
            ' pip install "cupy-cuda13x>=14" "nvidia-cuda-nvrtc==13.*"'
        ) from error
    program = nvrtc.createProgram(source, name, (), ())
    try:
        nvrtc.compileProgram(
            program, (f"-arch=sm_{architecture}", *OPTIONS, "--ptxas-options=-v", *options)
        )
        return bytes(nvrtc.getCUBIN(program)), str(nvrtc.getProgramLog(program))
    except nvrtc.NVRTCError as error:
        log = nvrtc.getProgramLog(program)
        raise DeviceError(f"{name} does not compile for sm_{architecture}:\n{log}") from error
    finally:
        nvrtc.destroyProgram(program)


def compile_file(
    file: str, architecture: int, folder: Path = FOLDER, options: tuple[str, ...] = ()
) -> tuple[bytes, str]:
    """`compile_source` of a kernel file, prelude included."""
    return compile_source(source_of(file, folder), f"{file}.cu", architecture, options)


def usage(log: str) -> tuple[Usage, ...]:
    """What a compiler's log says of each kernel, in its order."""
    found = []
    parts = _FUNCTION.split(log)[1:]
    for entry, text in zip(parts[::2], parts[1::2], strict=True):
        spilled = sum(int(stores) + int(loads) for stores, loads in _SPILLS.findall(text))
        found.append(
            Usage(
                entry,
                _figure(_REGISTERS, text),
                spilled,
                _figure(_STACK, text),
                _figure(_SHARED, text),
            )
        )
    return tuple(found)


def _figure(pattern: re.Pattern[str], text: str) -> int:
    match = pattern.search(text)
    return int(match[1]) if match else 0  # ptxas leaves out what is zero


def parameter_sizes(cubin: bytes) -> dict[str, tuple[int, ...]]:
    """Bytes of each parameter of each kernel, as the compiled binary itself says.

    The section `.nv.info.<kernel>` of the ELF file is a list of attributes: a byte for the format,
    a byte for the attribute, two bytes that are its value or, in format 4, its size. Attribute 0x17
    describes a parameter: its number in the upper half of the second word, its size in the upper
    14 bits of the third (layout seen in binaries of NVRTC 13; NVIDIA documents the name
    EIATTR_KPARAM_INFO only).
    """
    found = {}
    for name, section in _sections(cubin):
        if not name.startswith(".nv.info."):
            continue
        sizes: dict[int, int] = {}
        at = 0
        while at + 4 <= len(section):
            form, attribute, value = struct.unpack_from("<BBH", section, at)
            at += 4
            if form != 4:
                continue
            if attribute == 0x17:
                _, number, flags = struct.unpack_from("<III", section, at)
                sizes[number & 0xFFFF] = flags >> 18
            at += value
        found[name.removeprefix(".nv.info.")] = tuple(sizes[index] for index in sorted(sizes))
    return found


def _sections(elf: bytes) -> Iterator[tuple[str, bytes]]:
    """Name and contents of each section of a 64-bit little-endian ELF file."""
    if elf[:6] != b"\x7fELF\x02\x01":
        raise ValueError("not a 64-bit little-endian ELF file")
    (table,) = struct.unpack_from("<Q", elf, 0x28)
    entry_bytes, count, names_at = struct.unpack_from("<HHH", elf, 0x3A)
    heads = [
        struct.unpack_from("<IIQQQQ", elf, table + index * entry_bytes) for index in range(count)
    ]
    names = heads[names_at]
    text = elf[names[4] : names[4] + names[5]]
    for head in heads:
        name = text[head[0] : text.index(b"\0", head[0])].decode()
        yield name, elf[head[4] : head[4] + head[5]]


def main(names: list[str]) -> int:
    """The exit status: 0 when all compiled and nothing spilled."""
    failed = False
    row = "{:<20} {:<32} {:>4} {:>10} {:>8} {:>6} {:>7}\n"
    out = sys.stdout
    out.write(row.format("file", "kernel", "sm", "registers", "spilled", "stack", "shared"))
    for file in [Path(name).stem for name in names] or files():
        try:
            source = source_of(file)
        except FileNotFoundError:
            out.write(f"there is no {file}.cu; there are {', '.join(files())}\n")
            return 2
        for architecture in ARCHITECTURES:
            try:
                _, log = compile_source(source, f"{file}.cu", architecture)
            except DeviceError as error:
                out.write(f"{error}\n")
                failed = True
                continue
            for one in usage(log):
                figures = (one.registers, one.spilled_bytes, one.stack_bytes, one.shared_bytes)
                out.write(row.format(file, one.entry, architecture, *figures))
                failed = failed or one.spilled_bytes > 0
    out.write("FAILED: see above for errors and spills\n" if failed else "no spills\n")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
