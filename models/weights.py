"""Where a model's bytes are on this machine, and the proof that they are the right ones.

Called by `models.registry` when a model is loaded and by `models.pull`, which fills the cache.
Weights lie beside their manifest, or in the cache as `weights/NAME-DIGEST.onnx`. A manifest without
a digest gets `weights/NAME.onnx` and, beside it, `NAME.onnx.sha256`: the digest its user pinned.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from models.errors import WeightsDamaged, WeightsMissing
from models.manifest import SHA256, Manifest


@dataclass(frozen=True, slots=True)
class VerifiedWeights:
    """A file whose bytes were read through and found to be the pinned ones."""

    path: Path
    sha256: str  # 64 lower-case hex digits


def default_cache_dir(environ: Mapping[str, str] = os.environ) -> Path:
    """The cache folder: $MATTESTREAM_CACHE_DIR, else mattestream in $XDG_CACHE_HOME or ~/.cache."""
    if chosen := environ.get("MATTESTREAM_CACHE_DIR"):
        return Path(chosen).expanduser()
    # The XDG standard says that a relative path there is to be ignored.
    shared = Path(environ.get("XDG_CACHE_HOME", ""))
    return (shared if shared.is_absolute() else Path.home() / ".cache") / "mattestream"


def cached_path(manifest: Manifest, cache_dir: Path) -> Path:
    """Where the cache keeps these weights, whether they are there or not.

    A pinned digest is part of the name: two versions of a model live side by side.
    """
    digest = manifest.weights.sha256
    name = f"{manifest.name}-{manifest.part}" if manifest.part else manifest.name
    stem = name if digest is None else f"{name}-{digest[:12]}"
    return cache_dir / "weights" / f"{stem}.onnx"


def locate(manifest: Manifest, cache_dir: Path) -> Path | None:
    """The weights' file, not yet verified: beside the manifest or in the cache, None when
    neither.
    """
    beside = manifest.weights.file
    if beside is not None and beside.is_file():
        return beside
    cached = cached_path(manifest, cache_dir)
    return cached if cached.is_file() else None


def missing_sentence(manifest: Manifest, cache_dir: Path) -> str:
    """What to tell the user of weights that `locate` did not find."""
    cached = cached_path(manifest, cache_dir)
    if manifest.weights.url is None:
        return f"model '{manifest.name}': its weights {manifest.weights.file} do not exist"
    return (
        f"model '{manifest.name}': its weights are not on this machine (looked for {cached}): "
        f"run 'mattestream models pull {manifest.name}'"
    )


def verified_weights(manifest: Manifest, cache_dir: Path) -> VerifiedWeights:
    """The weights, read through once and compared with the pinned digest where there is one.

    Raises:
        WeightsMissing: they are not on this machine.
        WeightsDamaged: they have another digest than the one pinned.
    """
    path = locate(manifest, cache_dir)
    if path is None:
        raise WeightsMissing(missing_sentence(manifest, cache_dir))
    digest = sha256_of(path)
    expected = manifest.weights.sha256 or read_pin(path)
    if expected is not None and digest != expected:
        raise WeightsDamaged(
            f"model '{manifest.name}': {path} has sha256 {digest}, expected {expected}: delete the "
            f"file and run 'mattestream models pull {manifest.name}', or correct the manifest"
        )
    return VerifiedWeights(path, digest)


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, 64 lower-case hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_pin(path: Path) -> str | None:
    """The digest a user pinned for a cached file, None when there is none.

    Raises:
        WeightsDamaged: the pin is not a digest.
    """
    pin = _pin_path(path)
    if not pin.is_file():
        return None
    text = pin.read_text(encoding="ascii", errors="replace").strip()
    if not SHA256.fullmatch(text):
        raise WeightsDamaged(f"{pin} holds no sha256: delete it and pull the model again")
    return text


def write_pin(path: Path, sha256: str) -> None:
    """Pins a cached file to the digest its user trusts."""
    with atomic_file(_pin_path(path)) as file:
        file.write(f"{sha256}\n".encode("ascii"))


def kept_twin(path: Path) -> VerifiedWeights | None:
    """A file that was made of weights and pinned, when its bytes are those that were written; else
    None: it is made again.
    """
    try:
        pin = read_pin(path)
        digest = sha256_of(path) if pin is not None and path.is_file() else None
    except (OSError, WeightsDamaged):
        return None
    return None if digest is None or digest != pin else VerifiedWeights(path, digest)


@contextmanager
def atomic_file(path: Path) -> Iterator[BinaryIO]:
    """A file being written that appears under `path` whole, or not at all; its folder is made.

    Raises:
        OSError: the folder cannot be written, or the disk is full.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # Same folder, so that the last step is a rename within one file system.
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
    part = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fchmod(file.fileno(), 0o644)  # a temporary file is its owner's alone
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _pin_path(path: Path) -> Path:
    return path.with_name(path.name + ".sha256")
