"""Pillow behind a fence: one plugin per known type, limits and warnings ours, its modes made RGB.

Called by `decode` and, for AVIF's header, by `header`. Three settings of Pillow are global and are
set here once: its own pixel limit (ours come first, and its warning may not become an error),
AVIF's threads (the server runs one image per core already), and its warnings about odd metadata,
which belong in no server's log.
"""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    ImageFile,
    TiffImagePlugin,
    UnidentifiedImageError,
    WebPImagePlugin,
    features,
)

from server.codecs.errors import NAMES, CodecMissing, ImageDamaged, ImageRejected

Image.MAX_IMAGE_PIXELS = None
AvifImagePlugin.DEFAULT_MAX_THREADS = 1
warnings.filterwarnings("ignore", module=r"PIL\.")

_OPENERS: dict[str, Callable[[io.BytesIO], ImageFile.ImageFile]] = {
    "webp": WebPImagePlugin.WebPImageFile,
    "avif": AvifImagePlugin.AvifImageFile,
    "tiff": TiffImagePlugin.TiffImageFile,
    "bmp": BmpImagePlugin.BmpImageFile,
    "gif": GifImagePlugin.GifImageFile,
}
CMYK_NOTE = "the CMYK colours were converted without their ICC profile"
# Tags of TIFF and their values.
_PHOTOMETRIC, _WHITE_IS_ZERO, _BLACK_IS_ZERO = 262, 0, 1
_SAMPLE_FORMAT, _UNSIGNED, _SIGNED = 339, 1, 2


@contextlib.contextmanager
def fence(image_format: str) -> Iterator[None]:
    """Turns whatever a decoder throws into ImageDamaged. On hostile bytes that may be any class of
    exception, so any class is taken; the cause stays attached for the log.
    """
    try:
        yield
    except (ImageRejected, MemoryError):
        raise
    except Exception as error:
        told = "" if isinstance(error, UnidentifiedImageError) else str(error)
        plain = told if told.isprintable() and 0 < len(told) <= 120 else "its decoder gave up"
        raise ImageDamaged.because(image_format, plain) from error


def open_image(data: bytes, image_format: str) -> ImageFile.ImageFile:
    """The file opened by the plugin of its type, no pixels decoded. Called within a `fence`.

    Raises:
        CodecMissing: Pillow was built without the type's library.
    """
    if image_format in ("webp", "avif") and not features.check(image_format):
        raise CodecMissing(
            f"this server's Pillow was built without {NAMES[image_format]}: send JPEG or PNG"
        )
    return _OPENERS[image_format](io.BytesIO(data))


def read_avif(data: bytes) -> tuple[int, int, int]:
    """Width, height and frames of an AVIF."""
    with fence("avif"), open_image(data, "avif") as image:
        return image.width, image.height, getattr(image, "n_frames", 1)


def to_rgb(
    image: Image.Image,
) -> tuple[NDArray[np.uint8], NDArray[np.uint8] | None, tuple[str, ...]]:
    """RGB (H, W, 3) uint8, alpha (H, W) uint8 or None, and notes; of an image of any mode.

    Decodes the pixels if that has not been done yet. Called within a `fence`.

    16-bit samples are divided by 257, so white stays white. Float and 32-bit integer samples: see
    `samples_to_u8`. Colours under a transparent pixel come as they are stored.

    Raises:
        ImageDamaged: float samples that are not finite.
        CodecMissing: a mode that no format of ours should have.
    """
    key = image.info.get("transparency")
    if image.mode.startswith("I;16") or image.mode in ("I", "F") or _is_signed(image):
        samples = _true_samples(image)
        grey, notes = samples_to_u8(samples)
        alpha = None
        if isinstance(key, int):
            alpha = np.where(samples == key, np.uint8(0), np.uint8(255))
        return _grey_to_rgb(_positive(grey, image)), alpha, notes
    if image.mode in ("P", "PA", "LA", "La", "RGBa", "RGBA") or key is not None:
        rgba = np.asarray(image if image.mode == "RGBA" else image.convert("RGBA"))
        rgb = np.asarray(cv2.cvtColor(rgba, cv2.COLOR_RGBA2RGB), np.uint8)
        return rgb, opaque_to_none(cv2.extractChannel(rgba, 3).astype(np.uint8, copy=False)), ()
    if image.mode in ("1", "L"):
        return _grey_to_rgb(np.asarray(image.convert("L"))), None, ()
    if image.mode in ("RGB", "CMYK", "YCbCr", "LAB", "HSV"):
        profiled = image.mode == "CMYK" and "icc_profile" in image.info
        rgb = np.asarray(image if image.mode == "RGB" else image.convert("RGB"))
        return rgb, None, (CMYK_NOTE,) if profiled else ()
    raise CodecMissing(
        f"pixels of Pillow's mode {image.mode} are not read: save it as RGB, RGBA or grey"
    )


def samples_to_u8(samples: NDArray[Any]) -> tuple[NDArray[np.uint8], tuple[str, ...]]:
    """The samples as uint8 of the same shape, and a note when their range had to be guessed.

    uint8 stays, uint16 is divided by 257. Anything else has no fixed white: values within 0..1 are
    taken as black to white; other ranges are stretched from their least to their greatest value.

    Raises:
        ImageDamaged: NaN or infinity among them: any choice of ours would show as a hole or a spot.
    """
    if samples.dtype == np.uint8:
        return samples, ()
    if samples.dtype == np.uint16:
        return np.asarray(cv2.convertScaleAbs(samples, alpha=1 / 257), np.uint8), ()
    wide = samples.dtype.itemsize > 4
    values: NDArray[Any] = samples.astype(np.float64 if wide else np.float32)
    # One pass each; NaN comes through both, and a boolean copy of the picture is not needed.
    least, greatest = float(np.min(values)), float(np.max(values))
    if not np.isfinite(least + greatest):
        raise ImageDamaged(
            "the picture holds samples that are not finite (NaN or infinity):"
            " replace them, or save it with 8 or 16 bits"
        )
    notes: tuple[str, ...] = ()
    if samples.dtype.kind != "f" or least < 0 or greatest > 1:
        notes = (f"samples from {least:g} to {greatest:g} were stretched to black and white",)
    else:
        least, greatest = 0.0, 1.0
    scale = 255 / (greatest - least) if greatest > least else 0.0
    np.subtract(values, least, out=values)
    np.multiply(values, scale, out=values)
    return np.rint(values, out=values).astype(np.uint8), notes


def opaque_to_none(alpha: NDArray[np.uint8]) -> NDArray[np.uint8] | None:
    """`alpha`, or None when it is 255 everywhere and says nothing."""
    return None if int(alpha.min()) == 255 else alpha


def _grey_to_rgb(grey: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.asarray(cv2.cvtColor(grey, cv2.COLOR_GRAY2RGB), np.uint8)


def _tag(image: Image.Image, tag: int, default: int) -> int:
    """The first value of a TIFF's tag; the default for other types."""
    value = getattr(image, "tag_v2", {}).get(tag, default)
    return int(value[0] if isinstance(value, tuple) else value)


def _is_signed(image: Image.Image) -> bool:
    """True for signed integers that Pillow shows as unsigned ones (8 bits, TIFF only)."""
    return image.mode == "L" and _tag(image, _SAMPLE_FORMAT, _UNSIGNED) == _SIGNED


def _true_samples(image: Image.Image) -> NDArray[Any]:
    """The samples as the TIFF's tags mean them, where Pillow's modes cannot say it."""
    samples = np.asarray(image)
    if image.mode.startswith("I;16"):
        return samples.astype(np.uint16, copy=False)  # in the machine's byte order
    if image.mode == "I" and _tag(image, _SAMPLE_FORMAT, _UNSIGNED) == _UNSIGNED:
        return samples.view(np.uint32)
    return samples.view(np.int8) if image.mode == "L" else samples


def _positive(grey: NDArray[np.uint8], image: Image.Image) -> NDArray[np.uint8]:
    """`grey`, turned round when white is 0: Pillow does that for unsigned 8 bits only."""
    if _tag(image, _PHOTOMETRIC, _BLACK_IS_ZERO) != _WHITE_IS_ZERO:
        return grey
    return np.asarray(cv2.bitwise_not(grey), np.uint8)
