"""Somebody at random, of MakeHuman's parts: shape, origin and age, clothes, hair and a pose.

`render_people.py` draws whom `somebody` makes up; `people.toml` lists the parts. Needs no VTK.
"""

from __future__ import annotations

import colorsys
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from models.training.data import U8, fit_within
from models.training.human import F32, Human, Proxy, Surface, posed, rotation

Rng = np.random.Generator
F64 = NDArray[np.float64]

PARTS = tomllib.loads(Path(__file__).with_name("people.toml").read_text(encoding="utf-8"))
GENDERS = ("female", "male")
RACES = ("african", "asian", "caucasian")  # as the package names its targets and skins
TEXTURE_PX = 1024  # more is not seen in pictures of 384 px


@dataclass(frozen=True)
class Part:
    """A surface to draw: its vertices (V, 3) where they are in the pose, and its RGBA texture."""

    points: F32
    surface: Surface
    texture: U8


@dataclass(frozen=True)
class Person:
    """All parts of somebody, where the neck begins and the spine ends (3,), and the crown's y."""

    parts: list[Part]
    neck: F32
    hips: F32
    crown: float


@dataclass(frozen=True)
class Worn:
    """What hangs on a body, and its texture RGBA (H, W, 4)."""

    proxy: Proxy
    texture: U8


def somebody(rng: Rng, human: Human) -> Person:
    """A grown-up of random looks, dressed and in a pose."""
    gender = GENDERS[rng.integers(len(GENDERS))]
    race = RACES[rng.integers(len(RACES))]
    body = human.shaped(shape(rng, human, gender, race))
    moves = human.bone_moves(body, pose(rng, human))
    worn = [*outfit(rng, human, gender), *head(rng, human, gender)]
    skin = skin_texture(rng, human, gender, race)
    stands = posed(body, human.skin, moves)
    own = Part(stands, human.visible(one.proxy for one in worn), skin)
    parts = [
        Part(posed(one.proxy.on(body), one.proxy.skin, moves), one.proxy.surface, one.texture)
        for one in worn
    ]
    neck, hips = (
        human.joint_after(body, f"{bone}____head", moves) for bone in ("neck01", "spine05")
    )
    return Person([own, *parts], neck, hips, float(stands[human.skin_head, 1].max()))


def shape(rng: Rng, human: Human, gender: str, race: str) -> dict[str, float]:
    """Targets and their shares: who it is, how old and how heavy, a face, an expression."""
    old = float(rng.beta(1.0, 1.6))
    targets: dict[str, float] = {}
    for origin, share in zip(RACES, blend(rng, RACES.index(race)), strict=True):
        for age, of_age in (("young", 1.0 - old), ("old", old)):
            targets[f"macrodetails/{origin}-{gender}-{age}"] = share * of_age
    muscle, weight = rng.choice(["min", "average", "max"], 2, p=[0.25, 0.5, 0.25])
    for age, of_age in (("young", 1.0 - old), ("old", old)):
        name = f"macrodetails/universal-{gender}-{age}-{muscle}muscle-{weight}weight"
        targets[name] = of_age
    faces = [
        name for name in human.targets if name.startswith(("head/", "nose/", "chin/", "cheek/"))
    ]
    for name in rng.choice(faces, 8, replace=False):
        targets[str(name)] = float(rng.uniform(0.1, 0.6))
    units = [name for name in human.targets if name.startswith(f"expression/units/{race}/mouth")]
    targets[str(rng.choice(units))] = float(rng.uniform(0.0, 0.8))
    return targets


def blend(rng: Rng, most: int) -> Sequence[float]:
    """Three shares that add up to 1, one of them the largest part."""
    shares = rng.dirichlet([0.4] * 3) * 0.35
    shares[most] += 0.65
    return [float(share) for share in shares]


def pose(rng: Rng, human: Human) -> dict[str, F64]:
    """Turns of the bones: somewhere between two poses, the head turned a little more."""
    first, second = (human.poses[str(name)] for name in rng.choice(PARTS["poses"], 2))
    between = rng.uniform(0.0, 0.4)
    turns = {}
    for bone, q in first.items():
        own, other = np.array(q), np.array(second.get(bone, q))
        other = other if own @ other >= 0 else -other
        turns[bone] = rotation((1.0 - between) * own + between * other)
    for bone in ("neck02", "head"):
        x, y, z = rng.normal(0.0, (0.06, 0.14, 0.05))
        turns[bone] = rotation((x, y, z, 1.0)) @ turns.get(bone, np.eye(3))
    return turns


def outfit(rng: Rng, human: Human, gender: str) -> list[Worn]:
    """Clothes, most of them in a colour of their own, and now and then a hat or glasses."""
    if rng.random() < 0.7:
        names = [str(rng.choice(PARTS["whole"][gender]))]
    else:
        names = [str(rng.choice(PARTS["tops"][gender])), "Tightjeans"]
    if rng.random() < 0.2:
        names.append("glasses")
    if rng.random() < 0.08:
        names.append(str(rng.choice(PARTS["hats"])))
    parts = [human.proxy(f"clothes/{name}") for name in names]
    return [Worn(part, dyed(rng, image_of(part.texture))) for part in parts if part.texture]


def head(rng: Rng, human: Human, gender: str) -> list[Worn]:
    """Eyes, brows, lashes, and hair on most heads, in one colour."""
    colours = PARTS["hair_colours"]
    colour: F64 = np.array(colours[rng.integers(len(colours))])
    if rng.random() < 0.06:
        colour = np.array(colorsys.hsv_to_rgb(rng.random(), rng.uniform(0.3, 0.9), 0.6))
    eyes = human.proxy("eyes/Low-Poly")
    irises = sorted((human.data / "proxies" / "eyes" / "Low-Poly" / "textures").glob("*.png"))
    made = [Worn(eyes, image_of(irises[rng.integers(len(irises))]))]
    hairy = [f"eyebrows/eyebrow{rng.integers(1, 13):03d}", "eyelashes/eyelashes02"]
    if rng.random() < 0.93:
        hairy.append(f"hair/{rng.choice(PARTS['hair'][gender])}")
    if gender == "male" and rng.random() < 0.3:
        hairy.append(f"hair/{rng.choice(PARTS['beards'])}")
    for name in hairy:
        part = human.proxy(name)
        if part.texture:
            made.append(Worn(part, tinted(image_of(part.texture), colour)))
    return made


def skin_texture(rng: Rng, human: Human, gender: str, race: str) -> U8:
    """A skin of the package, a little lighter or darker."""
    age = rng.choice(["young", "middleage", "old"])
    folder = human.data / "skins" / f"{age}_{race}_{gender}" / "textures"
    found = sorted(path for path in folder.glob("*.png") if "normal" not in path.name)
    texture = image_of(found[rng.integers(len(found))]).astype(np.float32)
    texture[..., :3] *= rng.uniform(0.8, 1.15)
    texture[..., 3] = 255.0
    return np.clip(texture, 0, 255).astype(np.uint8)


@lru_cache(100)
def image_of(path: Path) -> U8:
    """A texture as RGBA (H, W, 4), at most `TEXTURE_PX` wide; not to be written to."""
    image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if image is None:
        raise FileNotFoundError(f"{path} is missing or not a picture")
    channels = image.shape[2] if image.ndim == 3 else 1
    code = {1: cv2.COLOR_GRAY2RGBA, 3: cv2.COLOR_BGR2RGBA, 4: cv2.COLOR_BGRA2RGBA}[channels]
    return fit_within(np.asarray(cv2.cvtColor(image, code), np.uint8), TEXTURE_PX)


def dyed(rng: Rng, texture: U8) -> U8:
    """Clothes in another hue, paler or stronger, lighter or darker; a third stay as they are."""
    if rng.random() < 0.33:
        return texture
    hsv = cv2.cvtColor(np.ascontiguousarray(texture[..., :3]), cv2.COLOR_RGB2HSV)
    hsv = np.asarray(hsv, np.float32)
    hsv[..., 0] = (hsv[..., 0] + rng.uniform(0, 180)) % 180
    hsv[..., 1] = np.clip(hsv[..., 1] * rng.uniform(0.3, 1.3) + rng.uniform(0, 60), 0, 255)
    hsv[..., 2] = np.clip(hsv[..., 2] * rng.uniform(0.4, 1.3), 0, 255)
    rgb = cv2.cvtColor(hsv.astype(np.uint8), cv2.COLOR_HSV2RGB)
    return np.dstack([np.asarray(rgb, np.uint8), texture[..., 3]])


def tinted(texture: U8, colour: F64) -> U8:
    """Hair in one colour, its strands kept."""
    grey = texture[..., :3].astype(np.float32).mean(axis=2)
    shown = texture[..., 3] > 64
    mean = float(grey[shown].mean()) if shown.any() else 128.0
    strands = 0.4 + 0.6 * np.minimum(grey[..., None] / max(mean, 1.0), 1.8)
    rgb = np.clip(strands * colour * 255.0, 0, 255)
    return np.dstack([rgb.astype(np.uint8), texture[..., 3]])
