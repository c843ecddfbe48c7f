"""A game's animals become OBJ files: meshes, their textures, and which goes with which."""

from __future__ import annotations

import io
import struct
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from models.training import game_models
from models.training.game_models import Game, convert, read_pmd

POINTS = [(0.0, 0.0, 1.0), (1.0, 0.0, 1.0), (0.0, 2.0, 1.0)]
UVS = [(0.0, 0.0), (1.0, 0.0), (0.0, 1.0)]
RIGHT_HANDED = (1, 1, -1)


def pmd(uv_sets: int = 1, magic: bytes = b"PSMD", version: int = 4) -> bytes:
    """A triangle that faces along -z and is wound against that, as the game's are."""
    body = struct.pack("<II", len(POINTS), uv_sets)
    for point, uv in zip(POINTS, UVS, strict=True):
        body += struct.pack("<6f", *point, 0.0, 0.0, -1.0)
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
HORSE = """<actor version="1">
  <group><variant><mesh>horse.dae</mesh></variant></group>
  <group><variant file="horse/white.xml"/></group>
  <material>default.xml</material></actor>"""
WHITE = """<variant file="horse/base.xml"><props>
  <prop actor="props/mane.xml" attachpoint="hair"/><prop actor="blood.xml" attachpoint="root"/>
</props><textures><texture file="white.png" name="baseTex"/></textures></variant>"""
BASE = """<variant><textures><texture file="grey.png" name="baseTex"/></textures></variant>"""
MANE = """<actor version="1"><group><variant><mesh>mane.dae</mesh>
  <textures><texture file="hair.dds" name="baseTex"/></textures>
</variant></group><material>basic_trans.xml</material></actor>"""
MATERIALS = {
    "default": "<material/>",
    "basic_trans": '<material><define name="USE_TRANSPARENT" value="1"/></material>',
    "player_trans": '<material><define name="USE_PLAYERCOLOR" value="1"/></material>',
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A cow in two colours, a calf in one of its own, a goat without a mesh, a horse with hair."""
    path = tmp_path / "public.zip"
    with zipfile.ZipFile(path, "w") as out:
        for name, xml in MATERIALS.items():
            out.writestr(f"art/materials/{name}.xml", xml)
        out.writestr("art/actors/fauna/cow.xml", ACTOR.format("basic_trans"))
        out.writestr("art/actors/fauna/goat.xml", ACTOR.format("player_trans").replace("cow", "g"))
        out.writestr("art/actors/herds/horse.xml", HORSE)
        out.writestr("art/actors/herds/horse_white.xml", HORSE)
        out.writestr("art/actors/props/mane.xml", MANE)
        out.writestr("art/variants/horse/white.xml", WHITE)
        out.writestr("art/variants/horse/base.xml", BASE)
        for name in ("cow", "calf", "horse", "mane"):
            out.writestr(f"art/meshes/{name}.dae.cached.pmd", pmd())
        for name in ("brown", "hair"):
            out.writestr(f"art/textures/skins/{name}.dds", picture("DDS", 90))
        for name in ("white", "calf"):
            out.writestr(f"art/textures/skins/{name}.png.cached.dds", picture("DDS", 90))
    return path


@pytest.fixture
def game(path: Path) -> Iterator[Game]:
    with zipfile.ZipFile(path) as archive:
        yield Game(archive)


@pytest.mark.parametrize("uv_sets", [1, 2])
def test_a_mesh_is_read_with_its_first_uvs_and_mirrored(uv_sets: int) -> None:
    mesh = read_pmd(pmd(uv_sets))
    assert np.allclose(mesh.points, np.multiply(POINTS, RIGHT_HANDED))
    assert np.allclose(mesh.uvs, UVS)
    assert np.allclose(mesh.normals, [(0, 0, 1)] * 3)
    assert mesh.triangles.tolist() == [[0, 1, 2]]


def test_triangles_are_wound_with_their_normals() -> None:
    mesh = read_pmd(pmd())
    a, b, c = mesh.points[mesh.triangles[0]]
    assert np.dot(np.cross(b - a, c - a), mesh.normals[0]) > 0


def test_other_files_are_named_for_what_they_are() -> None:
    with pytest.raises(ValueError, match=r"begins with b'PSMD', version 3; read are .* version 4"):
        read_pmd(pmd(version=3))
    with pytest.raises(ValueError, match="begins with b'PSSA'"):
        read_pmd(pmd(magic=b"PSSA"))
    with pytest.raises(ValueError, match=r"begins with b'PS"):
        read_pmd(b"PS")
    with pytest.raises(ValueError, match="ends after 40 bytes"):
        read_pmd(pmd()[:40])


def test_textures_go_on_the_meshes_they_were_made_for(game: Game) -> None:
    found = game.looks("art/actors/fauna/cow.xml")
    assert [(look.mesh, look.skin.texture) for look in found] == [
        ("calf.dae", "calf.png"),
        ("cow.dae", "brown.dds"),
        ("cow.dae", "white.png"),
    ]


def test_alpha_is_transparency_only_where_the_material_says_so(game: Game) -> None:
    assert all(look.see_through for look in game.looks("art/actors/fauna/cow.xml"))
    assert not any(look.see_through for look in game.looks("art/actors/fauna/goat.xml"))


def test_animals_become_obj_files_and_what_is_missing_is_said(
    path: Path, tmp_path: Path, monkeypatch, capsys
) -> None:
    out = tmp_path / "out"
    words = ["game_models", "--archive", str(path), "--out", str(out)]
    monkeypatch.setattr(sys, "argv", words)
    game_models.main()
    said = capsys.readouterr().out
    assert "g.dae is not in" in said
    assert said.endswith("4 models\n")
    names = sorted(made.name for made in out.glob("*.obj"))
    assert names == ["cow-0.obj", "cow-1.obj", "cow-2.obj", "goat-0.obj"]
    lines = (out / "cow-1.obj").read_text(encoding="utf-8").splitlines()
    assert lines[0] == "mtllib cow-1.mtl"
    assert "v 0.00000 2.00000 -1.00000" in lines
    assert "vt 0.00000 1.00000" in lines
    assert lines[-1] == "f 1/1/1 2/2/2 3/3/3"
    assert "map_Kd cow-1.png" in (out / "cow-1.mtl").read_text(encoding="utf-8")
    with Image.open(out / "cow-0.png") as calf, Image.open(out / "goat-0.png") as opaque:
        assert calf.getpixel((0, 0)) == (200, 100, 50, 90)
        assert opaque.mode == "RGB"


def test_a_horse_has_the_skin_and_hair_of_its_variant_file(game: Game, tmp_path: Path) -> None:
    made = list(convert(game, "art/actors/herds/", tmp_path))
    assert [obj.name for obj in made] == ["horse-0.obj"]  # horse_white is the same again
    lines = made[0].read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if line[0] in "uf"] == [
        "usemtl skin0",
        "f 1/1/1 2/2/2 3/3/3",
        "usemtl skin1",
        "f 4/4/4 5/5/5 6/6/6",
    ]
    with (
        Image.open(tmp_path / "horse-0.png") as skin,
        Image.open(tmp_path / "horse-0.1.png") as hair,
    ):
        assert (skin.mode, hair.mode) == ("RGB", "RGBA")


def test_a_prefix_without_actors_and_a_file_that_is_no_archive_are_named(
    game: Game, tmp_path: Path, monkeypatch
) -> None:
    with pytest.raises(FileNotFoundError, match=r"'art/actors/fish/'; in .* fauna, herds, props"):
        list(convert(game, "art/actors/fish/", tmp_path))
    (other := tmp_path / "other.zip").write_text("no zip")
    monkeypatch.setattr(
        sys, "argv", ["game_models", "--archive", str(other), "--out", str(tmp_path)]
    )
    with pytest.raises(SystemExit, match=r"other\.zip: File is not a zip file"):
        game_models.main()
