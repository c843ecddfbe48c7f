"""A game's animals become OBJ files: meshes, their textures, and which goes with which."""

from __future__ import annotations

import io
import struct
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from models.training import game_models
from models.training.game_models import convert, looks, read_pmd

POINTS = [(0.0, 0.0, 0.0), (1.0, 0.0, 0.0), (0.0, 2.0, 0.0)]
UVS = [(0.0, 0.0), (1.0, 0.0), (0.0, 1.0)]


def pmd(uv_sets: int = 1, magic: bytes = b"PSMD", version: int = 4) -> bytes:
    """A triangle, two decimetres high, that faces along z."""
    body = struct.pack("<II", len(POINTS), uv_sets)
    for point, uv in zip(POINTS, UVS, strict=True):
        body += struct.pack("<6f", *point, 0.0, 0.0, 1.0)
        body += struct.pack("<2f", *uv) * uv_sets
        body += struct.pack("<4B4f", 0, 255, 255, 255, 1.0, 0.0, 0.0, 0.0)
    body += struct.pack("<I3H", 1, 0, 1, 2) + struct.pack("<II", 0, 0)
    return struct.pack("<4sII", magic, version, len(body)) + body


def picture(kind: str, alpha: int) -> bytes:
    """A texture of one colour."""
    packed = io.BytesIO()
    Image.new("RGBA", (4, 4), (200, 100, 50, alpha)).save(packed, kind)
    return packed.getvalue()


ACTOR = """<actor version="1"><group>
  <variant name="body"><mesh>cow.dae</mesh></variant>
  <variant name="calf"><mesh>calf.dae</mesh>
    <textures><texture file="calf.png" name="baseTex"/></textures></variant>
</group><group>
  <variant><textures><texture file="brown.dds" name="baseTex"/></textures></variant>
  <variant><textures><texture file="white.png" name="baseTex"/>
    <texture file="bumps.png" name="normTex"/></textures></variant>
</group><material>{}.xml</material></actor>"""


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """A cow in two colours, a calf in one of its own, and a goat without a mesh."""
    path = tmp_path / "public.zip"
    with zipfile.ZipFile(path, "w") as out:
        out.writestr("art/actors/fauna/cow.xml", ACTOR.format("basic_trans"))
        out.writestr("art/actors/fauna/goat.xml", ACTOR.format("default").replace("cow", "goat"))
        out.writestr("art/actors/structures/hut.xml", ACTOR.format("default"))
        for name in ("cow", "calf"):
            out.writestr(f"art/meshes/{name}.dae.cached.pmd", pmd())
        out.writestr("art/textures/skins/brown.dds", picture("DDS", 255))
        for name in ("white", "calf"):
            out.writestr(f"art/textures/skins/{name}.png.cached.dds", picture("DDS", 90))
    return path


@pytest.mark.parametrize("uv_sets", [1, 2])
def test_a_mesh_is_read_with_its_first_uvs(uv_sets: int) -> None:
    mesh = read_pmd(pmd(uv_sets))
    assert np.allclose(mesh.points, POINTS)
    assert np.allclose(mesh.uvs, UVS)
    assert np.allclose(mesh.normals, [(0, 0, 1)] * 3)
    assert mesh.triangles.tolist() == [[0, 1, 2]]


def test_other_files_are_named_for_what_they_are() -> None:
    with pytest.raises(ValueError, match=r"begins with b'PSMD', version 3; read are .* version 4"):
        read_pmd(pmd(version=3))
    with pytest.raises(ValueError, match="begins with b'PSSA'"):
        read_pmd(pmd(magic=b"PSSA"))


def test_textures_go_on_the_meshes_they_were_made_for() -> None:
    found = looks(ACTOR.format("no_trans_spec").encode())
    assert [(look.mesh, look.texture) for look in found] == [
        ("calf.dae", "calf.png"),
        ("cow.dae", "brown.dds"),
        ("cow.dae", "white.png"),
    ]
    assert not any(look.see_through for look in found)
    assert all(look.see_through for look in looks(ACTOR.format("basic_trans").encode()))


def test_animals_become_obj_files_and_what_is_missing_is_said(
    archive: Path, tmp_path: Path, monkeypatch, capsys
) -> None:
    out = tmp_path / "out"
    words = ["game_models", "--archive", str(archive), "--out", str(out)]
    monkeypatch.setattr(sys, "argv", words)
    game_models.main()
    said = capsys.readouterr().out
    assert "goat.dae is not in" in said
    assert said.endswith("4 models\n")
    names = sorted(path.name for path in out.glob("*.obj"))
    assert names == ["cow-0.obj", "cow-1.obj", "cow-2.obj", "goat-0.obj"]
    lines = (out / "cow-1.obj").read_text(encoding="utf-8").splitlines()
    assert lines[0] == "mtllib cow-1.mtl"
    assert "v 0.00000 2.00000 0.00000" in lines
    assert lines[-1] == "f 1/1/1 2/2/2 3/3/3"
    assert "map_Kd cow-1.png" in (out / "cow-1.mtl").read_text(encoding="utf-8")
    with Image.open(out / "cow-0.png") as calf, Image.open(out / "goat-0.png") as opaque:
        red, _, _, alpha = calf.getpixel((0, 0))
        assert alpha == 90
        assert red > 200  # brighter than the game's
        assert opaque.mode == "RGB"


def test_only_the_asked_actors_are_converted(archive: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(archive) as opened:
        made = list(convert(opened, "art/actors/structures/", tmp_path))
    assert [path.name for path in made] == ["hut-0.obj", "hut-1.obj", "hut-2.obj"]
