"""Runs the two graphs of a promptable model with ONNX Runtime on the CPU, and checks them against
the manifest before anything runs.

Made by `models.registry`, run by `models.prompt_model`. It knows tensors by name and nothing of
pictures or prompts.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models import onnx_session
from models.errors import EngineFailed, ManifestError
from models.graph_check import Tensor
from models.manifest import Manifest

_DTYPES: Mapping[str, Any] = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(int64)": np.int64,
    "tensor(int32)": np.int32,
    "tensor(uint8)": np.uint8,
}
_NEEDED = {"maps": ("prompts",), "points": ("points", "labels")}


class PromptEngine:
    """Two sessions; `max_concurrent_runs` threads may be in them at once."""

    device = "cpu"
    max_batch = 1

    def __init__(self, encoder: Path, decoder: Path, manifest: Manifest, *, threads: int) -> None:
        """Reads the weights and checks both graphs.

        Args:
            encoder: the ONNX file that looks at a picture.
            decoder: the ONNX file that answers a prompt.
            manifest: what they should be; it has a decoder.
            threads: runs that may go on at once, 1 or more.

        Raises:
            EngineFailed: ONNX Runtime refuses a file.
            ManifestError: a graph is not what the manifest says.
        """
        assert manifest.decoder is not None
        self._manifest = manifest
        self._encoder = onnx_session.open_graph(encoder)
        self._decoder = onnx_session.open_graph(decoder)
        problems: list[str] = []
        self.picture = self._find_picture(problems)
        self.roles = self._find_roles(problems)
        self.features = self._find_features(problems)
        self.answer = self._find_answer(problems)
        if problems:
            raise ManifestError(manifest.path, problems)
        self.has_score = manifest.decoder.tensors.get("score") in _names(self._decoder.outputs)
        self.max_concurrent_runs = threads
        self._permits = threading.BoundedSemaphore(threads)
        self._closing = threading.Lock()
        self._closed = False

    @property
    def name(self) -> str:
        """Library and version: "onnxruntime 1.23.2"."""
        return onnx_session.NAME

    @property
    def precision(self) -> str:
        """Numeric precision of the encoder's input: "fp32" or "fp16"."""
        return onnx_session.PRECISIONS.get(self.picture.type, "fp32")

    def encode(self, picture: NDArray[np.float32]) -> dict[str, NDArray[Any]]:
        """The encoder's outputs that the decoder takes, by the encoder's names.

        Args:
            picture: as the graph wants it, whatever its axes.

        Raises:
            EngineFailed: ONNX Runtime reported an error, or the engine is closed.
        """
        wanted = sorted(set(self.features.values()))
        fed = {self.picture.name: _typed(picture, self.picture)}
        return dict(zip(wanted, self._run(self._encoder, wanted, fed), strict=True))

    def decode(
        self, features: Mapping[str, NDArray[Any]], prompts: Mapping[str, NDArray[Any]]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        """The decoder's masks, and its scores where it has them.

        Args:
            features: from `encode`.
            prompts: by role, those of `roles`; cast to the graph's types.

        Raises:
            EngineFailed: as `encode`.
        """
        fed: dict[str, NDArray[Any]] = {
            name: features[source] for name, source in self.features.items()
        }
        for role, tensor in self.roles.items():
            fed[tensor.name] = _typed(prompts[role], tensor)
        wanted = [self.answer]
        decoder = self._manifest.decoder
        if self.has_score and decoder is not None:
            wanted.append(decoder.tensors["score"])
        masks, *scores = self._run(self._decoder, wanted, fed)
        return (
            np.asarray(masks, np.float32),
            np.asarray(scores[0], np.float32) if scores else None,
        )

    def close(self) -> None:
        """Waits for the runs that go on and frees both sessions; may be called twice."""
        with self._closing:  # as in `models.onnx_engine`
            for _ in range(self.max_concurrent_runs):
                self._permits.acquire()
            self._closed = True
            self._encoder = self._decoder = onnx_session.Graph(None, (), ())
            for _ in range(self.max_concurrent_runs):
                self._permits.release()

    def _run(
        self, graph: onnx_session.Graph, wanted: list[str], fed: dict[str, NDArray[Any]]
    ) -> list[Any]:
        with self._permits:
            if self._closed:
                raise EngineFailed("the engine was closed before this run began")
            try:
                answers: list[Any] = graph.session.run(wanted, fed)
            except Exception as error:  # ONNX Runtime's classes share no base of their own
                raise EngineFailed(
                    f"{self.name} failed in a run: {onnx_session.words(error)}"
                ) from error
        return answers

    def _find_picture(self, problems: list[str]) -> Tensor:
        inputs = self._encoder.inputs
        wanted = self._manifest.input.tensor or (inputs[0].name if inputs else "")
        if len(inputs) != 1 or inputs[0].name != wanted:
            problems.append(
                f"'input.tensor' is '{wanted}', but the encoder's inputs are {_listed(inputs)}: it "
                f"must take one picture and nothing else"
            )
        found = inputs[0] if inputs else Tensor(wanted, (), "tensor(float)")
        if found.type not in _DTYPES:
            problems.append(
                f"the encoder's input '{found.name}' is a {found.type}; allowed are "
                f"{', '.join(_DTYPES)}"
            )
        axes = len(found.shape)
        nhwc = self._manifest.input.layout == "NHWC"
        if axes not in ({0, 3, 4} if nhwc else {0, 4}):
            problems.append(
                f"'input.layout' is '{self._manifest.input.layout}', but the encoder's input "
                f"'{found.name}' has {axes} axes: allowed are 4"
                f"{', or 3 without the batch' if nhwc else ''}"
            )
        return found

    def _find_roles(self, problems: list[str]) -> dict[str, Tensor]:
        decoder = self._manifest.decoder
        assert decoder is not None
        takes = {tensor.name: tensor for tensor in self._decoder.inputs}
        roles = {
            role: takes[name]
            for role, name in decoder.tensors.items()
            if role != "score" and name in takes
        }
        problems.extend(
            f"'decoder.tensors.{role}' is '{decoder.tensors[role]}', but the decoder's inputs are "
            f"{_listed(self._decoder.inputs)}"
            for role in _NEEDED[decoder.prompts]
            if role not in roles
        )
        problems.extend(
            f"the decoder's input '{tensor.name}' is a {tensor.type}; allowed are "
            f"{', '.join(_DTYPES)}"
            for tensor in roles.values()
            if tensor.type not in _DTYPES
        )
        return roles

    def _find_features(self, problems: list[str]) -> dict[str, str]:
        """Decoder's input to encoder's output."""
        decoder = self._manifest.decoder
        assert decoder is not None
        gives = _names(self._encoder.outputs)
        prompts = {tensor.name for tensor in self.roles.values()}
        features: dict[str, str] = {}
        for tensor in self._decoder.inputs:
            if tensor.name in prompts:
                continue
            source = decoder.features.get(tensor.name, tensor.name)
            if source not in gives:
                problems.append(
                    f"the decoder needs '{tensor.name}', but the encoder's outputs are "
                    f"{_listed(self._encoder.outputs)}: say in 'decoder.features' which of them it "
                    f"is, or in 'decoder.tensors' which prompt"
                )
            features[tensor.name] = source
        problems.extend(
            f"'decoder.features' names '{name}', but the decoder's inputs are "
            f"{_listed(self._decoder.inputs)}"
            for name in decoder.features
            if name not in features
        )
        return features

    def _find_answer(self, problems: list[str]) -> str:
        gives = self._decoder.outputs
        wanted = self._manifest.output.tensor or (gives[0].name if gives else "")
        if wanted not in _names(gives):
            problems.append(
                f"'output.tensor' is '{wanted}', but the decoder's outputs are {_listed(gives)}"
            )
        return wanted


def _typed(values: NDArray[Any], tensor: Tensor) -> NDArray[Any]:
    """The values in the graph's type and number of axes, single axes put in front or taken away."""
    missing = len(tensor.shape) - values.ndim
    if tensor.shape and missing > 0:
        values = values.reshape((1,) * missing + values.shape)
    elif tensor.shape and missing < 0:
        values = values.reshape(values.shape[-len(tensor.shape) :])
    return np.ascontiguousarray(values, _DTYPES[tensor.type])


def _names(tensors: Sequence[Tensor]) -> set[str]:
    return {tensor.name for tensor in tensors}


def _listed(tensors: Sequence[Tensor]) -> str:
    return ", ".join(f"'{tensor.name}'" for tensor in tensors) or "none"
