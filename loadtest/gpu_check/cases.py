"""What each kernel is measured on: the list of all cases, and the pictures' sizes.

The bytes are those that the head comment of the kernel's file gives. A test holds the list against
the folder of kernels, and launches every case to see that it launches the kernels that it names.
"""

from __future__ import annotations

from loadtest.gpu_check import cases_edges, cases_network, cases_pictures
from loadtest.gpu_check.bench import Size
from loadtest.gpu_check.case import Case

SIZES: dict[str, Size] = {"1080p": (1920, 1080), "4K": (3840, 2160), "12 MP": (4000, 3000)}
CASES: tuple[Case, ...] = (*cases_network.CASES, *cases_edges.CASES, *cases_pictures.CASES)
