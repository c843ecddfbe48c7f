"""Asks promptable models, which are loaded when they are first wanted, and remembers what it has
seen.

Made by `server.app` and by the command line's local mode; `server.remover` binds wishes to it, and
`server.subjects.segmenter` asks it for what it remembers. Models that answer prompts run on the CPU
in the workers' threads: they are small, and half of their work is done once per picture.
"""

from __future__ import annotations

import hashlib
import threading
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mattestream.v1 import report_pb2
from models.prompt_model import PromptModel
from models.prompts import Prompts
from models.registry import Registry
from server.job import EncodedSource, Source
from server.option_rules import InvalidOption
from server.replies import model_used
from server.subjects.joined import joined
from server.subjects.seen import Key, Looked, Seen
from server.subjects.wish import Wish

U8 = NDArray[np.uint8]


@dataclass(slots=True)
class Asked:
    """What is known once a model was asked; filled by `Prompter.bind`'s wish."""

    score: float = 0.0  # the model's own estimate, 0..1
    was_seen: bool = False  # its features were kept from before


class Prompter:
    """The promptable models by name, and the pictures they have looked at.

    Args:
        registry: knows the manifests.
        default: the model used where a request names none.
        max_bytes: of pictures and features that are kept.
    """

    def __init__(self, registry: Registry, *, default: str, max_bytes: int) -> None:
        self.default = default
        self.seen = Seen(max_bytes)
        self._registry = registry
        self._models: dict[str, PromptModel] = {}
        self._loading = threading.Lock()

    def model(self, name: str | None = None) -> PromptModel:
        """The model, loaded and warm; blocks while it is loaded.

        Raises:
            ModelError: see `models.errors`.
        """
        name = name or self.default
        with self._loading:
            found = self._models.get(name)
            if found is None:
                found = self._registry.load_prompt(name)
                found.warm()
                self._models[name] = found
            return found

    def close(self) -> None:
        """Frees the models; nobody asks any more."""
        with self._loading:
            for model in self._models.values():
                model.close()
            self._models.clear()
        self.seen.clear()

    def key(self, source: Source, matte: report_pb2.ModelUsed, max_megapixels: float) -> Key:
        """Under which a picture is remembered: its bytes' digest, what it was made smaller to, and
        the model that made its matte. Takes 0.5 ms a megabyte.
        """
        digest = hashlib.sha256(source.data).digest()
        shape = "" if isinstance(source, EncodedSource) else repr(replace(source, data=b""))
        return digest, shape, matte.weights_sha256, max_megapixels

    def bind(
        self,
        wish: Wish,
        key: Key | None,
        report: report_pb2.Report,
        *,
        name: str | None = None,
    ) -> tuple[Wish, Asked]:
        """The wish with somebody to ask, and what will be known of the asking.

        Args:
            wish: with prompts.
            key: of the picture; None: it is not remembered.
            report: of this picture; told which model was asked, and kept with the picture.
            name: of the model; None: the default.
        """
        asked = Asked()

        def ask(rgb_u8: U8, matte_u8: U8, cell_px: float | None, prompts: Prompts) -> U8:
            model = self.model(name)
            check_understood(model, prompts)
            looked = self.recall(key, name)
            asked.was_seen = looked is not None
            if looked is None:
                known = report_pb2.Report()
                known.CopyFrom(report)
                # Copies: both may lie in a slot of page-locked memory, which comes to hold others.
                rgb, matte = rgb_u8.copy(), matte_u8.copy()
                looked = Looked(rgb, matte, cell_px, model.look(rgb), known)
                if key is not None:
                    self.seen.keep((*key, model.weights_sha256), looked)
            return self.answer(looked, prompts, asked, report, name=name)

        return wish.bound_to(ask), asked

    def recall(self, key: Key | None, name: str | None = None) -> Looked | None:
        """What is remembered of a picture for that model; loads nothing."""
        model = self._models.get(name or self.default)
        if key is None or model is None:
            return None
        return self.seen.find((*key, model.weights_sha256))

    def answer(
        self,
        looked: Looked,
        prompts: Prompts,
        asked: Asked,
        report: report_pb2.Report,
        *,
        name: str | None = None,
    ) -> U8:
        """The alpha of what the prompts mean in a picture that was looked at, (H, W).

        Raises:
            EngineFailed: the model could not run.
            InvalidOption: the model does not understand them.
        """
        model = self.model(name)
        check_understood(model, prompts)
        answer = model.answer(looked.features, prompts)
        asked.score = answer.score
        report.prompt_model.CopyFrom(model_used(model))
        report.cached_features = asked.was_seen
        return joined(looked.matte_u8, answer.alpha)


def check_understood(model: PromptModel, prompts: Prompts) -> None:
    """Nothing when the model understands the prompts.

    Raises:
        InvalidOption: it does not; the sentence says which.
    """
    if not model.decoder.exclude and any(not click.wanted for click in prompts.clicks):
        raise InvalidOption(
            "option subject.points has a place that is not wanted, which model "
            f"'{model.manifest.name}' does not understand: leave it out, or name another model"
        )
