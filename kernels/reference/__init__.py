"""NumPy twins of every kernel: the readable truth, in double precision, slow on purpose.

Called by tests only: `kernels.cpu` and the CUDA kernels must agree with these within a stated
tolerance. One module an operation, of the operation's name; reading order: `resize`, `rounding`,
then any. What is listed here is the CPU path's; a module and its function share a name, so import
others as `from kernels.reference.<op> import <op>`.
"""

from kernels.reference.alpha_statistics import (
    SUBJECT_LEVEL,
    UNSURE_ABOVE,
    AlphaStatistics,
    alpha_statistics,
    doubt,
)
from kernels.reference.alpha_to_source import alpha_to_source
from kernels.reference.composite import composite, cutout
from kernels.reference.multiply_alpha import multiply_alpha
from kernels.reference.resize import resize, weights
from kernels.reference.resize_normalise import Channels, Layout, Triple, resize_normalise

__all__ = [
    "SUBJECT_LEVEL",
    "UNSURE_ABOVE",
    "AlphaStatistics",
    "Channels",
    "Layout",
    "Triple",
    "alpha_statistics",
    "alpha_to_source",
    "composite",
    "cutout",
    "doubt",
    "multiply_alpha",
    "resize",
    "resize_normalise",
    "weights",
]
