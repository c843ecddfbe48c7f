"""Data folders made of icons and of 3D models: what is in them, and that training can read them."""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from models.training import cutout_folder
from models.training.data import Pool, load_pool, read_manifest, select


def make_folder(monkeypatch, module, *words: object) -> None:
    """Runs a module's command line."""
    monkeypatch.setattr(sys, "argv", ["made", *(str(word) for word in words)])
    module.main()


def test_pictures_with_an_alpha_become_a_source_of_cutouts(
    tmp_path: Path, disc, pool: Pool, monkeypatch
) -> None:
    icons, data = tmp_path / "icons", tmp_path / "data"
    (icons / "more").mkdir(parents=True)
    rgba = np.dstack([np.full((64, 64, 3), 90, np.uint8), (disc(64, 20) * 255).astype(np.uint8)])
    for name in ("cup.png", "more/PAN.webp", "flag.png"):
        cv2.imwrite(str(icons / name), rgba)
    cv2.imwrite(str(icons / "opaque.png"), np.full((64, 64, 4), 255, np.uint8))
    cv2.imwrite(str(icons / "photo.png"), np.full((64, 64, 3), 255, np.uint8))
    (icons / "licence.txt").write_text("free", encoding="utf-8")
    words = ["--pictures", icons, "--out", data, "--repo", "a/icons", "--licence", "MIT"]
    make_folder(monkeypatch, cutout_folder, *words, "--prefix", "icon", "--skip", "flag")
    rows = read_manifest(data)
    assert [row.source_repo for row in rows] == ["a/icons"] * 2
    pool.add(load_pool(data, select(rows, "train", ["A"]), 48))
    assert sorted(pool.cutouts) == ["icon", "noto"]
    assert pool.count() == 6
    alpha = pool.cutouts["icon"][0].alpha
    assert alpha is not None
    assert alpha.shape == (40, 40)  # cropped to its subject


def test_an_added_pool_joins_sources_of_one_name(pool: Pool, picture) -> None:
    other = Pool(
        photos={"ecssd": [picture("images", "ecssd", True, 8)]},
        plain=[picture("images", "inet", False, 9)],
    )
    pool.add(other)
    assert len(pool.photos["ecssd"]) == 2
    assert len(pool.plain) == 2
    assert pool.count() == 6


CUBE = """mtllib cube.mtl
v 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 0\nv 0 0 1\nv 1 0 1\nv 1 1 1\nv 0 1 1
usemtl skin
f 4 3 2 1\nf 5 6 7 8\nf 1 2 6 5\nf 2 3 7 6\nf 3 4 8 7\nf 4 1 5 8
"""


def cube(folder: Path, opaque: float) -> Path:
    """A red cube as an OBJ file; `opaque` 1 hides what is behind it."""
    (folder / "cube.mtl").write_text(f"newmtl skin\nKd 0.8 0.05 0.05\nd {opaque}\n")
    path = folder / "cube.obj"
    path.write_text(CUBE)
    return path


def test_a_rendered_cube_is_a_red_thing_with_smooth_edges(tmp_path: Path) -> None:
    pytest.importorskip("vtkmodules", reason="vtk is needed to render, not to train")
    from models.training.render_things import SIDE_PX, render

    shares = []
    for view in range(6):
        rgba = render(np.random.default_rng(view), cube(tmp_path, 1.0))
        assert rgba is not None
        assert max(rgba.shape[:2]) == SIDE_PX
        alpha, inside = rgba[..., 3], rgba[..., 3] == 255
        assert 0.4 < inside.mean() < 0.97
        assert ((alpha > 20) & (alpha < 235)).any()
        red, green, blue = (rgba[..., channel][inside].astype(int) for channel in range(3))
        assert (red >= green).all()
        assert (red >= blue).all()
        assert red.max() > 60
        shares.append(round(float(inside.mean()), 3))
    assert len(set(shares)) > 3  # seen from elsewhere each time
    first, again = (render(np.random.default_rng(0), cube(tmp_path, 1.0)) for _ in range(2))
    assert np.array_equal(first, again)


def test_glass_keeps_its_transparency_and_nothing_is_no_picture(tmp_path: Path) -> None:
    pytest.importorskip("vtkmodules", reason="vtk is needed to render, not to train")
    from models.training.render_things import render

    glass = render(np.random.default_rng(1), cube(tmp_path, 0.3))
    assert glass is not None
    assert 60 < np.median(glass[..., 3][glass[..., 3] > 8]) < 200  # two panes, one behind the other
    empty = tmp_path / "empty.obj"
    empty.write_text("v 0 0 0\n")
    assert render(np.random.default_rng(1), empty) is None


def test_models_become_a_source_of_cutouts(tmp_path: Path, monkeypatch) -> None:
    pytest.importorskip("vtkmodules", reason="vtk is needed to render, not to train")
    from models.training import render_things

    models, data = tmp_path / "models", tmp_path / "data"
    (models / "door").mkdir(parents=True)
    cube(models, 1.0)
    cube(models / "door", 1.0)
    words = ["--models", models, "--out", data, "--repo", "a/models", "--licence", "CC0"]
    make_folder(monkeypatch, render_things, *words, "--views", 2, "--skip", "door")
    pool = load_pool(data, select(read_manifest(data), "train", ["A"]), 128)
    assert [picture.rgb.shape for picture in pool.cutouts["thing"]] != []
    assert 1 <= len(pool.cutouts["thing"]) <= 2
