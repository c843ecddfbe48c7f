"""The libraries of the extras, in one table: `doctor` shows it, `failures` knows them by it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Library:
    """One library of an extra and what it gives.

    Attributes:
        module: its name for `import`.
        distribution: its name for pip.
        gives: what it is for, in a few words.
        required: False when the application does without it.
    """

    module: str
    distribution: str
    gives: str
    required: bool = True


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
    Library("isal", "isal", "fast PNG, else zlib (4 to 10 times slower)", required=False),
)
GPU_LIBRARIES = (
    Library("tensorrt", "tensorrt-cu13", "TensorRT engines", required=False),
    Library("cupy", "cupy-cuda13x", "GPU kernels", required=False),
    Library("pycuda", "pycuda", "page-locked shared memory", required=False),
)
