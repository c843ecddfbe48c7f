"""`python -m loadtest.gpu_check --out FOLDER`: the sections, then one table and one file.

Exit code: 0 when nothing failed (skipped rows are no failure), 1 when something did, 2 when there
is no GPU to check.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import tempfile
import time
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

from loadtest.gpu_check import rows as table
from loadtest.gpu_check.sections import ROOT, SECTIONS, append_to, run_all, run_here

RESULTS = ROOT / "loadtest" / "results"
DISTRIBUTIONS = (
    *("numpy", "cupy-cuda13x", "nvidia-cuda-nvrtc", "torch", "tensorrt", "tensorrt-cu13"),
    *("tensorrt_rtx", "onnxruntime", "onnxruntime-gpu", "pycuda", "opencv-python-headless"),
)
NO_GPU = 2


def machine() -> dict[str, object]:
    """What the figures depend on; no host name, no paths."""
    versions = {"python": platform.python_version()}
    for name in DISTRIBUTIONS:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = "absent"
    return {
        **_gpus(),
        "cpu cores": len(os.sched_getaffinity(0)),
        "kernel": f"{platform.system()} {platform.release()}",
        "versions": versions,
        "commit": commit(),
    }


def _gpus() -> dict[str, object]:
    """By CuPy, which the check cannot do without; the reason when it sees none."""
    from kernels.device import DeviceError
    from kernels.gpus import devices, import_cupy

    try:
        found = devices()
        driver = import_cupy().cuda.runtime.driverGetVersion()
    except DeviceError as error:
        return {"gpus": [], "driver": str(error)}
    named = [
        f"{gpu.name}, compute capability {gpu.capability[0]}.{gpu.capability[1]}" for gpu in found
    ]
    return {"gpus": named, "driver": f"CUDA {driver // 1000}.{driver % 1000 // 10}"}


def commit() -> str:
    """The checkout's commit: MATTESTREAM_COMMIT where there is no git, else "unknown"."""
    told = os.environ.get("MATTESTREAM_COMMIT", "")
    if told:
        return told
    try:
        from loadtest import report
    except ImportError:  # psutil
        return "unknown"
    return report.commit()


def main(arguments: Sequence[str]) -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(prog="loadtest.gpu_check", description=__doc__)
    names = [section.name for section in SECTIONS]
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the JSON file")
    parser.add_argument("--only", nargs="+", choices=names, help="these sections and no others")
    parser.add_argument("--section", choices=names, help=argparse.SUPPRESS)
    parser.add_argument("--rows", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.section:
        (section,) = (each for each in SECTIONS if each.name == options.section)
        run_here(section, append_to(options.rows))
        return 0
    facts = machine()
    if not facts["gpus"]:
        print(f"gpu-check needs an NVIDIA GPU: {facts['driver']}; nothing was checked")
        return NO_GPU
    chosen = [section for section in SECTIONS if section.name in (options.only or names)]
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="mattestream-gpu-check-") as folder:
        rows = run_all(chosen, Path(folder))
    facts["seconds"] = round(time.monotonic() - started)
    facts["command"] = "python -m loadtest.gpu_check" + (
        f" --only {' '.join(options.only)}" if options.only else ""
    )
    table.print_table(rows)
    path = table.write_json(rows, facts, options.out)
    print(f"\n{table.summary(rows)} in {facts['seconds']} s; written: {path}")
    return int(table.any_failed(rows))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
