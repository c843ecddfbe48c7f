"""A model that answers prompts: a picture's features once, then an alpha for every wish.

    picture -> look -> Features -> answer(prompts) -> Answer, as often as one likes

Made by `models.registry`. The features are the caller's to keep: a second click on the same picture
costs the decoder alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kernels import cpu
from kernels.letterbox import Placement, place
from models.errors import EngineFailed
from models.manifest import Manifest
from models.prompt_engine import PromptEngine
from models.prompt_manifest import Decoder
from models.prompt_maps import prompt_maps
from models.prompt_points import best_mask, earlier_logits, point_lists
from models.prompts import F32, Answer, BoxPrompt, Click, Features, Prompts

MASK_SIDE = 256  # of `mask_input` where the graph leaves it open


class PromptModel:
    """A manifest with a decoder and its engine. Safe to use from several threads at once."""

    def __init__(self, manifest: Manifest, engine: PromptEngine, weights_sha256: str) -> None:
        """Stores.

        Args:
            manifest: what the model is; it has a decoder.
            engine: what runs its two graphs.
            weights_sha256: digest of the encoder's bytes, 64 hex digits.
        """
        self.manifest = manifest
        self.engine = engine
        self.weights_sha256 = weights_sha256

    @property
    def decoder(self) -> Decoder:
        """How it is asked."""
        assert self.manifest.decoder is not None
        return self.manifest.decoder

    @property
    def max_batch(self) -> int:
        """Pictures in one run: 1."""
        return self.engine.max_batch

    @property
    def max_concurrent_runs(self) -> int:
        """Runs that go on at once."""
        return self.engine.max_concurrent_runs

    def look(self, rgb_u8: NDArray[np.uint8]) -> Features:
        """The picture's features.

        Args:
            rgb_u8: (H, W, 3), any size.

        Raises:
            EngineFailed: the engine reported an error.
        """
        height, width = rgb_u8.shape[:2]
        wanted = self.manifest.input
        plane = cpu.resize_normalise(
            rgb_u8,
            wanted.width,
            wanted.height,
            wanted.mean,
            wanted.std,
            layout=wanted.layout,
            fit=wanted.fit,
            channels=wanted.channels,
        )
        shape = self.engine.picture.shape
        sides = shape[-3:-1] if wanted.layout == "NHWC" else shape[-2:]
        if wanted.fit == "corner" and not any(isinstance(side, int) for side in sides):
            # A graph that takes any size fills up to its plane itself, in its own way.
            at = self._placed(width, height)
            if wanted.layout == "NHWC":
                plane = plane[:, : at.height, : at.width]
            else:
                plane = plane[:, :, : at.height, : at.width]
        return Features(self.engine.encode(plane), width, height)

    def answer(self, features: Features, prompts: Prompts) -> Answer:
        """The subject that the prompts mean.

        Args:
            features: from `look`.
            prompts: what is wanted.

        Raises:
            EngineFailed: the engine reported an error, or its answer is not what was promised.
        """
        if self.decoder.prompts == "maps":
            asked = {"prompts": prompt_maps(prompts, *self._map_wh())}
        else:
            asked = self._as_points(features, prompts)
        masks, scores = self.engine.decode(features.tensors, asked)
        if masks.ndim < 2 or masks.size == 0 or not np.isfinite(masks).all():
            raise self._failed("answered values that are not numbers, or no mask at all")
        masks = masks.reshape(-1, *masks.shape[-2:])
        flat = np.zeros(len(masks), np.float32) if scores is None else scores.reshape(-1)
        if len(flat) != len(masks):
            raise self._failed(f"answered {len(masks)} masks and {len(flat)} scores")
        index = best_mask(flat, prompts)
        alpha = self._over_picture(_activated(masks[index], self.manifest), features)
        own = expected_iou(alpha) if scores is None else float(np.clip(flat[index], 0, 1))
        return Answer(alpha, own)

    def warm(self) -> None:
        """Looks at a blank picture and answers each kind of prompt once, so that the first request
        pays for nothing and surprises nobody.

        Raises:
            EngineFailed: a run failed, or the answer is not what the manifest promises.
        """
        wanted = self.manifest.input
        features = self.look(np.full((wanted.height, wanted.width, 3), 128, np.uint8))
        earlier = np.ones((8, 8), np.float32)
        box = BoxPrompt(0.25, 0.25, 0.75, 0.75)
        self.answer(features, Prompts((Click(0.5, 0.5),)))
        self.answer(features, Prompts((Click(0.5, 0.5),), box, earlier))

    def close(self) -> None:
        """Frees the engine; the model is not run again."""
        self.engine.close()

    def _placed(self, width: int, height: int) -> Placement:
        plane = self.manifest.input
        return place((width, height), (plane.width, plane.height), plane.fit)

    def _map_wh(self) -> tuple[int, int]:
        """Columns and rows of the prompt maps: the graph's, else half the encoder's plane."""
        plane = self.manifest.input
        sides = self.engine.roles["prompts"].shape[-2:]
        return _sides(sides, plane.width // 2, plane.height // 2)

    def _as_points(self, features: Features, prompts: Prompts) -> dict[str, NDArray[Any]]:
        plane = self.manifest.input
        at = self._placed(features.width, features.height)
        places, labels = point_lists(prompts, at, padding_point=self.decoder.padding_point)
        # EfficientSAM has an axis of queries between the batch and the points.
        asked: dict[str, NDArray[Any]] = {
            "points": places,
            "labels": labels,
            "size": np.array([at.height, at.width]),
            "has_mask": np.array([prompts.earlier is not None]),
        }
        if "mask" in self.engine.roles:
            width, height = _sides(self.engine.roles["mask"].shape[-2:], MASK_SIDE, MASK_SIDE)
            plane_wh = (plane.width, plane.height)
            asked["mask"] = earlier_logits(prompts.earlier, at, plane_wh, width, height)
        return asked

    def _over_picture(self, alpha: F32, features: Features) -> F32:
        """The part of the alpha that covers the picture, bars cut away."""
        if "size" in self.engine.roles:
            return alpha  # the graph was told the picture's part of the plane and cut it out
        height, width = alpha.shape
        at = place((features.width, features.height), (width, height), self.manifest.fit)
        inside = alpha[at.top : at.top + at.height, at.left : at.left + at.width]
        return np.ascontiguousarray(inside)

    def _failed(self, what: str) -> EngineFailed:
        return EngineFailed(f"model '{self.manifest.name}' ({self.manifest.path}) {what}")


def expected_iou(alpha: F32) -> float:
    """How good a soft mask takes itself to be, 0..1: the IoU of its pixels from 0.5 on with a truth
    that is drawn pixel by pixel with the alpha as its chance.

    Args:
        alpha: (h, w) in [0, 1].
    """
    inside = alpha >= 0.5
    hit = float(alpha[inside].sum())
    missed = float(alpha[~inside].sum())
    union = float(inside.sum()) + missed
    return hit / union if union > 0 else 0.0


def _activated(mask: F32, manifest: Manifest) -> F32:
    """The alpha in [0, 1] that one raw mask means."""
    if manifest.output.activation == "sigmoid":
        # Beyond 30 it is 0 or 1 in float32 anyway, and exp would overflow.
        mask = (1 / (1 + np.exp(-np.clip(mask, -30, 30)))).astype(np.float32)
    return np.ascontiguousarray(np.clip(mask, 0, 1), np.float32)


def _sides(shape: Sequence[object], width: int, height: int) -> tuple[int, int]:
    """Columns and rows where the graph fixes them, else those given."""
    if len(shape) != 2:
        return width, height
    rows, columns = shape
    return (
        columns if isinstance(columns, int) else width,
        rows if isinstance(rows, int) else height,
    )
