"""Ways through the kernels that the measured cases do not take: every layout of a picture with odd
strides, every output, short and long distances. Launched by `small_launches`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Literal

from kernels.backdrop import lay
from kernels.cuda import (
    activate,
    blur,
    composite,
    despill,
    feather,
    finish,
    foreground,
    guided_refine,
    resize_normalise,
    rgba_to_nv12,
    shift,
)
from kernels.image import PixelFormat, job_struct
from kernels.letterbox import Placement
from kernels.reference.activate import Activation
from kernels.reference.finish import FinishOutput
from kernels.reference.rgba_to_nv12 import RGBToYCbCr
from loadtest.gpu_check.bench import Bench, Queue, Size
from loadtest.gpu_check.case import even, pixels

Prepare = Callable[[Bench, Size], Queue]

PADDING = 5  # bytes between rows: none begins at a word
PLANE = (31, 17)
_PLACED = Placement(3, 2, 20, 11)
_TRANSLUCENT, _OPAQUE = (200, 30, 60, 100), (200, 30, 60, 255)
_DISTANCES = (-100, -40.5, -15.25, -1, 0, 0.3, 14.5, 15, 16, 31)
_SIGMAS = (0, 0.5, 3.9, 4, 8, 15, 33, 100)


def _resize(
    pixel_format: PixelFormat, layout: Literal["NCHW", "NHWC"], element: Literal["fp32", "fp16"]
) -> Prepare:
    def prepare(bench: Bench, size: Size) -> Queue:
        image = bench.picture(size, pixel_format, PADDING)
        jobs = bench.filled(job_struct(image, _PLACED))
        target = bench.empty(3 * pixels(PLANE) * (4 if element == "fp32" else 2))
        return lambda: resize_normalise.resize_normalise(
            bench.device,
            bench.stream,
            jobs=jobs,
            batch=1,
            target=target,
            width=PLANE[0],
            height=PLANE[1],
            mean=(0.5, 0.4, 0.3),
            std=(0.2, 0.3, 0.4),
            layout=layout,
            channels="BGR",
            element=element,
        )

    return prepare


def _activate(activation: Activation, layout: Literal["NCHW", "NHWC"]) -> Prepare:
    def prepare(bench: Bench, size: Size) -> Queue:
        raw, target = bench.random(2 * 2 * 3 * pixels(size)), bench.empty(2 * 4 * pixels(size))
        flags, ranges = bench.empty(2 * 4), bench.empty(2 * 8)
        return lambda: activate.activate(
            bench.device,
            bench.stream,
            raw=raw,
            target=target,
            flags=flags,
            ranges=ranges,
            batch=2,
            channels=3,
            width=size[0],
            height=size[1],
            channel=1,
            layout=layout,
            activation=activation,
            element="fp16",
        )

    return prepare


def _finish(pixel_format: PixelFormat, output: FinishOutput, *, with_alpha: bool) -> Prepare:
    color = _OPAQUE if output is FinishOutput.OPAQUE else _TRANSLUCENT

    def prepare(bench: Bench, size: Size) -> Queue:
        image = bench.picture(size, pixel_format, PADDING)
        target = bench.empty(finish.finish_bytes(output, *size))
        if with_alpha:
            alpha = bench.alpha(size)
            return lambda: finish.finish_with_alpha(
                bench.device,
                bench.stream,
                image=image,
                alpha=alpha,
                target=target,
                output=output,
                color=color,
            )
        plane = bench.empty(4 * pixels(PLANE))
        bench.device.clear(plane, 4 * pixels(PLANE), bench.stream)
        return lambda: finish.finish(
            bench.device,
            bench.stream,
            image=image,
            alpha=plane,
            plane_wh=PLANE,
            at=_PLACED,
            target=target,
            output=output,
            color=color,
        )

    return prepare


def _composite(pixel_format: PixelFormat, color: tuple[int, int, int, int]) -> Prepare:
    def prepare(bench: Bench, size: Size) -> Queue:
        image = bench.picture(size, pixel_format, PADDING)
        alpha, target = bench.alpha(size), bench.empty(4 * pixels(size))
        behind = bench.picture((11, 29), PixelFormat.RGBA8, PADDING)
        backdrops = [lay((11, 29), size, fit) for fit in ("cover", "contain", "tile")]

        def queue() -> None:
            composite.composite_color(
                bench.device,
                bench.stream,
                foreground=image,
                alpha=alpha,
                color=color,
                target=target,
            )
            for backdrop in backdrops:
                composite.composite_image(
                    bench.device,
                    bench.stream,
                    foreground=image,
                    alpha=alpha,
                    background=behind,
                    backdrop=backdrop,
                    color=color,
                    target=target,
                )

        return queue

    return prepare


def _edges(pixel_format: PixelFormat, scale: int, radius: int, channels: int) -> Prepare:
    """The three that look at the colours of the alpha's edges."""

    def prepare(bench: Bench, size: Size) -> Queue:
        width, height = size
        image = bench.picture(size, pixel_format, PADDING)
        alpha, refined = bench.alpha(size), bench.empty(pixels(size))
        colours = bench.empty(channels * pixels(size))
        despilled = bench.empty(3 * pixels(size))
        guided_scratch = bench.empty(guided_refine.scratch_bytes(width, height, scale))
        scratch = bench.empty(foreground.scratch_bytes(width, height, scale))

        def queue() -> None:
            guided_refine.guided_refine(
                bench.device,
                bench.stream,
                image=image,
                alpha=alpha,
                target=refined,
                scratch=guided_scratch,
                width=width,
                height=height,
                scale=scale,
                radius=radius,
            )
            foreground.foreground(
                bench.device,
                bench.stream,
                image=image,
                alpha=alpha,
                target=colours,
                scratch=scratch,
                width=width,
                height=height,
                channels=channels,
                cell=scale,
            )
            despill.despill(
                bench.device,
                bench.stream,
                image=image,
                target=despilled,
                width=width,
                height=height,
                screen="blue",
            )

        return queue

    return prepare


def _blur(pixel_format: PixelFormat, sigma: float) -> Prepare:
    def prepare(bench: Bench, size: Size) -> Queue:
        image, alpha = bench.picture(size, pixel_format, PADDING), bench.alpha(size)
        scratch = bench.empty(blur.scratch_bytes(*size, sigma))
        target = bench.empty(3 * pixels(blur.plane_size(*size, sigma)))
        return lambda: blur.blur(
            bench.device,
            bench.stream,
            image=image,
            alpha=alpha,
            sigma=sigma,
            scratch=scratch,
            target=target,
        )

    return prepare


def _nv12(pixel_format: PixelFormat) -> Prepare:
    def prepare(bench: Bench, size: Size) -> Queue:
        size = even(size)
        image = bench.picture(size, pixel_format, PADDING)
        luma, chroma = bench.empty(pixels(size)), bench.empty(pixels(size) // 2)
        matrix = RGBToYCbCr.of(0.299, 0.114, full_range=True)
        return lambda: rgba_to_nv12.rgba_to_nv12(
            bench.device, bench.stream, image=image, matrix=matrix, luma=luma, chroma=chroma
        )

    return prepare


def _shift(distance: float) -> Prepare:
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

    return prepare


def _feather(sigma: float) -> Prepare:
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

    return prepare


def _all() -> Iterator[tuple[str, Prepare]]:
    for pixel_format in PixelFormat:
        name = pixel_format.name
        yield f"resize_normalise {name} NCHW fp32", _resize(pixel_format, "NCHW", "fp32")
        yield f"resize_normalise {name} NHWC fp16", _resize(pixel_format, "NHWC", "fp16")
        for output in FinishOutput:
            whole = f"{name} to {output.name}"
            yield f"finish {whole}", _finish(pixel_format, output, with_alpha=False)
            yield f"finish_with_alpha {whole}", _finish(pixel_format, output, with_alpha=True)
        yield f"composite {name} opaque", _composite(pixel_format, _OPAQUE)
        yield f"composite {name} translucent", _composite(pixel_format, _TRANSLUCENT)
        yield f"edges {name} RGB", _edges(pixel_format, 4, 2, 3)
        yield f"edges {name} RGBA", _edges(pixel_format, 3, 8, 4)
        yield f"blur {name} sigma 3", _blur(pixel_format, 3)
        yield f"blur {name} sigma 40", _blur(pixel_format, 40)
    for pixel_format in (PixelFormat.RGB8, PixelFormat.BGR8, PixelFormat.RGBA8):
        yield f"rgba_to_nv12 {pixel_format.name}", _nv12(pixel_format)
    for activation in ("none", "sigmoid", "softmax", "minmax"):
        yield f"activate {activation} NCHW", _activate(activation, "NCHW")
        yield f"activate {activation} NHWC", _activate(activation, "NHWC")
    for distance in _DISTANCES:
        yield f"shift {distance:g} px", _shift(distance)
    for sigma in _SIGMAS:
        yield f"feather sigma {sigma:g}", _feather(sigma)


VARIANTS: dict[str, Prepare] = dict(_all())
