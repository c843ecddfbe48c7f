"""Cut-outs of things with a true alpha, rendered from 3D models: a data folder for training.

Run by a person: `python -m models.training.render_things --models FOLDER --out DATA --repo NAME
--licence NAME`, then `train.py --more DATA`. FOLDER holds Wavefront OBJ files with their materials
and textures, at any depth; DATA gets `cutouts/PREFIX_NUMBER-VIEW.webp` and `manifest.csv`. Photos
of single things with masks are what the data has least of; a model turned and lit anew gives as
many views of one as are wanted. Needs `pip install vtk`, and no screen.
"""

from __future__ import annotations

import colorsys
import math
import multiprocessing
import os
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from vtkmodules import vtkRenderingOpenGL2  # noqa: F401 - registers what draws
from vtkmodules.util.numpy_support import vtk_to_numpy
from vtkmodules.vtkIOImport import vtkOBJImporter
from vtkmodules.vtkRenderingCore import (
    vtkCamera,
    vtkLight,
    vtkRenderer,
    vtkRenderWindow,
    vtkWindowToImageFilter,
)

from models.training.cutout_folder import source_parser, wanted, write_manifest
from models.training.data import U8, extent

Rng = np.random.Generator

FRAME_PX = 1152  # rendered at three times the size, so that edges are averages of nine samples
SIDE_PX = 384
PAINTED = 0.6  # share of the views whose grey surfaces get a colour: many models have no other
SEEN = (0.04, 0.97)  # share of its own box that a thing covers: less is wire, more is a board
LEAST_PX = 48  # of the shorter side: a thing seen edge on is not worth a picture


def render(rng: Rng, obj: Path) -> U8 | None:
    """One random view of a model in random light, RGBA (H, W, 4) with straight colours.

    The long side is `SIDE_PX`; None where the model holds nothing or is seen edge on.
    """
    window, renderer = stage()
    importer = vtkOBJImporter()
    importer.SetFileName(str(obj))
    if (materials := materials_of(obj)) is not None:
        importer.SetFileNameMTL(str(materials))
        importer.SetTexturePath(str(materials.parent) + os.sep)
    importer.SetRenderWindow(window)
    importer.Update()
    paint(rng, renderer)
    bounds = renderer.ComputeVisiblePropBounds()
    if bounds[0] > bounds[1]:
        return None
    light(rng, renderer)
    look_at(rng, renderer, bounds)
    return cut_out(grab(window))


def grab(window: vtkRenderWindow) -> U8:
    """Renders a window and ends it: RGBA (H, W, 4) with premultiplied colours."""
    window.Render()
    reader = vtkWindowToImageFilter()
    reader.SetInput(window)
    reader.SetInputBufferTypeToRGBA()
    reader.ReadFrontBufferOff()
    reader.ShouldRerenderOff()
    reader.Update()
    image = reader.GetOutput()
    width, height, _ = image.GetDimensions()
    rgba = vtk_to_numpy(image.GetPointData().GetScalars()).reshape(height, width, 4)[::-1]
    window.Finalize()
    return np.ascontiguousarray(rgba)


def stage(
    size_px: tuple[int, int] = (FRAME_PX, FRAME_PX),
) -> tuple[vtkRenderWindow, vtkRenderer]:
    """An empty window off screen, black and transparent, that blends glass in the right order."""
    window, renderer = vtkRenderWindow(), vtkRenderer()
    window.SetOffScreenRendering(1)
    window.SetAlphaBitPlanes(1)
    window.SetMultiSamples(0)
    window.SetSize(*size_px)
    window.AddRenderer(renderer)
    renderer.SetBackground(0.0, 0.0, 0.0)
    renderer.SetBackgroundAlpha(0.0)
    renderer.SetUseDepthPeeling(True)
    renderer.SetMaximumNumberOfPeels(8)
    renderer.AutomaticLightCreationOff()
    return window, renderer


def materials_of(obj: Path) -> Path | None:
    """The material file that an OBJ names, or None where there is none."""
    with obj.open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            if line.startswith("mtllib "):
                path = obj.parent / line[7:].strip()
                return path if path.is_file() else None
            if line.startswith("f "):
                return None
    return None


def paint(rng: Rng, renderer: vtkRenderer) -> None:
    """The model's materials in a little even light, most of the plain grey ones in a colour."""
    ambient, coloured = rng.uniform(0.1, 0.3), rng.random() < PAINTED
    hue, saturation, value = rng.uniform(0, 1), rng.uniform(0.1, 0.9), rng.uniform(0.3, 1.0)
    colour = colorsys.hsv_to_rgb(hue, saturation, value)
    actors = renderer.GetActors()
    actors.InitTraversal()
    for _ in range(actors.GetNumberOfItems()):
        actor = actors.GetNextActor()
        surface = actor.GetProperty()
        surface.SetAmbient(ambient)
        own = surface.GetDiffuseColor()
        if coloured and actor.GetTexture() is None and max(own) - min(own) < 0.1 < max(own):
            surface.SetColor(*colour)


def light(rng: Rng, renderer: vtkRenderer) -> None:
    """A warm or cool key light from above, a weaker one from anywhere, and one at the camera."""
    warmth = rng.uniform(-0.12, 0.12)
    for strength, low in ((rng.uniform(0.5, 1.0), 0.2), (rng.uniform(0.1, 0.4), -0.5)):
        around, up = rng.uniform(-math.pi, math.pi), rng.uniform(low, 1.2)
        lamp = vtkLight()
        lamp.SetLightTypeToSceneLight()
        lamp.SetPosition(math.sin(around), up, math.cos(around))
        lamp.SetFocalPoint(0.0, 0.0, 0.0)
        lamp.SetColor(1.0 + min(warmth, 0.0), 1.0, 1.0 - max(warmth, 0.0))
        lamp.SetIntensity(strength)
        renderer.AddLight(lamp)
    lamp = vtkLight()
    lamp.SetLightTypeToHeadlight()
    lamp.SetIntensity(rng.uniform(0.2, 0.6))
    renderer.AddLight(lamp)


def look_at(rng: Rng, renderer: vtkRenderer, bounds: Sequence[float]) -> None:
    """The camera around the front of the thing, mostly a little above it; y is up."""
    around, up = rng.normal(0.0, 0.9), rng.uniform(-0.1, 0.7)
    camera = renderer.GetActiveCamera()
    camera.SetViewAngle(rng.uniform(15.0, 50.0))
    middle = [(bounds[2 * i] + bounds[2 * i + 1]) / 2 for i in range(3)]
    orbit(camera, middle, around, up, 1.0)
    renderer.ResetCamera(bounds)


def orbit(camera: vtkCamera, middle: Sequence[float], around: float, up: float, far: float) -> None:
    """Puts the camera `far` from a point, turned around it from the front and lifted (radians)."""
    camera.SetFocalPoint(*middle)
    step = (math.sin(around) * math.cos(up), math.sin(up), math.cos(around) * math.cos(up))
    camera.SetPosition(*(m + far * s for m, s in zip(middle, step, strict=True)))
    camera.SetViewUp(0.0, 1.0, 0.0)


def cut_out(rgba: U8) -> U8 | None:
    """The rendered thing alone, averaged down to `SIDE_PX`; its colours come premultiplied."""
    found = extent(rgba[..., 3] > 8)
    if found is None:
        return None
    left, top, right, bottom = found
    thing, h, w = rgba[top:bottom, left:right], bottom - top, right - left
    scale = SIDE_PX / max(h, w)
    size = (round(w * scale), round(h * scale))
    covered = float((thing[..., 3] > 127).mean())
    if min(size) < LEAST_PX or not SEEN[0] < covered < SEEN[1]:
        return None
    small = np.asarray(cv2.resize(thing, size, interpolation=cv2.INTER_AREA), np.float32)
    alpha = small[..., 3:]
    colours = np.clip(small[..., :3] * 255.0 / np.maximum(alpha, 1.0), 0.0, 255.0)
    return np.dstack([colours, alpha]).round().astype(np.uint8)


def write_cutout(path: Path, rgba: U8) -> None:
    """Writes a rendered cut-out as WebP."""
    packed = cv2.cvtColor(rgba, cv2.COLOR_RGBA2BGRA)
    cv2.imwrite(str(path), packed, [cv2.IMWRITE_WEBP_QUALITY, 92])


def write_views(stem: Path, number: int, obj: Path, views: int) -> None:
    """Writes STEM-VIEW.webp for every view that shows something and is not there yet."""
    for view in range(views):
        path = stem.with_name(f"{stem.name}-{view}.webp")
        if path.exists():
            continue
        rgba = render(np.random.default_rng([number, view]), obj)
        if rgba is not None:
            write_cutout(path, rgba)


def main() -> None:
    """Command line."""
    parser = source_parser("Render 3D models as cut-outs.")
    parser.add_argument("--models", type=Path, required=True, help="folder of OBJ files")
    parser.add_argument("--views", type=int, default=3, help="of each model")
    args = parser.parse_args()
    (args.out / "cutouts").mkdir(parents=True, exist_ok=True)
    made: list[tuple[str, str]] = []
    models = wanted(args.models, [".obj"], args.skip)
    for number, obj in enumerate(models):
        stem = f"cutouts/{args.prefix}_{number:05d}"
        # a process of its own: one broken texture in hundreds of models ends VTK
        child = multiprocessing.get_context("fork").Process(
            target=write_views, args=(args.out / stem, number, obj, args.views)
        )
        child.start()
        child.join()
        if child.exitcode:
            print(f"{obj} ended its renderer ({child.exitcode}); what came before is kept")
        made += [
            (f"{stem}-{view}.webp", str(obj.relative_to(args.models)))
            for view in range(args.views)
            if (args.out / f"{stem}-{view}.webp").exists()
        ]
    views = write_manifest(args.out, made, args)
    print(f"{args.out}: {views} views of {len(models)} models")


if __name__ == "__main__":
    main()
