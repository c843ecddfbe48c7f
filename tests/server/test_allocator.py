"""The allocator's restart: once, only where it helps, and never against the operator's word."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from server import allocator


@pytest.mark.parametrize(
    ("environ", "libc", "wanted"),
    [
        ({}, "glibc", True),
        ({}, "", False),
        ({"MATTESTREAM_ALLOCATOR": "off"}, "glibc", False),
        ({"MATTESTREAM_ALLOCATOR": "tuned"}, "glibc", False),
        ({"LD_PRELOAD": "libmimalloc.so"}, "glibc", False),
        ({"MALLOC_TRIM_THRESHOLD_": "1"}, "glibc", False),
        ({"GLIBC_TUNABLES": "glibc.malloc.check=3"}, "glibc", False),
    ],
)
def test_a_restart_is_wanted_only_where_it_changes_something(
    environ: dict[str, str], libc: str, wanted: bool
) -> None:
    assert allocator.wanted(environ, libc=libc) is wanted


@pytest.mark.skipif(not allocator.wanted({}), reason="this machine's C library is not glibc")
def test_the_process_is_replaced_by_itself_with_the_settings() -> None:
    calls: list[tuple[str, list[str], dict[str, str]]] = []
    allocator.ensure(
        {"HOME": "/h"}, ["-m", "mattestream", "serve"], execve=lambda *call: calls.append(call)
    )
    ((path, argv, environ),) = calls
    assert path == sys.executable
    assert argv == [sys.executable, "-m", "mattestream", "serve"]
    assert environ == {"HOME": "/h", **allocator.SETTINGS, "MATTESTREAM_ALLOCATOR": "tuned"}


@pytest.mark.skipif(not allocator.wanted({}), reason="this machine's C library is not glibc")
def test_a_real_process_restarts_exactly_once() -> None:
    program = (
        "import os, sys; from server import allocator; "
        "print('start', flush=True); allocator.ensure(os.environ, sys.orig_argv[1:]); "
        "print(os.environ['MALLOC_MMAP_THRESHOLD_'], sys.argv[1])"
    )
    environ = {name: value for name, value in os.environ.items() if "MALLOC" not in name}
    environ.pop("MATTESTREAM_ALLOCATOR", None)
    done = subprocess.run(
        [sys.executable, "-c", program, "an argument"],
        env=environ,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split("\n")[:3] == ["start", "start", "4294967296 an argument"]
