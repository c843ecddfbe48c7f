"""A model without a network: the picture is keyed on the colour of the screen behind its subject.

Made by `models.registry` from a manifest whose method is "chroma-key"; used by
`server.key_pipeline`, which runs it on the CPU at the picture's own size.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from kernels.cpu.chroma_key import chroma_key
from models.manifest import Manifest

U8 = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class HostLibrary:
    """What stands in a report where the engine of other models does."""

    name: str = f"opencv {cv2.__version__}"
    device: str = "cpu"
    precision: str = "fp32"


class KeyModel:
    """A manifest and what a report says of it. Safe to use from several threads at once.

    Args:
        manifest: what the model is.
        threads: runs that may go on at once.
    """

    weights_sha256 = ""  # there are none
    max_batch = 1
    output_shape = ()  # nor has it tensors

    def __init__(self, manifest: Manifest, *, threads: int = 1) -> None:
        self.manifest = manifest
        self.engine = HostLibrary()
        self.max_concurrent_runs = threads

    def warm(self) -> None:
        """Keys a blank screen once, so that the first request pays for nothing."""
        chroma_key(np.full((16, 16, 3), (0, 177, 64), np.uint8), (0, 177, 64))

    def close(self) -> None:
        """Nothing: it holds no memory."""
