"""Built plans on disk: found by all that went into them, and proven whole before they are loaded.

Used by `models.tensorrt_plans`. A plan file is a magic word, the length of a JSON header, the
header (the plan's key, size and SHA-256) and the plan. Deserialising runs code that trusts its
input, so a damaged, truncated or foreign file is found here and thrown away, never handed to the
library.

Several processes may share the folder. Who builds holds a lock file, so the others wait and then
read what it built; where the file system has no locks each builds for itself, the last one's file
stays, and it is as good as the others': both hold all of the same key.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import hashlib
import json
import logging
import os
import struct
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models.accuracy import Accuracy
from models.errors import BuildCancelled
from models.weights import atomic_file

MAGIC = b"MATTEPL1"
MAX_HEADER_BYTES = 64 * 1024
WAIT_S = 0.1  # between two looks at a lock that somebody else holds

log = logging.getLogger(__name__)


class _Damaged(Exception):
    """A plan file that must not be loaded; the text says why. Never leaves `PlanCache`."""


@dataclass(frozen=True, slots=True)
class PlanKey:
    """All that a plan depends on: with any of it changed, the plan is another one.

    Attributes:
        model: its name; for the file's name.
        weights_sha256: of the ONNX file that was parsed.
        precision: "fp32" or "fp16".
        library: "tensorrt 11.4.0.106"; plans are tied to the exact version.
        gpu: "NVIDIA H200"; "any" where the library builds portable plans.
        capability: "9.0"; "any" likewise.
        buckets: batch sizes, one optimisation profile each.
        input_shape: of one image: (3, H, W) or (H, W, 3).
        tensors: the manifest's names of input and output; None: the graph's first. The builder
            removes every other output.
        flags: builder settings that change the result.
        optimization_level: 0..5.
        workspace_bytes: limit of scratch memory, 0: none.
        states: of a recurrent network, the names of each one's input and output.
    """

    model: str
    weights_sha256: str
    precision: str
    library: str
    gpu: str
    capability: str
    buckets: tuple[int, ...]
    input_shape: tuple[int, ...]
    tensors: tuple[str | None, str | None]
    flags: tuple[str, ...]
    optimization_level: int
    workspace_bytes: int
    states: tuple[tuple[str, str], ...] = ()

    @property
    def digest(self) -> str:
        """SHA-256 of the key, 64 hex digits."""
        return hashlib.sha256(self.json().encode()).hexdigest()

    @property
    def stem(self) -> str:
        """The files' name: readable, and with 64 bits of the digest no two keys share one."""
        return f"{self.model}-{self.precision}-{self.digest[:16]}"

    def json(self) -> str:
        """The key as one line, the same for the same key."""
        return json.dumps(dataclasses.asdict(self), sort_keys=True)


@dataclass(frozen=True, slots=True)
class StoredPlan:
    """A plan whose bytes are those that were built."""

    path: Path
    data: bytes
    sha256: str


class PlanCache:
    """A folder of plans, bounded in size: the longest unused go first."""

    def __init__(self, folder: Path, *, max_bytes: int = 8 << 30) -> None:
        """Stores.

        Args:
            folder: made when something is written.
            max_bytes: all plans together; the one just written stays whatever its size.
        """
        self.folder = folder
        self._max_bytes = max_bytes

    def path(self, key: PlanKey) -> Path:
        """Where the plan of `key` is, whether it is there or not."""
        return self.folder / f"{key.stem}.plan"

    def read(self, key: PlanKey) -> StoredPlan | None:
        """The plan of `key`, proven whole; None when there is none. A damaged one is deleted."""
        path = self.path(key)
        try:
            data, sha256 = _unpack(path.read_bytes(), key.json())
        except FileNotFoundError:
            return None
        except OSError as error:  # says nothing of the plan, which may be good: it stays
            log.warning("plan %s is not used: it cannot be read: %s", path, error.strerror or error)
            return None
        except _Damaged as error:
            log.warning("plan %s is not used: %s", path, error)
            self.discard(key)
            return None
        with contextlib.suppress(OSError):
            os.utime(path)  # it is in use: the oldest are pruned
        return StoredPlan(path, data, sha256)

    def write(self, key: PlanKey, data: bytes) -> StoredPlan:
        """Keeps a plan that was just built, and prunes the folder.

        Raises:
            OSError: the folder cannot be written, or the disk is full.
        """
        path = self.path(key)
        sha256 = hashlib.sha256(data).hexdigest()
        self._figures_path(key).unlink(missing_ok=True)  # a plan that was built is measured
        with atomic_file(path) as file:
            file.write(_head(key.json(), data, sha256))
            file.write(data)
        self._prune(path)
        return StoredPlan(path, data, sha256)

    def discard(self, key: PlanKey) -> None:
        """Deletes the plan and its figures."""
        for path in (self.path(key), self._figures_path(key)):
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)

    def accuracy(self, key: PlanKey, plan: StoredPlan, gpu: str) -> Accuracy | None:
        """What was measured of exactly this plan on that kind of GPU; None when nothing was."""
        try:
            kept = self._figures(key, plan).get(gpu)
            return None if kept is None else Accuracy(**kept)
        except (TypeError, AttributeError):
            return None

    def keep_accuracy(self, key: PlanKey, plan: StoredPlan, gpu: str, figure: Accuracy) -> None:
        """Writes what was measured beside the plan."""
        figures = {**self._figures(key, plan), gpu: dataclasses.asdict(figure)}
        with atomic_file(self._figures_path(key)) as file:
            file.write(json.dumps({"plan_sha256": plan.sha256, "accuracy": figures}).encode())

    @contextlib.contextmanager
    def lock(self, key: PlanKey, cancelled: Callable[[], bool] = lambda: False) -> Iterator[None]:
        """Held by the one that builds the plan of `key`, in this process or another.

        Raises:
            BuildCancelled: `cancelled()` while somebody else builds.
            OSError: the folder cannot be written.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        # Lock files stay: deleting one that somebody waits for would let two hold "the" lock.
        with (self.folder / f"{key.stem}.lock").open("ab") as file:
            while True:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if cancelled():
                        raise BuildCancelled("the build was cancelled while another ran") from None
                    time.sleep(WAIT_S)
                except OSError as error:
                    log.info("%s has no locks (%s): others may build the same", self.folder, error)
                    break
            yield

    def _figures_path(self, key: PlanKey) -> Path:
        return self.folder / f"{key.stem}.json"

    def _figures(self, key: PlanKey, plan: StoredPlan) -> dict[str, Any]:
        """The figures of this very plan, by GPU; a file that says something else is ignored."""
        try:
            kept = json.loads(self._figures_path(key).read_bytes())
            if kept["plan_sha256"] == plan.sha256 and isinstance(kept["accuracy"], dict):
                return dict(kept["accuracy"])
        except (OSError, ValueError, KeyError, TypeError):
            pass
        return {}

    def _prune(self, newest: Path) -> None:
        """Deletes the longest unused plans until the rest fits."""
        there = []
        for path in self.folder.glob("*.plan"):
            with contextlib.suppress(OSError):  # another process prunes as well
                found = path.stat()
                there.append((found.st_mtime_ns, found.st_size, path))
        total = sum(size for _, size, _ in there)
        for _, size, path in sorted(there):
            if total <= self._max_bytes:
                return
            if path == newest:
                continue
            log.info("plan %s is deleted: the folder may hold %d bytes", path, self._max_bytes)
            for each in (path, path.with_suffix(".json")):
                with contextlib.suppress(OSError):
                    each.unlink(missing_ok=True)
            total -= size


def _head(key_json: str, data: bytes, sha256: str) -> bytes:
    header = json.dumps({"key": key_json, "sha256": sha256, "bytes": len(data)}).encode()
    return MAGIC + struct.pack("<I", len(header)) + header


def _unpack(packed: bytes, key_json: str) -> tuple[bytes, str]:
    """The plan and its SHA-256, once everything that the header says is true."""
    start = len(MAGIC) + 4
    if packed[: len(MAGIC)] != MAGIC or len(packed) < start:
        raise _Damaged("it is no plan file of mattestream")
    (length,) = struct.unpack_from("<I", packed, len(MAGIC))
    if length > min(MAX_HEADER_BYTES, len(packed) - start):
        raise _Damaged("its header is cut off")
    try:
        header = json.loads(packed[start : start + length])
        key, sha256, size = header["key"], header["sha256"], header["bytes"]
    except (ValueError, KeyError, TypeError) as error:
        raise _Damaged("its header cannot be read") from error
    if key != key_json:
        raise _Damaged("it was built for something else")
    data = packed[start + length :]
    if len(data) != size:
        raise _Damaged(f"it has {len(data)} bytes of {size}")
    if hashlib.sha256(data).hexdigest() != sha256:
        raise _Damaged("its bytes are not those that were built")
    return data, sha256
