"""Cases around the network: pictures into its input, its answer into results."""

from __future__ import annotations

from typing import Literal

import numpy as np

from kernels.cuda import (
    activate,
    alpha_statistics,
    alpha_to_source,
    carry_states,
    finish,
    resize_normalise,
    store_jobs,
    temporal_blend,
)
from kernels.device import Kernel
from kernels.image import JOB, PixelFormat, job_struct
from kernels.letterbox import Placement
from kernels.reference.finish import FinishOutput
from kernels.statistics import STATISTICS
from loadtest.gpu_check.bench import Bench, Queue, Size, disc
from loadtest.gpu_check.case import PLANE, Case, a_pixel, even, pixels

Element = Literal["fp32", "fp16"]
Layout = Literal["NCHW", "NHWC"]
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_ALL = Placement(0, 0, *PLANE)
_BYTES = {"fp32": 4, "fp16": 2}
# The four states of Robust Video Matting at 512 x 288, in fp32.
_STATE_BYTES = 4 * (16 * 256 * 144 + 20 * 128 * 72 + 40 * 64 * 36 + 64 * 32 * 18)


def _picture_bytes(pixel_format: PixelFormat) -> float:
    return 1.5 if pixel_format is PixelFormat.NV12 else 3


def _resize(layout: Layout, element: Element, pixel_format: PixelFormat) -> Case:
    out_bytes = 3 * pixels(PLANE) * _BYTES[element]

    def prepare(bench: Bench, size: Size) -> Queue:
        image = bench.picture(even(size), pixel_format)
        jobs = bench.filled(job_struct(image, _ALL))
        target = bench.empty(out_bytes)
        return lambda: resize_normalise.resize_normalise(
            bench.device,
            bench.stream,
            jobs=jobs,
            batch=1,
            target=target,
            width=PLANE[0],
            height=PLANE[1],
            mean=_MEAN,
            std=_STD,
            layout=layout,
            element=element,
        )

    kernel = Kernel("resize_normalise", f"resize_normalise_{layout.lower()}_{element}")
    read = a_pixel(_picture_bytes(pixel_format))
    name = f"resize_normalise {pixel_format.name} {layout} {element}"
    return Case(name, (kernel,), lambda size: read(size) + out_bytes, prepare)


def _store_jobs(bench: Bench, size: Size) -> Queue:
    target = bench.empty(8 * JOB.itemsize)
    jobs = np.repeat(job_struct(bench.picture(size), Placement(0, 0, 1, 1)), 8)
    return lambda: store_jobs.store_jobs(bench.device, bench.stream, jobs, target=target)


def _activate(element: Element) -> Case:
    """By "minmax", which launches both kernels."""

    def prepare(bench: Bench, size: Size) -> Queue:
        dtype = np.float32 if element == "fp32" else np.float16
        raw = bench.filled((disc(PLANE) / 255).astype(dtype))
        target = bench.empty(4 * pixels(PLANE))
        flags, ranges = bench.empty(4), bench.empty(8)
        return lambda: activate.activate(
            bench.device,
            bench.stream,
            raw=raw,
            target=target,
            flags=flags,
            ranges=ranges,
            batch=1,
            channels=1,
            width=PLANE[0],
            height=PLANE[1],
            activation="minmax",
            element=element,
        )

    entries = (f"activate_range_{element}", f"activate_{element}")
    kernels = tuple(Kernel("activate", entry) for entry in entries)
    moved = (2 * _BYTES[element] + 4) * pixels(PLANE)
    return Case(f"activate minmax {element}", kernels, lambda size: moved, prepare, None, True)


def _plane_alpha(bench: Bench) -> int:
    """Address of a network's alpha, float32."""
    return bench.filled((disc(PLANE) / 255).astype(np.float32))


def _to_source(element: Literal["u8", "f32"]) -> Case:
    nbytes = 1 if element == "u8" else 4

    def prepare(bench: Bench, size: Size) -> Queue:
        alpha, target = _plane_alpha(bench), bench.empty(nbytes * pixels(size))
        return lambda: alpha_to_source.alpha_to_source(
            bench.device,
            bench.stream,
            alpha=alpha,
            plane_width=PLANE[0],
            at=_ALL,
            target=target,
            width=size[0],
            height=size[1],
            element=element,
        )

    kernel = Kernel("alpha_to_source", f"alpha_to_source_{element}")
    return Case(f"alpha_to_source {element}", (kernel,), a_pixel(nbytes), prepare)


def _statistics(bench: Bench, size: Size) -> Queue:
    alpha, target = bench.alpha(size), bench.empty(STATISTICS.itemsize)
    return lambda: alpha_statistics.alpha_statistics(
        bench.device, bench.stream, alpha=alpha, target=target, width=size[0], height=size[1]
    )


def _finish(output: FinishOutput, pixel_format: PixelFormat) -> Case:
    def prepare(bench: Bench, size: Size) -> Queue:
        size = even(size)
        image, alpha = bench.picture(size, pixel_format), _plane_alpha(bench)
        target = bench.empty(finish.finish_bytes(output, *size))
        return lambda: finish.finish(
            bench.device,
            bench.stream,
            image=image,
            alpha=alpha,
            plane_wh=PLANE,
            at=_ALL,
            target=target,
            output=output,
        )

    name = f"finish {pixel_format.name} to {output.name.lower()}"
    # The alpha by itself needs no colours: nothing of the picture is read.
    read = 0 if output is FinishOutput.ALPHA else _picture_bytes(pixel_format)
    return Case(name, (finish.FINISH,), a_pixel(read + output.channels), prepare)


def _finish_with_alpha(bench: Bench, size: Size) -> Queue:
    image, alpha = bench.picture(size), bench.alpha(size)
    target = bench.empty(finish.finish_bytes(FinishOutput.CUTOUT, *size))
    return lambda: finish.finish_with_alpha(
        bench.device,
        bench.stream,
        image=image,
        alpha=alpha,
        target=target,
        output=FinishOutput.CUTOUT,
    )


def _temporal(bench: Bench, size: Size) -> Queue:
    """Both launches of a frame that follows another."""
    width, height = PLANE
    cells = width * height
    plane = bench.filled(np.zeros(3 * cells, np.float32))
    alpha, target, kept = _plane_alpha(bench), bench.empty(4 * cells), bench.empty(4 * cells)
    luma, change = bench.empty(cells), bench.empty(temporal_blend.CHANGE_BYTES)
    alpha_before, luma_before = _plane_alpha(bench), bench.filled(np.zeros(cells, np.uint8))

    def queue() -> None:
        temporal_blend.temporal_luma(
            bench.device,
            bench.stream,
            plane=plane,
            luma=luma,
            width=width,
            height=height,
            mean=_MEAN,
            std=_STD,
            luma_before=luma_before,
            change=change,
        )
        temporal_blend.temporal_blend(
            bench.device,
            bench.stream,
            alpha=alpha,
            kept=kept,
            target=target,
            luma=luma,
            width=width,
            height=height,
            smooth=0.5,
            alpha_before=alpha_before,
            luma_before=luma_before,
            change=change,
            cut=temporal_blend.cut_at(width, height),
        )

    return queue


def _carry(bench: Bench, size: Size) -> Queue:
    source, change = bench.random(_STATE_BYTES), bench.filled(np.zeros(1, np.uint32))
    target = bench.empty(_STATE_BYTES)
    return lambda: carry_states.carry_states(
        bench.device,
        bench.stream,
        source=source,
        target=target,
        nbytes=_STATE_BYTES,
        change=change,
        cut=1,
    )


CASES: tuple[Case, ...] = (
    _resize("NCHW", "fp32", PixelFormat.RGB8),
    _resize("NCHW", "fp16", PixelFormat.NV12),
    _resize("NHWC", "fp32", PixelFormat.RGB8),
    _resize("NHWC", "fp16", PixelFormat.RGB8),
    Case("store_jobs", store_jobs.KERNELS, lambda size: 16 * JOB.itemsize, _store_jobs, None, True),
    _activate("fp32"),
    _activate("fp16"),
    _to_source("u8"),
    _to_source("f32"),
    Case("alpha_statistics", alpha_statistics.KERNELS, a_pixel(1), _statistics),
    _finish(FinishOutput.CUTOUT, PixelFormat.RGB8),
    _finish(FinishOutput.ALPHA, PixelFormat.NV12),
    Case("finish with alpha", (finish.FINISH_WITH_ALPHA,), a_pixel(1 + 3 + 4), _finish_with_alpha),
    Case(
        "temporal_blend",
        temporal_blend.KERNELS,
        lambda size: 32 * pixels(PLANE),
        _temporal,
        None,
        True,
    ),
    Case("carry_states", carry_states.KERNELS, lambda size: 2 * _STATE_BYTES, _carry, None, True),
)
