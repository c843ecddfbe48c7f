"""Drawings, logos, diagrams and screenshots on flat paper, with the alpha and colours they were
drawn with.

Drawn at four times their size and made smaller, as anti-aliasing does. Called by `loadtest.solved`
and by the tests; the same seed gives the same page. What paper-coloured areas inside of a drawing
are is part of each kind: a hole in line art and in letters, filled white in a filled drawing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

U8 = NDArray[np.uint8]
F32 = NDArray[np.float32]
Rgb = tuple[int, int, int]
Rng = np.random.Generator

SCALE = 4  # sub-pixels along a pixel's side
INKS: tuple[Rgb, ...] = (
    (200, 40, 45),
    (30, 90, 180),
    (20, 140, 90),
    (240, 160, 20),
    (110, 60, 150),
    (35, 35, 40),
    (0, 150, 190),
)
PALE: tuple[Rgb, ...] = ((252, 226, 205), (214, 232, 250), (220, 242, 220), (245, 240, 200))
WORDS = ("flat", "paper", "ink", "alpha", "edge", "frame", "cut", "model", "stream", "batch")


@dataclass(frozen=True, slots=True)
class Page:
    """A drawn page: picture = alpha colours + (1 - alpha) paper, rounded, perhaps as a JPEG."""

    kind: str
    picture: U8  # (H, W, 3)
    alpha: F32  # (H, W), true
    colours: F32  # (H, W, 3) in 0..255, true where alpha is not 0
    paper: Rgb


class Canvas:
    """What is drawn on: colours and coverage at `SCALE` times the size; lengths are in pixels."""

    def __init__(self, width: int, height: int) -> None:
        self.width, self.height = width, height
        self._image = Image.new("RGBA", (width * SCALE, height * SCALE), (0, 0, 0, 0))
        self._draw = ImageDraw.Draw(self._image)

    def line(self, points: NDArray[np.floating], ink: Rgb, px: float) -> None:
        """A line through points, (N, 2) of x, y."""
        flat = [tuple(map(float, point)) for point in points * SCALE]
        self._draw.line(flat, (*ink, 255), max(1, round(px * SCALE)), joint="curve")

    def box(self, at: tuple[float, ...], fill: Rgb | None, ink: Rgb | None = None, px: float = 0,
            round_px: float = 0) -> None:  # fmt: skip
        """A rectangle, left top right bottom, filled, outlined, or both."""
        self._draw.rounded_rectangle(
            [side * SCALE for side in at],
            round_px * SCALE,
            None if fill is None else (*fill, 255),
            None if ink is None else (*ink, 255),
            max(1, round(px * SCALE)),
        )

    def ellipse(self, at: tuple[float, ...], fill: Rgb | None, ink: Rgb | None = None,
                px: float = 0) -> None:  # fmt: skip
        """An ellipse in a rectangle, filled, outlined, or both."""
        self._draw.ellipse(
            [side * SCALE for side in at],
            None if fill is None else (*fill, 255),
            None if ink is None else (*ink, 255),
            max(1, round(px * SCALE)),
        )

    def polygon(self, points: NDArray[np.floating], fill: Rgb) -> None:
        """A filled polygon, (N, 2) of x, y."""
        self._draw.polygon([tuple(map(float, p)) for p in points * SCALE], (*fill, 255))

    def text(self, x: float, y: float, words: str, ink: Rgb, px: float) -> None:
        """A line of text, its top left corner at x, y."""
        font = ImageFont.load_default(px * SCALE)
        self._draw.text((x * SCALE, y * SCALE), words, (*ink, 255), font)

    def hole(self, at: tuple[float, ...]) -> None:
        """An ellipse through which the paper shows."""
        self._draw.ellipse([side * SCALE for side in at], (0, 0, 0, 0))

    def page(self, kind: str, paper: Rgb, jpeg: int | None) -> Page:
        """The page, its sub-pixels averaged; `jpeg` is a quality, None for a lossless file."""
        premultiplied = np.empty((self.height, self.width, 3), np.float32)
        small = np.empty((self.height, self.width), np.float32)
        for top in range(0, self.height, 64):  # what is drawn is sixteen times as large
            rows = slice(top, min(self.height, top + 64))
            box = (0, rows.start * SCALE, self.width * SCALE, rows.stop * SCALE)
            rgba = np.asarray(self._image.crop(box), np.float32)
            alpha, size = rgba[..., 3] / 255, (self.width, rows.stop - rows.start)
            small[rows] = cv2.resize(alpha, size, interpolation=cv2.INTER_AREA)
            covered = rgba[..., :3] * alpha[..., None]
            premultiplied[rows] = cv2.resize(covered, size, interpolation=cv2.INTER_AREA)
        mixed = premultiplied + (1 - small[..., None]) * np.asarray(paper, np.float32)
        picture = np.clip(np.rint(mixed), 0, 255).astype(np.uint8)
        if jpeg is not None:
            picture = as_jpeg(picture, jpeg)
        colours = premultiplied / np.maximum(small[..., None], 1 / 255)
        return Page(kind, picture, small, np.asarray(colours, np.float32), paper)


def page(kind: str, seed: int, side: int = 640, *, jpeg: int | None = None) -> Page:
    """A page of a kind, one of `KINDS`; its longer side is `side` px."""
    rng = np.random.default_rng([seed, list(KINDS).index(kind)])
    height = round(side * float(rng.uniform(0.6, 1.0)))
    canvas = Canvas(side, height)
    paper = KINDS[kind](rng, canvas)
    return canvas.page(kind, paper, jpeg)


def as_jpeg(rgb_u8: U8, quality: int) -> U8:
    """What a JPEG file of that quality, 1..100, makes of a picture, (H, W, 3)."""
    bgr = cv2.cvtColor(rgb_u8, cv2.COLOR_RGB2BGR)
    _, data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])
    decoded = cv2.imdecode(data, cv2.IMREAD_COLOR)
    assert decoded is not None
    return np.asarray(cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB), np.uint8)


def _pick(rng: Rng, colours: tuple[Rgb, ...]) -> Rgb:
    return colours[int(rng.integers(len(colours)))]


def _words(rng: Rng, count: int) -> str:
    return " ".join(WORDS[int(rng.integers(len(WORDS)))] for _ in range(count))


def _curve(rng: Rng, canvas: Canvas) -> NDArray[np.floating]:
    """A smooth curve that stays off the page's border."""
    knots = rng.uniform(0.1, 0.9, (5, 2)) * (canvas.width, canvas.height)
    t = np.linspace(0, 1, 160)[:, None]
    powers = [1, 4, 6, 4, 1] * t ** np.arange(5) * (1 - t) ** (4 - np.arange(5))
    return np.asarray(powers @ knots)


def _line_art(rng: Rng, canvas: Canvas) -> Rgb:
    ink = (20, 20, 25) if rng.random() < 0.7 else _pick(rng, INKS)
    px = float(rng.uniform(0.8, 4))
    for _ in range(int(rng.integers(5, 12))):
        canvas.line(_curve(rng, canvas), ink, px)
    for _ in range(3):
        x, y = rng.uniform(0.2, 0.7, 2) * (canvas.width, canvas.height)
        r = float(rng.uniform(0.04, 0.12)) * canvas.width
        canvas.ellipse((x - r, y - r, x + r, y + r), None, ink, px)
    return (255, 255, 255)


def _logo(rng: Rng, canvas: Canvas) -> Rgb:
    w, h = canvas.width, canvas.height
    first, second = INKS[int(rng.integers(3))], INKS[3 + int(rng.integers(4))]
    x, y, r = 0.28 * w, 0.45 * h, 0.16 * min(w, h) + 0.05 * w
    if rng.random() < 0.5:
        canvas.ellipse((x - r, y - r, x + r, y + r), first)
        canvas.hole((x - 0.5 * r, y - 0.5 * r, x + 0.5 * r, y + 0.5 * r))
    else:
        turn = rng.uniform(0, 6.28) + np.arange(3) * 2.09
        canvas.polygon(np.stack([x + r * np.cos(turn), y + r * np.sin(turn)], axis=1), first)
    canvas.text(x + 1.3 * r, y - 0.5 * r, _words(rng, 1).title(), second, 0.6 * r)
    canvas.text(x + 1.3 * r, y + 0.4 * r, _words(rng, 2), (90, 90, 95), 0.25 * r)
    return (255, 255, 255) if rng.random() < 0.6 else _pick(rng, PALE)


def _diagram(rng: Rng, canvas: Canvas) -> Rgb:
    w, h = canvas.width, canvas.height
    ink = (40, 40, 45)
    centres = [(x, y) for y in (0.25, 0.7) for x in (0.2, 0.5, 0.8)]
    places = np.array(centres) * (w, h)
    for start, end in pairwise(places):
        canvas.line(np.stack([start, end]), ink, 1.5)
    for number, (x, y) in enumerate(places):
        fill = (255, 255, 255) if number % 3 == 1 else _pick(rng, PALE)
        at = (x - 0.11 * w, y - 0.09 * h, x + 0.11 * w, y + 0.09 * h)
        canvas.box(at, fill, ink, 1.5, 0.01 * w)
        canvas.text(x - 0.09 * w, y - 0.02 * h, _words(rng, 2), ink, 0.02 * w)
    return (255, 255, 255)


def _screenshot(rng: Rng, canvas: Canvas) -> Rgb:
    w, h = canvas.width, canvas.height
    dark = rng.random() < 0.4
    paper, body, ink = ((30, 30, 34), (50, 50, 56), (225, 225, 230)) if dark else (
        (236, 238, 241), (255, 255, 255), (45, 45, 50))  # fmt: skip
    accent = _pick(rng, INKS[:3])
    canvas.box((0.1 * w, 0.1 * h, 0.9 * w, 0.9 * h), body, None, 0, 0.012 * w)
    canvas.box((0.1 * w, 0.1 * h, 0.9 * w, 0.17 * h), accent, None, 0, 0.012 * w)
    canvas.text(0.13 * w, 0.115 * h, _words(rng, 3), (255, 255, 255), 0.02 * w)
    for line in range(9):
        canvas.text(0.3 * w, (0.21 + 0.06 * line) * h, _words(rng, 6), ink, 0.018 * w)
        at = (0.13 * w, (0.21 + 0.06 * line) * h, 0.26 * w, (0.245 + 0.06 * line) * h)
        canvas.box(at, _pick(rng, INKS) if line % 3 == 0 else paper, None, 0, 0.006 * w)
    canvas.box((0.7 * w, 0.8 * h, 0.86 * w, 0.86 * h), accent, None, 0, 0.01 * w)
    return paper


def _cartoon(rng: Rng, canvas: Canvas) -> Rgb:
    w, h = canvas.width, canvas.height
    ink, px = (25, 20, 25), 0.008 * w
    x, y, r = 0.5 * w, 0.4 * h, 0.22 * min(w, h)

    def around(left: float, top: float, right: float, bottom: float) -> tuple[float, ...]:
        return (x + left * r, y + top * r, x + right * r, y + bottom * r)

    canvas.ellipse(around(-1.2, 0.6, 1.2, 2.4), _pick(rng, INKS[:3]), ink, px)
    canvas.ellipse(around(-1, -1, 1, 1), (245, 205, 165), ink, px)
    for eye in (-0.4, 0.4):
        canvas.ellipse(around(eye - 0.25, -0.35, eye + 0.25, 0.15), (255, 255, 255), ink, px)
        canvas.ellipse(around(eye - 0.1, -0.2, eye + 0.1, 0), ink)
    mouth = np.array([(-0.4, 0.5), (0, 0.65), (0.4, 0.5)]) * r + (x, y)
    canvas.line(mouth, ink, px)
    return (255, 255, 255)


def _document(rng: Rng, canvas: Canvas) -> Rgb:
    w, h = canvas.width, canvas.height
    canvas.text(0.1 * w, 0.08 * h, _words(rng, 3).title(), _pick(rng, INKS), 0.05 * w)
    for line in range(14):
        canvas.text(0.1 * w, (0.2 + 0.05 * line) * h, _words(rng, 7), (25, 25, 25), 0.022 * w)
    return (255, 255, 255) if rng.random() < 0.7 else (250, 246, 236)


def _chart(rng: Rng, canvas: Canvas) -> Rgb:
    w, h = canvas.width, canvas.height
    for bar in range(7):
        top = float(rng.uniform(0.2, 0.75))
        at = ((0.16 + 0.1 * bar) * w, top * h, (0.23 + 0.1 * bar) * w, 0.85 * h)
        canvas.box(at, INKS[bar % 3])
        canvas.text((0.16 + 0.1 * bar) * w, 0.87 * h, WORDS[bar][:5], (60, 60, 60), 0.018 * w)
    axes = np.array([(0.12 * w, 0.12 * h), (0.12 * w, 0.85 * h), (0.9 * w, 0.85 * h)])
    canvas.line(axes, (60, 60, 60), 1.5)
    return (255, 255, 255)


KINDS: Mapping[str, Callable[[Rng, Canvas], Rgb]] = {
    "line art": _line_art,
    "logo": _logo,
    "diagram": _diagram,
    "screenshot": _screenshot,
    "cartoon": _cartoon,
    "document": _document,
    "chart": _chart,
}
