"""The animals of a game as OBJ files, which `render_things.py` renders.

Run by a person: `python -m models.training.game_models --archive public.zip --out FOLDER`; then
`python -m models.training.render_things --models FOLDER`. The archive is that of the game 0 A.D.
(Debian's package `0ad-data`): actors are XML files that name meshes and textures, meshes lie beside
them as PMD (its own binary form, version 4), textures as DDS. Meshes stand as they were modelled.
"""

from __future__ import annotations

import argparse
import io
import struct
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path, PurePosixPath
from xml.etree import ElementTree as ET

import numpy as np
from numpy.typing import NDArray
from PIL import Image

MAGIC, VERSION = b"PSMD", 4
BLEND_BYTES = 20  # of a vertex: four bones and their weights, not needed for a mesh that stands
MESHES, TEXTURES = "art/meshes/", "art/textures/skins/"
GAMMA = 0.7  # the game's sun is brighter than the renderer's lamps


@dataclass(frozen=True)
class Mesh:
    """Vertices (V, 3) with y up, normals (V, 3), UVs (V, 2) with v up, triangles (F, 3) from 0."""

    points: NDArray[np.float32]
    normals: NDArray[np.float32]
    uvs: NDArray[np.float32]
    triangles: NDArray[np.uint16]


@dataclass(frozen=True)
class Look:
    """One mesh with one texture; `see_through` where the texture's alpha is transparency."""

    mesh: str
    texture: str
    see_through: bool


def read_pmd(packed: bytes) -> Mesh:
    """A mesh from a PMD file.

    Raises:
        ValueError: it is none, or of another version than 4.
    """
    magic, version, _ = struct.unpack_from("<4sII", packed)
    if magic != MAGIC or version != VERSION:
        raise ValueError(
            f"the file begins with {magic!r}, version {version}; "
            f"read are those with {MAGIC!r}, version {VERSION}"
        )
    count, uv_sets = struct.unpack_from("<II", packed, 12)
    size = 24 + 8 * uv_sets + BLEND_BYTES
    rows = np.frombuffer(packed, np.uint8, count * size, 20).reshape(count, size)
    floats = np.ascontiguousarray(rows[:, :32]).view("<f4").astype(np.float32)
    at = 20 + count * size
    (faces,) = struct.unpack_from("<I", packed, at)
    triangles = np.frombuffer(packed, "<u2", 3 * faces, at + 4).reshape(faces, 3)
    return Mesh(floats[:, :3], floats[:, 3:6], floats[:, 6:8], triangles.astype(np.uint16))


def looks(actor: bytes) -> list[Look]:
    """Every mesh of an actor's XML with every texture that may go on it."""
    root = ET.fromstring(actor)
    material = root.findtext("material") or ""
    see_through = "trans" in material and not material.startswith("no_trans")
    pairs: set[tuple[str, str]] = set()
    meshes: set[str] = set()
    textures: set[str] = set()
    for variant in root.iter("variant"):
        own = [(mesh.text or "").strip() for mesh in variant.findall("mesh")]
        skins = [
            texture.get("file", "")
            for texture in variant.iter("texture")
            if texture.get("name") == "baseTex"
        ]
        if own and skins:  # made for each other
            pairs.update(product(own, skins))
        else:
            meshes.update(own)
            textures.update(skins)
    dressed = {mesh for mesh, _ in pairs}
    pairs.update(product(meshes - dressed or (meshes if not pairs else ()), textures))
    return [Look(mesh, texture, see_through) for mesh, texture in sorted(pairs) if mesh and texture]


def write_obj(path: Path, mesh: Mesh, texture: Image.Image) -> None:
    """Writes PATH.obj with PATH.mtl and PATH.png beside it."""
    curve = [round(255 * (level / 255) ** GAMMA) for level in range(256)]
    straight = list(range(256)) if texture.mode == "RGBA" else []
    texture.point(curve * 3 + straight).save(path.with_suffix(".png"))
    path.with_suffix(".mtl").write_text(
        f"newmtl skin\nKa 1 1 1\nKd 1 1 1\nmap_Kd {path.stem}.png\n", encoding="utf-8"
    )
    lines = [f"mtllib {path.stem}.mtl"]
    lines += [f"v {x:.5f} {y:.5f} {z:.5f}" for x, y, z in mesh.points]
    lines += [f"vt {u:.5f} {v:.5f}" for u, v in mesh.uvs]
    lines += [f"vn {x:.5f} {y:.5f} {z:.5f}" for x, y, z in mesh.normals]
    lines.append("usemtl skin")
    for corners in mesh.triangles.astype(int) + 1:
        lines.append("f " + " ".join(f"{n}/{n}/{n}" for n in corners))
    path.with_suffix(".obj").write_text("\n".join(lines) + "\n", encoding="utf-8")


def find(archive: zipfile.ZipFile, names: set[str], folder: str, name: str, cached: str) -> bytes:
    """A mesh or texture, as it is or in the form that the game made of it.

    Raises:
        FileNotFoundError: the archive holds neither.
    """
    for path in (f"{folder}{name}.cached.{cached}", f"{folder}{name}"):
        if path in names:
            return archive.read(path)
    raise FileNotFoundError(f"{folder}{name} is not in {archive.filename}, cached or not")


def convert(archive: zipfile.ZipFile, prefix: str, out: Path) -> Iterator[Path]:
    """Writes every look of every actor below a prefix; yields the OBJ files."""
    names = set(archive.namelist())
    for actor in sorted(n for n in names if n.startswith(prefix) and n.endswith(".xml")):
        for number, look in enumerate(looks(archive.read(actor))):
            try:
                mesh = read_pmd(find(archive, names, MESHES, look.mesh, "pmd"))
                texture = Image.open(
                    io.BytesIO(find(archive, names, TEXTURES, look.texture, "dds"))
                )
            except FileNotFoundError as missing:
                print(f"{actor}: {missing}; this look is left out")
                continue
            path = out / f"{PurePosixPath(actor).stem}-{number}.obj"
            write_obj(path, mesh, texture.convert("RGBA" if look.see_through else "RGB"))
            yield path


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Write a game's animals as OBJ files.")
    parser.add_argument("--archive", type=Path, required=True, help="public.zip of 0ad-data")
    parser.add_argument("--actors", default="art/actors/fauna/", help="which, by their path")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(args.archive) as archive:
        made = list(convert(archive, args.actors, args.out))
    print(f"{args.out}: {len(made)} models")


if __name__ == "__main__":
    main()
