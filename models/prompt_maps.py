"""Prompts as planes that our own decoder reads: wanted clicks, unwanted clicks, box, earlier alpha.

Called by `models.prompt_model` for `prompts = "maps"`. The network was trained with the maps of
`models.training.prompts`, which is left out of the wheel; a test holds the two against each other.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from models.prompts import F32, Prompts

CLICK_RADIUS = 0.02  # of the plane's side, as in training


def prompt_maps(prompts: Prompts, width: int, height: int) -> F32:
    """The four planes, (1, 4, height, width) float32 in [0, 1]; what is not given is 0.

    A click is a filled disc, a box its filled rectangle.
    """
    maps = np.zeros((4, height, width), np.uint8)
    radius = max(1, round(CLICK_RADIUS * width))
    for click in prompts.clicks:
        centre = (int(click.x * width), int(click.y * height))
        cv2.circle(maps[0 if click.wanted else 1], centre, radius, 255, -1)
    box = prompts.box
    if box is not None:
        left, top = round(box.left * width), round(box.top * height)
        right, bottom = round(box.right * width) - 1, round(box.bottom * height) - 1
        # A box thinner than a pixel of the plane still has to be seen.
        last = (max(left, right), max(top, bottom))
        cv2.rectangle(maps[2], (left, top), last, 255, -1)
    if prompts.earlier is not None:
        small = cv2.resize(prompts.earlier, (width, height), interpolation=cv2.INTER_AREA)
        maps[3] = np.clip(small * 255.0 + 0.5, 0, 255).astype(np.uint8)
    scaled: NDArray[np.float32] = maps[None].astype(np.float32) / np.float32(255)
    return scaled
