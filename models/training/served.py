"""What a released model answers to a picture, by the server's own way from pixels to alpha.

`pseudo.py` and `eye_masks.py` take it for a proposal, `evaluate.py` judges it. Needs no torch.
"""

from __future__ import annotations

from kernels import cpu
from models.model import Model
from models.training.data import U8


def served_alpha(model: Model, rgb: U8) -> U8:
    """The alpha (H, W) uint8 of RGB (H, W, 3)."""
    height, width = rgb.shape[:2]
    alphas = model.run(model.prepare(rgb))  # (1, h, w)
    return cpu.alpha_to_source(alphas[0], width, height, fit=model.manifest.fit)
