"""A trained larger network that shows a smaller one how sure to be (Hinton and others 2015).

`train.py --teacher CHECKPOINT` makes one. A mask says where somebody drew the subject's edge; a
good network's answer says besides which parts are hard to tell, and leaves out what a mask got
wrong.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from models.training.checkpoints import net_from

AGREES = 0.7  # IoU with the truth from which a teacher is listened to: it may be wrong altogether


class Teacher:
    """The averaged weights of a checkpoint, mixed into the truth as `share` of it."""

    def __init__(self, checkpoint: Path, share: float, device: torch.device) -> None:
        self.net = net_from(checkpoint).eval().to(device)
        self.net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.share = share

    @torch.no_grad()
    def corrected(self, image: Tensor, maps: Tensor) -> Tensor:
        """The target maps (N, 4, S, S) of `matte_loss` with the teacher's opinion in the alpha.

        `image` is normalised (N, 3, S, S). Where an alpha is true, its edges stay as they are.
        """
        alpha, wide, is_true = maps[:, :1], maps[:, 2:3], maps[:, 3:]
        opinion = torch.sigmoid(self.net(image).float())
        weight = self.share * agrees(opinion, alpha) * (1.0 - wide * is_true)
        return torch.cat([torch.lerp(alpha, opinion, weight), maps[:, 1:]], dim=1)


def agrees(opinion: Tensor, alpha: Tensor) -> Tensor:
    """1 where both show one subject (soft IoU of at least `AGREES`), else 0: (N, 1, 1, 1)."""
    overlap = torch.minimum(opinion, alpha).sum(dim=(1, 2, 3), keepdim=True)
    union = torch.maximum(opinion, alpha).sum(dim=(1, 2, 3), keepdim=True)
    return (overlap >= AGREES * union).float()
