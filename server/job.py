"""What one image is asked to become: sources and validated options, free of any wire.

Made by `server.options` from messages, read by `server.pipeline` and `server.codecs`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from kernels.backdrop import BackgroundFit
from kernels.cpu.flat_background import Enclosed
from kernels.cpu.shadow import Shadow
from kernels.framing import Crop
from server.codecs.tensor import PLAIN_TENSOR, TensorWish

if TYPE_CHECKING:
    from server.behind import Picture
    from server.subjects.wish import Wish
    from server.trimap import Trimap


class Output(StrEnum):
    """What is made of the subject."""

    CUTOUT = "cutout"
    ALPHA = "alpha"
    COMPOSITE = "composite"
    MASK = "mask"  # binary: the subject is where alpha is at least one half
    TENSOR = "tensor"  # a composite that a model takes as it is

    @property
    def has_colors(self) -> bool:
        """False for what is only about the subject's shape."""
        return self not in {Output.ALPHA, Output.MASK}

    @property
    def has_pixels(self) -> bool:
        """False for what has a form of its own instead of a `format` to choose."""
        return self not in {Output.MASK, Output.TENSOR}

    @property
    def has_background(self) -> bool:
        """True where something lies behind the subject."""
        return self in {Output.COMPOSITE, Output.TENSOR}


class Format(StrEnum):
    """How the result is packed."""

    PNG = "png"
    WEBP = "webp"
    JPEG = "jpeg"
    ZIP = "zip"
    RAW = "raw"
    ZLIB = "zlib"
    RLE = "rle"  # this and polygons: masks only
    POLYGONS = "polygons"
    TENSOR = "tensor"  # tensors only


class PixelFormat(StrEnum):
    """Layout of raw samples, all unsigned 8-bit."""

    RGB8 = "rgb8"
    BGR8 = "bgr8"
    RGBA8 = "rgba8"
    NV12 = "nv12"
    I420 = "i420"
    GRAY8 = "gray8"


class ColorMatrix(StrEnum):
    """YCbCr to RGB matrix of NV12 and I420."""

    BT601 = "bt601"
    BT709 = "bt709"


@dataclass(frozen=True, slots=True)
class Color:
    """A colour, each channel 0..255; `alpha` 255 is opaque."""

    red: int
    green: int
    blue: int
    alpha: int = 255

    @property
    def is_opaque(self) -> bool:
        """True when nothing shows through."""
        return self.alpha == 255

    @property
    def rgba(self) -> tuple[int, int, int, int]:
        """As the kernels take it."""
        return self.red, self.green, self.blue, self.alpha


WHITE = Color(255, 255, 255)


@dataclass(frozen=True, slots=True)
class PictureBehind:
    """A picture behind the subject, over a colour where it is translucent or does not reach."""

    picture: Picture
    fit: BackgroundFit = "cover"
    position: tuple[float, float] = (0.5, 0.5)  # 0 left, top; 1 right, bottom
    color: Color = WHITE

    @property
    def is_opaque(self) -> bool:
        """True when nothing shows through."""
        return self.color.is_opaque


@dataclass(frozen=True, slots=True)
class BlurBehind:
    """The old background, blurred; 0 leaves it as it is."""

    sigma_px: float | None = None  # of the source, 0..200; None: by the source's size
    is_opaque = True


@dataclass(frozen=True, slots=True)
class InpaintBehind:
    """The old background with the subject removed.

    The result is that background alone: the subject laid on it would be the source again.
    """

    is_opaque = True


Behind = Color | PictureBehind | BlurBehind | InpaintBehind


class Refine(StrEnum):
    """How edges are refined beyond the network's own resolution."""

    OFF = "off"
    FAST = "fast"
    BEST = "best"


class Despill(StrEnum):
    """The screen colour whose cast is removed."""

    GREEN = "green"
    BLUE = "blue"


@dataclass(frozen=True, slots=True)
class Edges:
    """Treatment of the alpha's edge after refinement, in this order; the defaults change nothing.

    Lengths and areas are in pixels of the source.
    """

    black_level: float = 0.0  # 0..1; alpha up to it becomes 0
    white_level: float = 1.0  # 0..1, more than `black_level`; alpha from it on becomes 1
    threshold: float | None = None  # 0..1; alpha becomes 0 below, 1 from it on
    remove_specks_px: int = 0  # area
    fill_holes_px: int = 0  # area
    shift_px: float = 0.0  # -100..100; positive grows the subject
    feather_px: float = 0.0  # 0..100, standard deviation


class Method(StrEnum):
    """How a subject is told from its background."""

    MODEL = "model"
    CHROMA_KEY = "chroma-key"
    FLAT_BACKGROUND = "flat background"


class FlatUse(StrEnum):
    """When a drawing is cut out by its paper's colour instead of by the model."""

    AUTO = "auto"
    OFF = "off"
    ON = "on"


@dataclass(frozen=True, slots=True)
class FlatBackground:
    """Drawings on flat paper; see `kernels.cpu.flat_background`."""

    use: FlatUse = FlatUse.OFF
    enclosed: Enclosed = "auto"


@dataclass(frozen=True, slots=True)
class ChromaKey:
    """How a screen of one colour is taken away; see `kernels.cpu.chroma_key`."""

    color: Color | None = None  # opaque, not grey; None: found in the picture
    tolerance: float = 0.12  # 0..0.9
    softness: float = 0.7  # 0..1
    despill: float = 1.0  # 0..1


@dataclass(frozen=True, slots=True)
class Options:
    """What to make of one image; built only by code that has checked the values."""

    model: str | None = None  # None: the server's default model
    output: Output = Output.CUTOUT
    format: Format = Format.PNG
    quality: int = 90  # 1..100, JPEG and WebP
    background: Behind | None = None  # set exactly when `output.has_background`
    crop: Crop | None = None  # None: the whole source
    shadow: Shadow | None = None
    tensor: TensorWish = PLAIN_TENSOR  # read for TENSOR
    keep_metadata: bool = False
    max_megapixels: float = 0.0  # the source is made smaller to this area first; 0: it is not
    refine: Refine | None = Refine.OFF  # None: the pipeline's choice, see `server.finishing`
    edges: Edges = Edges()
    subject: Wish | None = None  # None: all that the model takes for one
    prompt_model: str | None = None  # that answers the wish's prompts; None: the default
    trimap: Trimap | None = None  # what the caller knows of the alpha
    decontaminate: float | None = 0.0  # 0..1; None: the pipeline's choice
    despill: Despill | None = None
    flat_background: FlatBackground = FlatBackground()
    chroma_key: ChromaKey = ChromaKey()  # read by the models of that method alone


@dataclass(frozen=True, slots=True)
class EncodedSource:
    """A whole image file as it arrived."""

    data: bytes


@dataclass(frozen=True, slots=True)
class RawSource:
    """Uncompressed pixels as they arrived; `server.codecs.raw` checks the numbers."""

    data: bytes | memoryview
    format: PixelFormat
    width: int
    height: int
    strides: tuple[int, ...] = ()  # bytes per row and plane; empty: tightly packed
    color_matrix: ColorMatrix | None = None  # None: BT.709 from 720 rows on, else BT.601
    full_range: bool = False


Source = EncodedSource | RawSource
