"""Curves of a run as PNG files, beside the tables that hold the same figures.

Called by `bench`; Matplotlib is imported here and nowhere else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")  # draws into files; no window is ever opened

from matplotlib import pyplot as plt

Curve = tuple[Sequence[float], Sequence[float]]  # x, y


def draw_curves(
    path: Path,
    curves: Mapping[str, Curve],
    *,
    title: str,
    x: str,
    y: str,
    limit: tuple[str, float] | None = None,
) -> Path:
    """A PNG with one line per curve; both axes logarithmic, x in powers of two.

    Args:
        path: of the PNG.
        curves: by the name that the legend shows.
        title: above it.
        x: what the axis to the right shows, with its unit.
        y: what the axis upwards shows, with its unit.
        limit: a dashed horizontal line and its name.
    """
    figure, axes = plt.subplots(figsize=(6.4, 4.0), dpi=120)
    try:
        for name, (xs, ys) in curves.items():
            axes.plot(xs, ys, marker="o", label=name)
        if limit is not None:
            axes.axhline(limit[1], linestyle="--", color="grey", label=limit[0])
        axes.set_xscale("log", base=2)
        axes.set_yscale("log")
        ticks = sorted({value for xs, _ in curves.values() for value in xs})
        axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        axes.set(title=title, xlabel=x, ylabel=y)
        axes.grid(visible=True, which="both", alpha=0.3)
        axes.legend()
        figure.tight_layout()
        # Without the version's name in it, so that the same figures give the same file.
        figure.savefig(path, metadata={"Software": None})
    finally:
        plt.close(figure)
    return path
