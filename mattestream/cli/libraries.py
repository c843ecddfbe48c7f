"""The libraries of the extras, in one table: `doctor` shows it, `failures` knows them by it."""

from __future__ import annotations

import ctypes.util
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata

EXTRA = "pip install 'mattestream[server]'"
GPU_EXTRA = "pip install 'mattestream[gpu]'"


@dataclass(frozen=True, slots=True)
class Library:
    """One library of an extra and what it gives.

    Attributes:
        module: its name for `import`; of several builds with one module, empty.
        distribution: its name for pip.
        gives: what it is for, in a few words.
        required: False when the application does without it.
        without: what its absence costs, in words; empty: see `gives`.
        command: what adds it.
        shared_object: the name of a system library that does as well: "nvrtc".
    """

    module: str
    distribution: str
    gives: str
    required: bool = True
    without: str = ""
    command: str = EXTRA
    shared_object: str = ""


SERVER_LIBRARIES = (
    Library("onnxruntime", "onnxruntime", "runs the models"),
    Library("cv2", "opencv-python-headless", "resizing and compositing"),
    Library("simplejpeg", "simplejpeg", "JPEG"),
    Library("PIL", "pillow", "WebP, AVIF, TIFF, GIF, BMP"),
    Library("structlog", "structlog", "logs"),
    Library("prometheus_client", "prometheus-client", "metrics"),
    Library("grpc_health", "grpcio-health-checking", "health service"),
    Library("grpc_reflection", "grpcio-reflection", "reflection service"),
    Library("grpc_status", "grpcio-status", "details of errors"),
    Library("google.rpc", "googleapis-common-protos", "details of errors"),
    Library("starlette", "starlette", "the HTTP gateway"),
    Library("uvicorn", "uvicorn", "the HTTP gateway"),
    Library("python_multipart", "python-multipart", "forms of the HTTP gateway"),
    Library("isal", "isal", "fast PNG, else zlib (4 to 10 times slower)", required=False),
)
GPU_LIBRARIES = (
    Library(
        "cupy",
        "cupy-cuda13x",
        "GPU memory, streams and kernels",
        without="no model runs on the GPU",
        command=GPU_EXTRA,
    ),
    Library(
        "",
        "nvidia-cuda-nvrtc",
        "compiles the kernels at the start",
        without="no kernel can be compiled, so no model runs on the GPU",
        command="pip install 'nvidia-cuda-nvrtc==13.*'",
        shared_object="nvrtc",
    ),
    Library(
        "tensorrt",
        "tensorrt-cu13",
        "runs the models, the fastest engine",
        required=False,
        without="models run by TensorRT-RTX, else by ONNX Runtime where that has CUDA",
        command="pip install tensorrt-cu13",
    ),
    Library(
        "onnxconverter_common",
        "onnxconverter-common",
        "halves a model's precision for TensorRT",
        required=False,
        without="TensorRT runs models in the precision of their file, most of them in fp32",
        command="pip install onnx onnxconverter-common",
    ),
    Library(
        "tensorrt_rtx",
        "tensorrt_rtx",
        "runs the models on RTX GPUs",
        required=False,
        without="nothing changes where TensorRT is",
        command="pip install tensorrt_rtx",
    ),
    Library(
        "",
        "onnxruntime-gpu",
        "runs the models without a plan to build first",
        required=False,
        without="--engine onnx runs on the CPU only; TensorRT is not affected",
        command="pip uninstall -y onnxruntime && pip install 'onnxruntime-gpu[cuda,cudnn]'",
    ),
    Library(
        "nvidia.nvimgcodec",
        "nvidia-nvimgcodec-cu13",
        "decodes JPEG on the GPU",
        required=False,
        without="JPEG is decoded on the CPU, and its pixels cross the bus instead of its file",
        command="pip install 'nvidia-nvimgcodec-cu13[nvjpeg]'",
    ),
    Library(
        "pycuda",
        "pycuda",
        "page-locks shared memory",
        required=False,
        without="shared memory is page-locked by CuPy; nothing else changes",
        command="pip install 'mattestream[pycuda]'",
    ),
)
TENSORRT = frozenset(("tensorrt-cu13", "tensorrt_rtx"))  # either will do


def installed(
    library: Library, find_library: Callable[[str], str | None] = ctypes.util.find_library
) -> str:
    """The version; "installed" when it is there under another name; empty when it is missing.

    Nothing is imported: some of these take seconds, some print.
    """
    try:
        return metadata.version(library.distribution)
    except metadata.PackageNotFoundError:  # or another build of it: cupy-cuda12x, tensorrt
        pass
    if library.module and _has_module(library.module):
        return "installed"
    if library.shared_object and (found := find_library(library.shared_object)):
        return found
    return ""


def _has_module(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:  # its parent package is not there
        return False
