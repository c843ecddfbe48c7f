"""Which models there are: the built-in one, the well-known ones, and those in the operator's
folders.

Called by the server (`server.model_host`) and by the CLI. Every `*.toml` of a folder is a
manifest; a broken one is a problem to show, and never stops the others.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from models import weights
from models.errors import ManifestError, ModelNotFound, WrongKindOfModel
from models.key_model import KeyModel
from models.licences import refusal, require_accepted
from models.loaded import Loaded
from models.manifest import Manifest, files_of, read_manifest
from models.model import Model
from models.onnx_engine import OnnxEngine
from models.prompt_engine import PromptEngine
from models.prompt_model import PromptModel
from models.recurrent import RecurrentModel
from models.target import Target

if TYPE_CHECKING:
    from models.device_loading import Progress

HERE = Path(__file__).parent
BUILTIN_DIR = HERE / "builtin"
KNOWN_DIR = HERE / "known"


class Registry:
    """Finds, explains and loads models. Folders are read once, at the first question."""

    def __init__(
        self,
        model_dirs: Sequence[Path] = (),
        cache_dir: Path | None = None,
        accepted_licences: frozenset[str] = frozenset(),
        *,
        shipped_dirs: Sequence[Path] = (BUILTIN_DIR, KNOWN_DIR),
    ) -> None:
        """Stores its settings.

        Args:
            model_dirs: the operator's folders of manifests.
            cache_dir: where pulled weights are; None: `models.weights.default_cache_dir()`.
            accepted_licences: names of licences or of models that the operator accepted.
            shipped_dirs: folders that come with the application.
        """
        self.cache_dir = weights.default_cache_dir() if cache_dir is None else cache_dir
        self.accepted_licences = accepted_licences
        self._dirs = (*shipped_dirs, *model_dirs)

    def names(self) -> list[str]:
        """Names of all models, sorted."""
        return sorted(self._catalogue[0])

    def problems(self) -> list[str]:
        """A sentence for each thing that is wrong in the folders: manifests, names used twice."""
        return list(self._catalogue[1])

    def ready_made(self) -> list[str]:
        """Names of the models that need no weights, sorted: they take no memory to load."""
        return sorted(name for name, one in self._catalogue[0].items() if not one.has_network)

    def manifest(self, name: str) -> Manifest:
        """The model's manifest.

        Raises:
            ModelNotFound: there is none of that name.
        """
        manifests = self._catalogue[0]
        if name in manifests:
            return manifests[name]
        near = difflib.get_close_matches(name, manifests, n=3)
        words = "the nearest names are" if near else "known are"
        listed = ", ".join(f"'{other}'" for other in near or self.names()) or "none"
        raise ModelNotFound(f"there is no model '{name}': {words} {listed}")

    def availability(self, name: str) -> str:
        """Why the model cannot be loaded and what to do, in a sentence; empty when it can be.

        Looks whether the weights are there, not whether they are right: `load` reads them through.

        Raises:
            ModelNotFound: there is none of that name.
        """
        manifest = self.manifest(name)
        if reason := refusal(manifest, self.accepted_licences):
            return reason
        for file in files_of(manifest):
            if weights.locate(file, self.cache_dir) is None:
                return weights.missing_sentence(file, self.cache_dir)
        return ""

    def load(
        self,
        name: str,
        target: Target = Target(),  # noqa: B008 - frozen
        *,
        threads: int = 1,
        max_batch: int = 0,
        on_progress: Progress | None = None,
        cancelled: Callable[[], bool] | None = None,
    ) -> Loaded:
        """The model, ready to run; not warm yet. Takes as long as reading its weights does, and
        minutes where TensorRT has to build a plan first.

        Args:
            name: as in `names`.
            target: the device and its engine; a model without a network runs on the CPU anyway.
            threads: runs that may go on at once, on a CPU.
            max_batch: most images in one run; 0: the engine's choice, 1 on a CPU.
            on_progress: told what goes on and how far it is, 0..1, where that takes long.
            cancelled: asked at each step of a build; True ends it with an error.

        Raises:
            ModelNotFound, LicenceNotAccepted, WeightsMissing, WeightsDamaged: see `models.errors`.
            ManifestError: the graph is not what the manifest says.
            EngineFailed: the engine's library refuses the weights.
            DeviceNotAvailable: the target is not there.
        """
        manifest = self.manifest(name)
        if manifest.decoder is not None:
            raise WrongKindOfModel(
                f"model '{name}' answers prompts (points, a box or a mask) and finds no subject by "
                f"itself: name another model here, as 'mattestream models list' lists them"
            )
        if not manifest.has_network:
            return KeyModel(manifest, threads=threads)
        require_accepted(manifest, self.accepted_licences)
        found = weights.verified_weights(manifest, self.cache_dir)
        if target.index is not None:
            from models import device_loading  # what a GPU needs is not read on a CPU

            return device_loading.load_on_device(
                manifest,
                found,
                target,
                cache_dir=self.cache_dir,
                max_batch=max_batch,
                on_progress=on_progress,
                cancelled=cancelled,
            )
        engine = OnnxEngine(found.path, manifest, threads=threads, max_batch=max_batch)
        kind = RecurrentModel if manifest.is_recurrent else Model
        return kind(manifest, engine, found.sha256)

    def load_prompt(self, name: str, *, threads: int = 1) -> PromptModel:
        """The model that answers prompts, ready to run on the CPU; not warm yet.

        Args:
            name: as in `names`.
            threads: runs that may go on at once.

        Raises:
            WrongKindOfModel: it finds subjects by itself and takes no prompts.
            ModelNotFound, LicenceNotAccepted, WeightsMissing, WeightsDamaged, ManifestError,
            EngineFailed: as `load`.
        """
        manifest = self.manifest(name)
        if manifest.decoder is None:
            known = [other for other, one in self._catalogue[0].items() if one.decoder is not None]
            raise WrongKindOfModel(
                f"model '{name}' takes no prompts: those that do are "
                f"{', '.join(sorted(known)) or 'none'}"
            )
        require_accepted(manifest, self.accepted_licences)
        encoder, decoder = (
            weights.verified_weights(file, self.cache_dir) for file in files_of(manifest)
        )
        engine = PromptEngine(encoder.path, decoder.path, manifest, threads=threads)
        return PromptModel(manifest, engine, encoder.sha256)

    @cached_property
    def _catalogue(self) -> tuple[dict[str, Manifest], list[str]]:
        manifests: dict[str, Manifest] = {}
        problems: list[str] = []
        for folder in self._dirs:
            if not folder.is_dir():
                problems.append(f"{folder}: there is no such folder of models")
            for path in sorted(folder.glob("*.toml")):
                try:
                    manifest = read_manifest(path)
                except ManifestError as error:
                    problems.extend(error.problems)
                    continue
                first = manifests.setdefault(manifest.name, manifest)
                if first is not manifest:
                    problems.append(
                        f"{path}: 'name' is '{manifest.name}', which {first.path} has already: "
                        f"give one of them another name (the first is used)"
                    )
        return manifests, problems
