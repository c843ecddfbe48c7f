"""Several looks at one picture in one graph: sizes and the mirror image, their logits averaged.

`export.py` ships matte-m this way. A coarse look knows better where the subject is, a fine one
where it ends, and the network is not quite even-handed between left and right: the mean of such
answers is better than any of them, for no more weights.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

from models.training.network import MatteNet


class Looks(nn.Module):
    """Image (N, 3, S, S), normalised, to the mean logits (N, 1, S, S) over all looks.

    Args:
        net: the network that looks, in eval mode; it is copied.
        side_px: S, the side of the image that comes in.
        sides_px: sides that the image is looked at, each a multiple of 32 of at most S.
        mirrored: look at the mirror image too, each time.
    """

    def __init__(
        self, net: MatteNet, side_px: int, sides_px: Sequence[int], *, mirrored: bool
    ) -> None:
        super().__init__()
        wrong = [side for side in (side_px, *sides_px) if side % 32 or side > side_px]
        if wrong or not sides_px:
            raise ValueError(
                f"looks at sides {wrong or 'none'}: wanted are multiples of 32 up to {side_px}"
            )
        self.net = folded(net)
        self.side_px, self.sides_px, self.mirrored = side_px, tuple(sides_px), mirrored

    def forward(self, image: Tensor) -> Tensor:
        """Mean logits of all looks."""
        total: Tensor | None = None
        for side in self.sides_px:
            small = image if side == self.side_px else resized(image, side)
            logits = self.net(small)
            if self.mirrored:
                logits = (logits + self.net(small.flip(3)).flip(3)) * 0.5
            if side != self.side_px:
                logits = resized(logits, self.side_px)
            total = logits if total is None else total + logits
        assert total is not None
        return total * (1.0 / len(self.sides_px))


def resized(x: Tensor, side: int) -> Tensor:
    """(N, C, S, S) to (N, C, side, side), bilinear."""
    return functional.interpolate(x, size=(side, side), mode="bilinear", align_corners=False)


def folded(net: MatteNet) -> MatteNet:
    """A copy in eval mode whose norms are folded into the convolutions before them.

    The exporter folds them too, but once for every look, which would store the weights as often.
    """
    twin = copy.deepcopy(net).eval()
    for module in list(twin.modules()):
        if not isinstance(module, nn.Sequential):
            continue
        for number in range(len(module) - 1):
            conv, norm = module[number], module[number + 1]
            if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                module[number] = fuse_conv_bn_eval(conv, norm)
                module[number + 1] = nn.Identity()
    for parameter in twin.parameters():
        parameter.requires_grad_(False)
    return twin


def looks_or_net(
    net: MatteNet, side_px: int, sides_px: Sequence[int], *, mirrored: bool
) -> MatteNet | Looks:
    """`net` itself where it looks once, at the size that comes in; else its looks."""
    if not mirrored and tuple(sides_px) in ((), (side_px,)):
        return net
    return Looks(net, side_px, sides_px or (side_px,), mirrored=mirrored)
