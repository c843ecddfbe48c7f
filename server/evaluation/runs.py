"""A model with settings, run on one case by the server's own pipeline, and what came of it.

Called by `mattestream eval`. All runs are measured on a picture before the next is read: a machine
that slows down slows all of them, so their times stay comparable.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import cv2
import numpy as np

from models.loaded import Loaded
from models.metrics import METRICS, fringe
from server.catalogue import open_registry, targets
from server.codecs.encode import Encoded
from server.codecs.header import Limits
from server.config import Config
from server.evaluation.cases import U8, BadTruth, Case, alpha_of
from server.evaluation.settings import DEFAULTS, read_settings
from server.job import Options
from server.pipeline import Pipeline, Removed, remove_one
from server.replica import make_pipeline

EMPTY_METRICS = ("mae", "mse", "sad")  # the others tell nothing where there is no subject
STAGES = ("decode", "prepare", "infer", "finish")


@dataclass(frozen=True, slots=True)
class Run:
    """What is compared: one column of the report."""

    label: str  # "matte-s, refine=fast"
    settings: str  # as they were written; "defaults" for none
    options: Options
    model: Loaded
    pipeline: Pipeline


@dataclass(frozen=True, slots=True)
class Measured:
    """One run on one case.

    Attributes:
        run: the run's label.
        name: of the case.
        group: of the case.
        is_empty: the truth shows no subject.
        width, height: of the picture, upright, in pixels.
        scores: by the names of `models.metrics.METRICS`, and "fringe" where the case has colours.
        uncertainty: as the report has it, 0..1.
        coverage: mean alpha, 0..1.
        no_subject: as the report has it.
        treatment: what was really done, as the report has it: "refine fast, decontaminate 1".
        stages_ms: by the names of STAGES.
    """

    run: str
    name: str
    group: str
    is_empty: bool
    width: int
    height: int
    scores: Mapping[str, float]
    uncertainty: float
    coverage: float
    no_subject: bool
    treatment: str
    stages_ms: Mapping[str, float]


class Bench:
    """The runs with their models loaded, on one core of a CPU or on the device named.

    Args:
        config: as a server would have it: device, model folders, accepted licences, limits.
        models: names; every one is run with every setting.
        settings: as `server.evaluation.settings.read_settings` takes them.

    Raises:
        ModelError: a model cannot be loaded.
        InvalidOption, NotBuilt: as `read_settings`.
    """

    def __init__(self, config: Config, models: Sequence[str], settings: Sequence[str]) -> None:
        wanted = [
            (name, words, read_settings(words, name))
            for name in dict.fromkeys(models)
            for words in dict.fromkeys(text.strip() or DEFAULTS for text in settings)
        ]
        self.limits = Limits(config.max_megapixels, config.max_side_px)
        self.runs: list[Run] = []
        self._opened: dict[str, tuple[Loaded, Pipeline]] = {}
        self._threads = cv2.getNumThreads()
        cv2.setNumThreads(1)  # one core, as each of a server's workers has
        try:
            for name, words, options in wanted:
                model, pipeline = self._open(config, name)
                label = name if words == DEFAULTS else f"{name}, {words}"
                self.runs.append(Run(label, words, options, model, pipeline))
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Frees the models and gives OpenCV its threads back."""
        for model, pipeline in self._opened.values():
            pipeline.free()
            model.close()
        self._opened.clear()
        cv2.setNumThreads(self._threads)

    def _open(self, config: Config, name: str) -> tuple[Loaded, Pipeline]:
        if name not in self._opened:
            target = targets(config)[0]
            model = open_registry(config).load(name, target)
            model.warm()
            pipeline = make_pipeline(model, target, self.limits, gpu_jpeg=config.gpu_jpeg)
            self._opened[name] = (model, pipeline)
        return self._opened[name]


def measure(run: Run, case: Case) -> tuple[Measured, U8]:
    """The run's figures on the case, and its cut-out, (H, W, 4) uint8 with straight alpha.

    Raises:
        ImageRejected, EngineFailed: as `server.pipeline.remove_one`.
        BadTruth: the truth has another size than the picture.
    """
    removed = remove_one(run.pipeline, case.source, run.options)
    cutout = _pixels(removed)
    if cutout.shape[:2] != case.alpha.shape:
        seen, true = (
            "x".join(map(str, shape[1::-1])) for shape in (cutout.shape, case.alpha.shape)
        )
        raise BadTruth(f"{case.name} comes out at {seen}, its truth is {true}: both must be alike")
    alpha = alpha_of(cutout[..., 3])
    kept = EMPTY_METRICS if case.is_empty else METRICS
    scores = {name: METRICS[name](alpha, case.alpha) for name in kept}
    if case.cutout is not None:
        made = cutout.astype(np.float32)
        made[..., 3] = alpha
        scores["fringe"] = fringe(made, case.cutout)
    outcome, statistics = removed.outcome, removed.outcome.statistics
    measured = Measured(
        run=run.label,
        name=case.name,
        group=case.group,
        is_empty=case.is_empty,
        width=removed.opened.width,
        height=removed.opened.height,
        scores=scores,
        uncertainty=statistics.uncertainty,
        coverage=statistics.coverage,
        no_subject=statistics.box is None,
        treatment=f"refine {outcome.refine}, decontaminate {outcome.decontaminate:g}",
        stages_ms={
            "decode": removed.opened.decode_ms,
            "prepare": removed.opened.prepare_ms,
            "infer": removed.infer_ms,
            "finish": outcome.finish_ms,
        },
    )
    return measured, cutout


def _pixels(removed: Removed) -> U8:
    encoded = removed.outcome.encoded
    assert isinstance(encoded, Encoded)  # the options ask for pixels
    return np.frombuffer(encoded.data, np.uint8).reshape(encoded.height, encoded.width, 4)
