"""The animals of a game as OBJ files, which `render_things.py` renders.

Run by a person: `python -m models.training.game_models --archive public.zip --out FOLDER`; then
`python -m models.training.render_things --models FOLDER`. The archive is that of the game 0 A.D.
(Debian's package `0ad-data`): actors are XML files that name meshes, textures and a material,
meshes lie beside them as PMD (its own binary form, version 4), textures as DDS. Meshes stand as
they were modelled; of what hangs on them only horses' hair is taken, which shares their space.
"""

from __future__ import annotations

import argparse
import io
import struct
import sys
import zipfile
from collections.abc import Iterator, Sequence
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
ACTORS, VARIANTS, MATERIALS = "art/actors/", "art/variants/", "art/materials/"
MIRROR = np.array([1.0, 1.0, -1.0], np.float32)  # the game is left-handed and looks along -z


@dataclass(frozen=True)
class Mesh:
    """Vertices (V, 3) with y up, normals (V, 3), UVs (V, 2) with v up, triangles (F, 3) from 0."""

    points: NDArray[np.float32]
    normals: NDArray[np.float32]
    uvs: NDArray[np.float32]
    triangles: NDArray[np.uint16]


@dataclass(frozen=True, order=True)
class Skin:
    """A texture, and the actors of the hair that goes with it."""

    texture: str
    hair: tuple[str, ...] = ()


@dataclass(frozen=True)
class Look:
    """One mesh in one skin; `see_through` where the texture's alpha is transparency."""

    mesh: str
    skin: Skin
    see_through: bool


def read_pmd(packed: bytes) -> Mesh:
    """A mesh from a PMD file, mirrored into the right-handed space of OBJ files.

    As stored, triangles are wound against their normals: a renderer that lights both sides of a
    surface would take the inside for the outside.

    Raises:
        ValueError: it is none, of another version than 4, or cut off.
    """
    magic, version, _ = struct.unpack("<4sII", packed[:12].ljust(12, b"\0"))
    if magic != MAGIC or version != VERSION:
        raise ValueError(
            f"the file begins with {magic!r}, version {version}; "
            f"read are those with {MAGIC!r}, version {VERSION}"
        )
    try:
        count, uv_sets = struct.unpack_from("<II", packed, 12)
        size = 24 + 8 * uv_sets + BLEND_BYTES
        rows = np.frombuffer(packed, np.uint8, count * size, 20).reshape(count, size)
        at = 20 + count * size
        (faces,) = struct.unpack_from("<I", packed, at)
        triangles = np.frombuffer(packed, "<u2", 3 * faces, at + 4).reshape(faces, 3)
    except (struct.error, ValueError) as cut:
        raise ValueError(f"the mesh ends after {len(packed)} bytes: {cut}") from cut
    floats = np.ascontiguousarray(rows[:, :32]).view("<f4").astype(np.float32)
    return Mesh(
        floats[:, :3] * MIRROR,
        floats[:, 3:6] * MIRROR,
        floats[:, 6:8],
        triangles.astype(np.uint16),
    )


class Game:
    """The game's archive: its actors, what they look like, and the parts of a look."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        self.archive = archive
        self.names = set(archive.namelist())

    def actors(self, prefix: str) -> list[str]:
        """The actors whose path begins so.

        Raises:
            FileNotFoundError: there are none.
        """
        found = sorted(n for n in self.names if n.startswith(prefix) and n.endswith(".xml"))
        if not found:
            folders = sorted({n.split("/")[2] for n in self.names if n.startswith(ACTORS)})
            raise FileNotFoundError(
                f"no actor of {self.archive.filename} begins with {prefix!r}; "
                f"in {ACTORS} are {', '.join(folders) or 'none at all'}"
            )
        return found

    def looks(self, actor: str) -> list[Look]:
        """Every mesh of an actor with every skin that may go on it."""
        root = ET.fromstring(self.archive.read(actor))
        see_through = self.blends((root.findtext("material") or "").strip())
        pairs: set[tuple[str, Skin]] = set()
        meshes: set[str] = set()
        skins: set[Skin] = set()
        for variant in root.iter("variant"):
            own_meshes, own_skins = self.parts(variant)
            if own_meshes and own_skins:  # made for each other
                pairs.update(product(own_meshes, own_skins))
            else:
                meshes.update(own_meshes)
                skins.update(own_skins)
        dressed = {mesh for mesh, _ in pairs}
        pairs.update(product(meshes - dressed or (meshes if not pairs else ()), skins))
        return [Look(mesh, skin, see_through) for mesh, skin in sorted(pairs)]

    def parts(self, variant: ET.Element) -> tuple[list[str], list[Skin]]:
        """A variant's meshes and skins; those of the file that it builds on where it has none."""
        meshes = [mesh.text.strip() for mesh in variant.findall("mesh") if mesh.text]
        hair = tuple(
            f"{ACTORS}{prop.get('actor')}"
            for prop in variant.iter("prop")
            if prop.get("attachpoint") == "hair" and prop.get("actor")
        )
        skins = [
            Skin(file, hair)
            for texture in variant.iter("texture")
            if texture.get("name") == "baseTex" and (file := texture.get("file"))
        ]
        base = f"{VARIANTS}{variant.get('file')}"
        if base in self.names:
            base_meshes, base_skins = self.parts(ET.fromstring(self.archive.read(base)))
            return meshes or base_meshes, skins or base_skins
        return meshes, skins

    def blends(self, material: str) -> bool:
        """True where a material takes alpha as transparency: in `player_trans` it is a colour."""
        path = f"{MATERIALS}{material}"
        return path in self.names and b"USE_TRANSPARENT" in self.archive.read(path)

    def find(self, folder: str, name: str, cached: str) -> bytes:
        """A mesh or texture, in the form that the game made of it or as it is.

        Raises:
            FileNotFoundError: the archive holds neither.
        """
        for path in (f"{folder}{name}.cached.{cached}", f"{folder}{name}"):
            if path in self.names:
                return self.archive.read(path)
        raise FileNotFoundError(f"{folder}{name} is not in {self.archive.filename}, cached or not")

    def load(self, look: Look) -> list[tuple[Mesh, Image.Image]]:
        """A look's mesh with its texture, and those of its hair in the first of its colours.

        Raises:
            FileNotFoundError: the archive lacks one of them.
            ValueError: a mesh cannot be read.
        """
        mesh = read_pmd(self.find(MESHES, look.mesh, "pmd"))
        texture = Image.open(io.BytesIO(self.find(TEXTURES, look.skin.texture, "dds")))
        parts = [(mesh, texture.convert("RGBA" if look.see_through else "RGB"))]
        for actor in look.skin.hair:
            parts += [part for hair in self.looks(actor)[:1] for part in self.load(hair)]
        return parts


def write_obj(path: Path, parts: Sequence[tuple[Mesh, Image.Image]]) -> None:
    """Writes PATH.obj with PATH.mtl, and a PNG beside it for each part: PATH.png is the first's."""
    materials, lines, before = [], [f"mtllib {path.stem}.mtl"], 1
    for number, (mesh, texture) in enumerate(parts):
        picture = path.with_name(f"{path.stem}{f'.{number}' if number else ''}.png")
        texture.save(picture)
        materials.append(f"newmtl skin{number}\nKa 1 1 1\nKd 1 1 1\nmap_Kd {picture.name}\n")
        lines += [f"v {x:.5f} {y:.5f} {z:.5f}" for x, y, z in mesh.points]
        lines += [f"vt {u:.5f} {v:.5f}" for u, v in mesh.uvs]
        lines += [f"vn {x:.5f} {y:.5f} {z:.5f}" for x, y, z in mesh.normals]
        lines.append(f"usemtl skin{number}")
        for corners in mesh.triangles.astype(int) + before:
            lines.append("f " + " ".join(f"{n}/{n}/{n}" for n in corners))
        before += len(mesh.points)
    path.with_suffix(".mtl").write_text("\n".join(materials), encoding="utf-8")
    path.with_suffix(".obj").write_text("\n".join(lines) + "\n", encoding="utf-8")


def convert(game: Game, prefix: str, out: Path) -> Iterator[Path]:
    """Writes every look of the actors below a prefix once; yields the OBJ files."""
    seen: set[Look] = set()
    for actor in game.actors(prefix):
        for number, look in enumerate(game.looks(actor)):
            if look in seen:  # a herd's own actor, or one for each of its colours
                continue
            seen.add(look)
            try:
                parts = game.load(look)
            except (FileNotFoundError, ValueError) as error:
                print(f"{actor}: {look.mesh}, {look.skin.texture}: {error}; left out")
                continue
            path = out / f"{PurePosixPath(actor).stem}-{number}.obj"
            write_obj(path, parts)
            yield path


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Write a game's animals as OBJ files.")
    parser.add_argument("--archive", type=Path, required=True, help="public.zip of 0ad-data")
    parser.add_argument(
        "--actors", nargs="+", default=[f"{ACTORS}fauna/"], help="which, by their paths' beginnings"
    )
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    try:
        with zipfile.ZipFile(args.archive) as archive:
            game = Game(archive)
            made = [path for prefix in args.actors for path in convert(game, prefix, args.out)]
    except (OSError, zipfile.BadZipFile) as error:
        sys.exit(f"{args.archive}: {error}")
    print(f"{args.out}: {len(made)} models")


if __name__ == "__main__":
    main()
