"""A model's two faces by their names: NAME is the network alone, NAME_pipeline all of the
background removal.

Used by all of `server.kserve`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from models.errors import ModelNotFound
from models.manifest import Manifest
from server.kserve.errors import ModelNotServing, VersionUnknown
from server.model_host import ModelHost, ModelLoading, ModelNotLoaded, State
from server.replica import Replica

SERVICE = "inference.GRPCInferenceService"
PIPELINE_SUFFIX = "_pipeline"
ANY_VERSION = ("", "-1")


@dataclass(frozen=True, slots=True)
class Face:
    """One of a model's two appearances.

    Attributes:
        manifest: the model's.
        is_pipeline: pictures in and out; False: the network's own tensors.
    """

    manifest: Manifest
    is_pipeline: bool

    @property
    def name(self) -> str:
        """As requests call it."""
        return self.manifest.name + (PIPELINE_SUFFIX if self.is_pipeline else "")

    @property
    def version(self) -> str:
        """The only one there is."""
        return self.manifest.version


def faces_of(manifest: Manifest) -> tuple[Face, ...]:
    """The network, where it has one, then the pipeline."""
    pipeline = Face(manifest, is_pipeline=True)
    return (Face(manifest, is_pipeline=False), pipeline) if manifest.has_network else (pipeline,)


def manifest_of(host: ModelHost, name: str) -> Manifest:
    """The model that `name` means, by either of its faces, whether it has that one or not; a model
    whose own name ends in the suffix goes first.

    Raises:
        ModelNotFound: there is no such model.
    """
    if name not in host.registry.names():
        name = name.removesuffix(PIPELINE_SUFFIX)
    return host.registry.manifest(name)


def find_face(host: ModelHost, name: str, version: str = "") -> Face:
    """The face that `name` means, loaded or not.

    Raises:
        ModelNotFound: there is no such model, or it has no network.
        VersionUnknown: it has another version.
    """
    manifest = manifest_of(host, name)
    face = Face(manifest, is_pipeline=name != manifest.name)
    if face not in (known := faces_of(face.manifest)):
        raise ModelNotFound(
            f"model '{name}' has no network to run on tensors: ask for '{known[0].name}'"
        )
    if version not in (*ANY_VERSION, face.version):
        raise VersionUnknown(
            f"model '{face.name}' has no version '{version}': its only one is '{face.version}', "
            "leave the version empty to take it"
        )
    return face


@contextmanager
def serving(host: ModelHost, face: Face) -> Iterator[Replica]:
    """A replica of the face's model for as long as the block lasts.

    Raises:
        ModelNotServing: it is not loaded, or not yet.
    """
    # Not around the block: what is raised inside is the caller's.
    try:
        lent = host.use(face.manifest.name)
        replica = lent.__enter__()
    except ModelNotLoaded:
        raise ModelNotServing(
            f"model '{face.name}' is not loaded: load it with RepositoryModelLoad, or start the "
            f"server with --load {face.manifest.name}"
        ) from None
    except ModelLoading as error:
        raise ModelNotServing(str(error)) from None
    try:
        yield replica
    finally:
        lent.__exit__(None, None, None)


def is_ready(host: ModelHost, name: str) -> bool:
    """True when the model called `name` in the registry is loaded, warm and on a live device."""
    state, hosted = host.state(name)
    return state is State.READY and hosted is not None and not hosted.is_lost
