"""Cases of the alpha's edges and the subject's colours, all at the picture's own size."""

from __future__ import annotations

from kernels.cuda import despill, feather, foreground, guided_refine, levels, shift
from kernels.device import Kernel
from loadtest.gpu_check.bench import Bench, Queue, Size
from loadtest.gpu_check.case import Case, a_pixel, pixels


def _guided_refine(bench: Bench, size: Size) -> Queue:
    width, height = size
    image, alpha, target = bench.picture(size), bench.alpha(size), bench.empty(pixels(size))
    scratch = bench.empty(guided_refine.scratch_bytes(width, height))
    return lambda: guided_refine.guided_refine(
        bench.device,
        bench.stream,
        image=image,
        alpha=alpha,
        target=target,
        scratch=scratch,
        width=width,
        height=height,
    )


def _foreground(bench: Bench, size: Size) -> Queue:
    width, height = size
    image, alpha, target = bench.picture(size), bench.alpha(size), bench.empty(3 * pixels(size))
    scratch = bench.empty(foreground.scratch_bytes(width, height))
    return lambda: foreground.foreground(
        bench.device,
        bench.stream,
        image=image,
        alpha=alpha,
        target=target,
        scratch=scratch,
        width=width,
        height=height,
    )


def _despill(bench: Bench, size: Size) -> Queue:
    image, target = bench.picture(size), bench.empty(3 * pixels(size))
    return lambda: despill.despill(
        bench.device,
        bench.stream,
        image=image,
        target=target,
        width=size[0],
        height=size[1],
        screen="green",
    )


def _levels(bench: Bench, size: Size) -> Queue:
    alpha, target = bench.alpha(size), bench.empty(pixels(size))
    return lambda: levels.levels(
        bench.device,
        bench.stream,
        alpha=alpha,
        target=target,
        width=size[0],
        height=size[1],
        black=0.1,
        white=0.9,
    )


def _feather(sigma: float, kernels: tuple[Kernel, ...], bytes_a_pixel: float) -> Case:
    def prepare(bench: Bench, size: Size) -> Queue:
        width, height = size
        alpha, target = bench.alpha(size), bench.empty(pixels(size))
        scratch = bench.empty(feather.scratch_bytes(width, height, sigma))
        return lambda: feather.feather(
            bench.device,
            bench.stream,
            alpha=alpha,
            target=target,
            scratch=scratch,
            width=width,
            height=height,
            sigma=sigma,
        )

    return Case(f"feather sigma {sigma:g}", kernels, a_pixel(bytes_a_pixel), prepare)


def _shift(distance: float) -> Case:
    def prepare(bench: Bench, size: Size) -> Queue:
        width, height = size
        alpha, target = bench.alpha(size), bench.empty(pixels(size))
        scratch = bench.empty(shift.scratch_bytes(width, height, distance))
        return lambda: shift.shift(
            bench.device,
            bench.stream,
            alpha=alpha,
            target=target,
            scratch=scratch,
            width=width,
            height=height,
            pixels=distance,
        )

    moved = a_pixel(2 * len(shift.steps(abs(distance))))
    return Case(f"shift {distance:g} px", shift.KERNELS, moved, prepare)


CASES: tuple[Case, ...] = (
    Case("guided_refine", guided_refine.KERNELS, a_pixel(14.5), _guided_refine),
    Case("foreground", foreground.KERNELS, a_pixel(13.5), _foreground),
    Case("despill", despill.KERNELS, a_pixel(3 + 3), _despill),
    Case("levels", levels.KERNELS, a_pixel(1 + 1), _levels),
    _feather(2, (feather.TILE,), 2),
    _feather(5, (feather.HALVE_U8, feather.GROW), 3),
    _feather(20, (feather.SHRINK, feather.HALVE_U16, feather.GROW), 2 + 20 / 8**2),
    _shift(3),
    _shift(-40.5),
)
