"""People made of MakeHuman's parts: how bodies are shaped, dressed and posed, and what is drawn."""

from __future__ import annotations

import json
from itertools import chain
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from models.training.human import Human, posed, rotation, surface_of
from models.training.person import GENDERS, PARTS, RACES

BONES = ["root", "spine05", "neck01", "neck02", "head"]
JOINTS = {"root": 8, "spine05": 9, "neck01": 10, "neck02": 11, "head": 12}
BODY = [[x, y, z] for y in (-8, 8) for x, z in ((-1, -1), (1, -1), (1, 1), (-1, 1))]
FACES = [[0, 1, 2, 3], [4, 5, 6, 7], [0, 1, 5, 4], [1, 2, 6, 5], [2, 3, 7, 6], [3, 0, 4, 7]]
SIDES = [[0, 0], [1, 0], [1, 1], [0, 1]]


def mesh(vertices: list[list[float]], faces: list[list[int]], bone: list[int]) -> dict[str, Any]:
    """A mesh of quads in three.js's old format, each vertex hanging on one bone's head."""
    return {
        "vertices": [float(x) for vertex in vertices for x in vertex],
        "faces": [n for face in faces for n in (11, *face, 0, 0, 1, 2, 3)],
        "uvs": [[float(x) for uv in SIDES for x in uv]],
        "materials": [{"DbgName": "body", "mapDiffuse": "textures/own.png"}],
        "influencesPerVertex": 1,
        "skinIndices": [2 * n for n in bone],
        "skinWeights": [1.0] * len(vertices),
        "metadata": {},
    }


def write_json(path: Path, content: object) -> None:
    """Writes it, and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")


def write_texture(path: Path, rgba: tuple[int, int, int, int]) -> None:
    """Writes a texture of one colour."""
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.full((8, 8, 4), rgba, np.uint8)[..., [2, 1, 0, 3]])


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A post of a body, 2 x 16 x 2 dm, whose upper end is its head, in the package's layout."""
    folder = tmp_path / "package"
    joints = [[0.0, y, 0.0] for y in (0, 1, 5, 6, 7)]
    raw = mesh([*BODY, *joints], FACES, [0, 0, 0, 0, 4, 4, 4, 4, *range(5)])
    raw["bones"] = [
        {"name": name, "parent": number - 1}
        for number, name in enumerate(chain(*((f"{bone}____head", bone) for bone in BONES)))
    ]
    raw["metadata"] = {
        "joint_pos_idxs": {f"{bone}____head": [at] for bone, at in JOINTS.items()},
    }
    data = folder / "public" / "data"
    write_json(data / "models" / "human_full_size.json", raw)
    names = ["macrodetails/taller", "head/square"]
    listed = {f"data/targets/{name}.target": [] for name in names}
    write_json(folder / "src" / "json" / "targets" / "target-list.json", {"targets": listed})
    moves = np.zeros((2, len(BODY) + len(joints), 3), np.int16)
    moves[1, 4:8, 1] = 1000  # rows are sorted by name: head/square is the first
    (data / "targets").mkdir(parents=True)
    moves.tofile(data / "targets" / "targets.bin")
    bow = {"head": [0.0, 0.0, np.sin(np.pi / 4), np.cos(np.pi / 4)]}
    write_json(folder / "src" / "json" / "poses" / "poses.json", {"bow": bow})
    return folder


def add_proxy(package: Path, path: str, size: float, colour: tuple[int, int, int, int]) -> None:
    """A box around the whole body, by `size` dm larger, that hangs on the head."""
    raw = mesh(BODY, FACES, [4] * 8)
    raw["ref_vIdxs"] = [[n, 0, 0] for n in range(8)]
    raw["weights"] = [[1.0, 0.0, 0.0]] * 8
    raw["offsets"] = [[size * x, 0.0, size * z] for x, _, z in BODY]
    raw["metadata"] = {"deleteVerts": [1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0]}
    folder = package / "public" / "data" / "proxies" / path
    write_json(folder / f"{folder.name}.json", raw)
    write_texture(folder / "textures" / "own.png", colour)


def test_targets_move_the_body_by_their_shares(package: Path) -> None:
    human = Human(package)
    assert sorted(human.targets) == ["head/square", "macrodetails/taller"]
    taller = human.shaped({"macrodetails/taller": 0.5, "not/there": 1.0})
    assert np.allclose(taller[4:8, 1], 8.5)
    assert np.array_equal(taller[:4], human.base[:4])
    assert human.shaped({})[:, 1].max() == 8.0  # and the base stays as it is


def test_what_hangs_on_the_body_follows_its_shape_and_hides_it(package: Path) -> None:
    add_proxy(package, "clothes/coat", 0.5, (200, 30, 30, 255))
    human = Human(package)
    coat = human.proxy("clothes/coat")
    on = coat.on(human.shaped({"macrodetails/taller": 1.0}))
    assert np.allclose(on[4:8, 1], 9.0)
    assert np.allclose(np.abs(on[:, [0, 2]]), 1.5)
    assert coat.texture is not None
    assert coat.texture.exists()
    assert len(human.visible([]).corners) == 6
    assert len(human.visible([coat]).corners) == 5  # the lower end alone has no corner left


def test_a_pose_turns_what_lies_above_a_joint(package: Path) -> None:
    human = Human(package)
    bow = {bone: rotation(turn) for bone, turn in human.poses["bow"].items()}
    moves = human.bone_moves(human.base, bow)
    after = posed(human.base, human.skin, moves)
    assert np.allclose(after[:4], human.base[:4])
    # a quarter about z at the head's joint, 7 dm up: (x, y) goes to (7 - y, 7 + x)
    assert np.allclose(after[4:8, 0], 7 - human.base[4:8, 1], atol=1e-5)
    assert np.allclose(after[4:8, 1], 7 + human.base[4:8, 0], atol=1e-5)
    assert np.allclose(human.joint_after(human.base, "head____head", moves), [0, 7, 0], atol=1e-5)


def test_faces_of_other_kinds_are_read_or_named() -> None:
    triangle = {"faces": [10, 0, 1, 2, 7, 0, 1, 2], "uvs": [[0.0] * 6]}
    read = surface_of(triangle)
    assert read.corners.tolist() == [[0, 1, 2, 2]]
    assert read.material.tolist() == [7]
    with_normals = {"faces": [43, 0, 1, 2, 3, 5, 3, 2, 1, 0, 9, 9, 9, 9] * 2, "uvs": [[0.0] * 8]}
    assert surface_of(with_normals).uv_corners.tolist() == [[3, 2, 1, 0]] * 2
    with pytest.raises(ValueError, match="face type 4 at 0"):
        surface_of({"faces": [4, 0, 1, 2], "uvs": [[]]})


def test_a_person_is_cut_by_the_lower_edge_alone(package: Path) -> None:
    pytest.importorskip("vtkmodules", reason="vtk is needed to render, not to train")
    from models.training.render_people import render

    clothes = chain(*PARTS["whole"].values(), *PARTS["tops"].values(), PARTS["hats"])
    for name in {*clothes, "glasses"}:
        add_proxy(package, f"clothes/{name}", 0.2, (200, 30, 30, 255))
    add_proxy(package, "clothes/Tightjeans", 0.1, (30, 30, 200, 255))
    for name in {*chain(*PARTS["hair"].values()), *PARTS["beards"]}:
        add_proxy(package, f"hair/{name}", 0.3, (90, 90, 90, 120))
    for number in range(1, 13):
        add_proxy(package, f"eyebrows/eyebrow{number:03d}", 0.01, (90, 90, 90, 255))
    add_proxy(package, "eyelashes/eyelashes02", 0.01, (90, 90, 90, 255))
    add_proxy(package, "eyes/Low-Poly", -0.5, (255, 255, 255, 255))
    data = package / "public" / "data"
    for age in ("young", "middleage", "old"):
        for race in RACES:
            for gender in GENDERS:
                write_texture(
                    data / "skins" / f"{age}_{race}_{gender}" / "textures" / "skin.png",
                    (180, 140, 120, 255),
                )
    poses = {name: {} for name in PARTS["poses"]}
    write_json(package / "src" / "json" / "poses" / "poses.json", poses)
    names = [f"head/shape{n}" for n in range(10)]
    names += [f"expression/units/{race}/mouth-open" for race in RACES]
    listed = {f"data/targets/{name}.target": [] for name in names}
    write_json(package / "src" / "json" / "targets" / "target-list.json", {"targets": listed})
    np.zeros((len(names), 13, 3), np.int16).tofile(data / "targets" / "targets.bin")

    human = Human(package)
    drawn = [render(np.random.default_rng(number), human) for number in range(6)]
    seen = [rgba for rgba in drawn if rgba is not None]
    assert len(seen) >= 4
    for rgba in seen:
        alpha = rgba[..., 3]
        assert (alpha[-1] > 127).any()
        assert alpha.max() == 255
    again = render(np.random.default_rng(0), human)
    assert (again is None and drawn[0] is None) or np.array_equal(again, drawn[0])
