"""The OpenCV fast path of every kernel, one file each, tested against the twins of the same names
in `kernels.reference` (see there for definitions).

Called by `models.model` (prepare) and `server.host_pipeline`, `server.finishing` (the rest), from
worker threads: every call runs in its caller's thread once the server has set
`cv2.setNumThreads(1)`, and lets go of the GIL while it works.
"""

from kernels.cpu.alpha_statistics import alpha_statistics
from kernels.cpu.alpha_to_source import alpha_to_source
from kernels.cpu.composite import composite, cutout
from kernels.cpu.despill import despill
from kernels.cpu.feather import feather
from kernels.cpu.foreground import foreground
from kernels.cpu.guided_refine import guided_refine, window_cells
from kernels.cpu.levels import levels
from kernels.cpu.matting import matte, matting_bytes, solve_trimap
from kernels.cpu.multiply_alpha import multiply_alpha
from kernels.cpu.resize_normalise import resize_normalise
from kernels.cpu.shift import shift
from kernels.cpu.specks import fill_holes, remove_specks
from kernels.reference import AlphaStatistics

__all__ = [
    "AlphaStatistics",
    "alpha_statistics",
    "alpha_to_source",
    "composite",
    "cutout",
    "despill",
    "feather",
    "fill_holes",
    "foreground",
    "guided_refine",
    "levels",
    "matte",
    "matting_bytes",
    "multiply_alpha",
    "remove_specks",
    "resize_normalise",
    "shift",
    "solve_trimap",
    "window_cells",
]
