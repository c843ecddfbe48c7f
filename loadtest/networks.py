"""The one ONNX that both servers of a comparison run, and where each of them looks for it.

Called by `compare_rembg` and `stages`. The network takes float32 1x3xHxW with ImageNet's mean and
deviation and gives float32 1x1xHxW; rembg's `u2net_custom` reads exactly that, and stretches each
answer to 0..1, which our manifest says with `activation = "minmax"`.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
SIDE_PX = 320
MODEL_NAME = "same-onnx"
REMBG_MODEL = "u2net_custom"
SHARED = Path(__file__).resolve().parents[2] / "shared"
FILES = {"sinet": "sinet_1ch.onnx", "u2netp": "u2netp_rand.onnx"}
BUILT_IN = "built-in"  # the project's own, which has the same form: no other file is needed
_BUILT_IN_FILE = Path(__file__).resolve().parents[1] / "models" / "builtin" / "matte-s.onnx"

_MANIFEST = """\
name = "{name}"
version = "1"
description = "The network of a side-by-side run, prepared and read as rembg does."
license = "measurement only"
commercial_use = true

[weights]
file = "{file}"
sha256 = "{sha256}"

[input]
width = {side}
height = {side}
layout = "NCHW"
channels = "RGB"
mean = {mean}
std = {std}
fit = "stretch"

[output]
layout = "NCHW"
activation = "minmax"
"""


class NetworkMissing(Exception):
    """There is no ONNX to run; the sentence says how to get one."""


@dataclass(frozen=True, slots=True)
class Network:
    """One ONNX file, placed for both servers."""

    name: str
    sha256: str
    model_dir: Path  # ours: holds the manifest and the file
    rembg_home: Path  # theirs: REMBG_HOME
    rembg_path: Path  # theirs: lies inside REMBG_HOME
    path: Path  # ours


def place_network(onnx: Path, work: Path) -> Network:
    """The ONNX at `onnx`, placed under `work` for our server and for rembg's.

    Raises:
        NetworkMissing: there is no such file.
    """
    if not onnx.is_file():
        raise NetworkMissing(
            f"there is no {onnx}: give --onnx FILE, or leave it out to have one made"
        )
    sha256 = hashlib.sha256(onnx.read_bytes()).hexdigest()
    model_dir, home = work / "models", work / "rembg"
    theirs = home / "models" / REMBG_MODEL / onnx.name
    for folder in (model_dir, theirs.parent):
        folder.mkdir(parents=True, exist_ok=True)
    ours = Path(shutil.copy(onnx, model_dir / onnx.name))
    shutil.copy(onnx, theirs)
    manifest = _MANIFEST.format(
        name=MODEL_NAME,
        file=onnx.name,
        sha256=sha256,
        side=SIDE_PX,
        mean=list(IMAGENET_MEAN),
        std=list(IMAGENET_STD),
    )
    (model_dir / f"{MODEL_NAME}.toml").write_text(manifest, encoding="utf-8")
    return Network(onnx.stem, sha256, model_dir, home, theirs, ours)


def make_network(kind: str, work: Path, python: Path, *, shared: Path = SHARED) -> Path:
    """The ONNX of `kind`: the built-in one, or one that the script beside the checkout makes.

    Args:
        kind: `BUILT_IN` or a key of `FILES`.
        work: where the file is put.
        python: an interpreter with `onnx` and `numpy`: the peer's environment has them.
        shared: folder with `peers/make_u2net_custom.py` and `models/`.

    Raises:
        NetworkMissing: the script or the SINet is not there, or it failed.
    """
    if kind == BUILT_IN:
        return _BUILT_IN_FILE
    script, sinet = (
        shared / "peers" / "make_u2net_custom.py",
        shared / "models" / "SINet_Softmax_simple.onnx",
    )
    for needed in (script, sinet):
        if not needed.is_file():
            raise NetworkMissing(f"there is no {needed.name} beside the checkout: give --onnx FILE")
    out = work / "made"
    command = [str(python), str(script), str(out), "--sinet", str(sinet)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)
    if done.returncode:
        raise NetworkMissing(f"{script.name} failed: {done.stderr.strip()[-500:]}")
    return out / FILES[kind]
