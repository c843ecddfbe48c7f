"""Cases of what becomes of a subject: pictures behind it, alpha into colours, video out."""

from __future__ import annotations

from kernels.backdrop import lay
from kernels.cuda import blur, composite, premultiply, rgba_to_nv12
from kernels.reference.rgba_to_nv12 import RGBToYCbCr
from loadtest.gpu_check.bench import Bench, Queue, Size
from loadtest.gpu_check.case import Case, a_pixel, even, pixels

_SIGMA = 20.0  # of a blurred background at 1080p
_REDUCED = 16 + 16 + 16 + 16 + 3  # bytes of a reduced pixel: made, and two passes of the Gaussian


def _composite_color(bench: Bench, size: Size) -> Queue:
    image, alpha, target = bench.picture(size), bench.alpha(size), bench.empty(4 * pixels(size))
    return lambda: composite.composite_color(
        bench.device, bench.stream, foreground=image, alpha=alpha, target=target
    )


def _composite_image(bench: Bench, size: Size) -> Queue:
    image, alpha, target = bench.picture(size), bench.alpha(size), bench.empty(3 * pixels(size))
    behind = bench.picture(size)
    return lambda: composite.composite_image(
        bench.device,
        bench.stream,
        foreground=image,
        alpha=alpha,
        background=behind,
        backdrop=lay(size, size, "stretch"),
        target=target,
    )


def _blur_bytes(size: Size) -> int:
    return 4 * pixels(size) + _REDUCED * pixels(blur.plane_size(*size, _SIGMA))


def _blur(bench: Bench, size: Size) -> Queue:
    image, alpha = bench.picture(size), bench.alpha(size)
    scratch = bench.empty(blur.scratch_bytes(*size, _SIGMA))
    target = bench.empty(3 * pixels(blur.plane_size(*size, _SIGMA)))
    return lambda: blur.blur(
        bench.device,
        bench.stream,
        image=image,
        alpha=alpha,
        sigma=_SIGMA,
        scratch=scratch,
        target=target,
    )


def _premultiply(bench: Bench, size: Size) -> Queue:
    source, target = bench.random(4 * pixels(size)), bench.empty(4 * pixels(size))
    return lambda: premultiply.premultiply(
        bench.device, bench.stream, source=source, target=target, width=size[0], height=size[1]
    )


def _unpremultiply(bench: Bench, size: Size) -> Queue:
    source, target = bench.random(4 * pixels(size)), bench.empty(4 * pixels(size))
    return lambda: premultiply.unpremultiply(
        bench.device, bench.stream, source=source, target=target, width=size[0], height=size[1]
    )


def _nv12(bench: Bench, size: Size) -> Queue:
    size = even(size)
    image = bench.picture(size)
    luma, chroma = bench.empty(pixels(size)), bench.empty(pixels(size) // 2)
    matrix = RGBToYCbCr.of(0.2126, 0.0722, full_range=False)
    return lambda: rgba_to_nv12.rgba_to_nv12(
        bench.device, bench.stream, image=image, matrix=matrix, luma=luma, chroma=chroma
    )


CASES: tuple[Case, ...] = (
    Case("composite cutout", (composite.COLOR,), a_pixel(3 + 1 + 4), _composite_color),
    Case("composite image", (composite.IMAGE,), a_pixel(3 + 1 + 3 + 3), _composite_image),
    Case("blur sigma 20", blur.KERNELS, _blur_bytes, _blur),
    Case("premultiply", (premultiply.MULTIPLY,), a_pixel(4 + 4), _premultiply),
    Case("unpremultiply", (premultiply.DIVIDE,), a_pixel(4 + 4), _unpremultiply),
    Case("rgba_to_nv12", rgba_to_nv12.KERNELS, a_pixel(3 + 1.5), _nv12),
)
