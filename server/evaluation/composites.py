"""Generated pictures whose alpha and whose subject's own colours are known exactly.

Called by `mattestream eval --composites N`: number i of a seed is the same picture on every
machine, whatever N is. A cut-out takes 40 to 95 % of the frame, anywhere in it, before a background
that is cut to the frame, flipped or not, sharp or blurred as a lens would; one ground in five is a
plain colour.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from server.codecs.decode import decode
from server.codecs.header import Limits
from server.evaluation.cases import F32, U8, BadTruth, Case, Lead, raw_source
from server.evaluation.dataset import BadDataset, Dataset
from server.job import EncodedSource

SIDE_PX = 768
PLAIN = 0.2  # share of grounds that are one colour
OUT_OF_FOCUS = 0.4  # share of the others that are blurred
_SHAPES = ((1.0, 1.0), (1.0, 0.75), (0.75, 1.0), (1.0, 0.5625))  # width, height by the longer side


def composites(
    found: Dataset, count: int, seed: int, limits: Limits, *, side_px: int | None = None
) -> list[Lead]:
    """`count` composites, drawn when they are loaded.

    Args:
        found: with cut-outs and backgrounds.
        count: how many; cut-outs are taken in turn, in an order that the seed shuffles.
        seed: 0 or more.
        limits: of the pictures they are made of.
        side_px: longer side of each; None: 768.

    Raises:
        BadDataset: there are no cut-outs or no backgrounds.
    """
    if not found.cutouts or not found.backgrounds:
        missing = "cutouts/ (RGBA subjects)" if not found.cutouts else "backgrounds/ (pictures)"
        raise BadDataset(
            f"composites need {missing} in {found.folder}, and there are none: add some, or leave "
            "--composites out"
        )
    order = np.random.default_rng(seed).permutation(len(found.cutouts))
    leads = []
    for number in range(count):
        cutout, kind = found.cutouts[int(order[number % len(order)])]
        group = f"composite, {kind}" if kind else "composite"
        name = f"composite {seed}-{number}, {cutout.stem}"
        draw = partial(
            _draw,
            name,
            group,
            cutout,
            found.backgrounds,
            seeds=(seed, number),
            limits=limits,
            longer_px=side_px or SIDE_PX,
        )
        leads.append(Lead(name, group, draw))
    return leads


def _draw(
    name: str,
    group: str,
    cutout: Path,
    backgrounds: list[Path],
    *,
    seeds: tuple[int, int],
    limits: Limits,
    longer_px: int,
) -> Case:
    rng = np.random.default_rng(seeds)
    across, down = _SHAPES[rng.integers(len(_SHAPES))]
    width, height = (max(8, round(longer_px * share)) for share in (across, down))
    decoded = decode(EncodedSource(cutout.read_bytes()), limits)
    if decoded.alpha is None:
        raise BadTruth(f"the cut-out {cutout} is opaque: give one with an alpha channel")
    layer = _placed(rng, decoded.rgb, decoded.alpha, width, height)  # premultiplied
    ground = _ground(rng, backgrounds, limits, width, height)
    alpha = layer[..., 3]
    mixed = layer[..., :3] + (1 - alpha[..., None]) * ground
    straight = layer.copy()
    straight[..., :3] /= np.maximum(alpha, 1e-6)[..., None]
    rgb_u8 = np.clip(mixed + 0.5, 0, 255).astype(np.uint8)
    return Case(name, group, raw_source(rgb_u8), np.ascontiguousarray(alpha), straight)


def _placed(rng: np.random.Generator, rgb_u8: U8, alpha_u8: U8, width: int, height: int) -> F32:
    """The cut-out somewhere in the frame: (height, width, 4) float32, premultiplied, RGB 0..255."""
    columns, rows = np.nonzero(alpha_u8.max(axis=0))[0], np.nonzero(alpha_u8.max(axis=1))[0]
    if len(columns) == 0:
        raise BadTruth("the cut-out is wholly transparent: it shows no subject")
    part = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    alpha = alpha_u8[part].astype(np.float32) / 255
    layer = np.dstack([rgb_u8[part] * alpha[..., None], alpha]).astype(np.float32)
    if rng.random() < 0.5:
        layer = np.ascontiguousarray(layer[:, ::-1])
    high, wide = layer.shape[:2]
    scale = rng.uniform(0.4, 0.95) * min(width / wide, height / high)
    size = (max(1, int(wide * scale)), max(1, int(high * scale)))
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR  # cubic would overshoot the alpha
    layer = np.asarray(cv2.resize(layer, size, interpolation=how), np.float32)
    left, top = (int(rng.integers(0, room + 1)) for room in (width - size[0], height - size[1]))
    frame = np.zeros((height, width, 4), np.float32)
    frame[top : top + size[1], left : left + size[0]] = layer
    return frame


def _ground(
    rng: np.random.Generator, backgrounds: list[Path], limits: Limits, width: int, height: int
) -> NDArray[np.float32]:
    """(height, width, 3) float32 RGB, 0..255."""
    if rng.random() < PLAIN:
        return np.full((height, width, 3), rng.uniform(0, 255, 3), np.float32)
    path = backgrounds[rng.integers(len(backgrounds))]
    rgb = decode(EncodedSource(path.read_bytes()), limits).rgb
    high, wide = rgb.shape[:2]
    scale = min(wide / width, high / height)
    cut_w, cut_h = max(1, int(width * scale)), max(1, int(height * scale))
    left, top = int(rng.integers(0, wide - cut_w + 1)), int(rng.integers(0, high - cut_h + 1))
    cut = rgb[top : top + cut_h, left : left + cut_w]
    if rng.random() < 0.5:
        cut = cut[:, ::-1]
    how = cv2.INTER_AREA if scale > 1 else cv2.INTER_CUBIC
    ground = cv2.resize(np.ascontiguousarray(cut), (width, height), interpolation=how)
    if rng.random() < OUT_OF_FOCUS:
        ground = cv2.GaussianBlur(ground, (0, 0), rng.uniform(0.004, 0.02) * max(width, height))
    return np.asarray(ground, np.float32)
