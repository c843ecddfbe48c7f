"""Where an image lies inside a network's plane: the one place that knows, asked on the way in and
on the way out.

Called by `kernels.reference` and `kernels.cpu`; the CUDA launchers will ask it too.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

Fit = Literal["stretch", "letterbox", "corner"]


class Placement(NamedTuple):
    """The part of the plane that the image covers, in pixels of the plane."""

    left: int
    top: int
    width: int
    height: int


def place(image_wh: tuple[int, int], plane_wh: tuple[int, int], fit: Fit) -> Placement:
    """Where an image of `image_wh` pixels lies in a plane of `plane_wh` pixels.

    "stretch" covers the whole plane. "letterbox" keeps the aspect ratio as nearly as whole pixels
    allow, centres, and covers at least one pixel of each side; "corner" does the same at the top
    left instead of the centre, as the Segment Anything family does.

    Raises:
        ValueError: `fit` is none of the three.
    """
    plane_width, plane_height = plane_wh
    if fit == "stretch":
        return Placement(0, 0, plane_width, plane_height)
    if fit not in {"letterbox", "corner"}:
        raise ValueError(f"fit is {fit!r}; allowed are 'stretch', 'letterbox' and 'corner'")
    image_width, image_height = image_wh
    scale = min(plane_width / image_width, plane_height / image_height)
    width = min(plane_width, max(1, round(image_width * scale)))
    height = min(plane_height, max(1, round(image_height * scale)))
    if fit == "corner":
        return Placement(0, 0, width, height)
    return Placement((plane_width - width) // 2, (plane_height - height) // 2, width, height)
