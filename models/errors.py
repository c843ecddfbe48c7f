"""What can go wrong with models, each named for the fact it states.

Raised all over `models/`; only `server.errors` knows which gRPC status each becomes, and the CLI
prints the sentence.

    ModelError
    ├── ModelNotFound        no model of that name
    ├── ManifestError        a manifest says something impossible
    ├── WeightsMissing       the weights are not on this machine
    ├── WeightsDamaged       the weights are not the bytes that were pinned
    ├── LicenceNotAccepted   non-commercial weights, and the operator has not accepted their licence
    ├── WrongKindOfModel     a model that answers prompts where one that finds subjects is meant, or
    │                        the other way round
    ├── EngineFailed         the engine's library refused the weights or failed in a run
    │   ├── PlanNotBuilt     TensorRT cannot build a plan from the network
    │   ├── BuildCancelled   the caller ended the build
    │   └── AccuracyRefused  an engine answers too far from ONNX Runtime in fp32
    ├── DeviceNotAvailable   the device asked for is not there
    │   └── LibraryMissing   the library of the engine asked for is not there
    └── PullFailed           the weights could not be fetched
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path


class ModelError(Exception):
    """Base of everything in this file. The text is one sentence for people: what was seen, what to
    do.
    """


class ModelNotFound(ModelError):
    """No model of that name; the text lists the nearest names."""


class ManifestError(ModelError):
    """A manifest that cannot be used.

    Attributes:
        path: the TOML file.
        problems: one sentence each, every one naming the file, the key, what was seen and what is
            allowed.
    """

    def __init__(self, path: Path, problems: Sequence[str]) -> None:
        self.path = path
        self.problems = tuple(f"{path}: {problem}" for problem in problems)
        super().__init__("\n".join(self.problems))


class WeightsMissing(ModelError):
    """The weights are neither beside the manifest nor in the cache."""


class WeightsDamaged(ModelError):
    """The weights have another SHA-256 than the one pinned; the text holds both digests."""


class LicenceNotAccepted(ModelError):
    """The weights may not be used commercially, and nobody has accepted their licence by name."""


class WrongKindOfModel(ModelError):
    """A model that answers prompts, named where one that finds subjects by itself is meant, or the
    other way round; the text says which door it goes through.
    """


class EngineFailed(ModelError):
    """The engine's library refused the network or failed while running it; the text holds its
    words.
    """


class DeviceNotAvailable(ModelError):
    """The device asked for is not there; asking for it is an error, never a silent fallback."""


class PullFailed(ModelError):
    """Weights could not be fetched, or what was fetched is not what was pinned."""


class LibraryMissing(DeviceNotAvailable):
    """The library that the engine asked for needs is not installed, or too old."""


class PlanNotBuilt(EngineFailed):
    """TensorRT cannot build a plan from the network; the text holds its parser's words."""


class BuildCancelled(EngineFailed):
    """The build was ended by who asked for it; nothing was kept."""


class AccuracyRefused(EngineFailed):
    """An engine's alphas are too far from those of ONNX Runtime in fp32; the text holds both
    figures.
    """
