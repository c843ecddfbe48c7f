"""The promptable member of the family: image features once, then an alpha for every prompt.

`trainer.py` optimises it, `export_click.py` writes its two graphs. The encoder is the family's, so
that it starts from a trained matte model; the decoder walks down the strides with the prompt maps,
adding the image's features on the way, thinks at strides 16 and 32, and walks up again.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.training.network import (
    DecoderStep,
    Encoder,
    InvertedResidual,
    PooledContext,
    Width,
    conv_bn,
)

PROMPT_MAPS = 4  # wanted clicks, unwanted clicks, box, earlier alpha: see prompts.py
THINKING = 3  # expansion of the blocks that weigh prompts against the picture


class PromptStep(nn.Module):
    """Half the resolution: what the prompts said above, plus the image's features here."""

    def __init__(self, c_above: int, c_here: int) -> None:
        super().__init__()
        self.down = nn.Sequential(
            conv_bn(c_above, c_above, 3, 2, groups=c_above),
            conv_bn(c_above, c_here, act=False),
        )
        self.feature = conv_bn(c_here, c_here, act=False)

    def forward(self, above: Tensor, feature: Tensor) -> Tensor:
        """(N, c_above, 2H, 2W) and (N, c_here, H, W) to (N, c_here, H, W)."""
        return functional.relu(self.down(above) + self.feature(feature))


class ClickNet(Encoder):
    """Image (N, 3, S, S) and prompt maps (N, 4, S / 2, S / 2) to alpha logits (N, 1, S, S)."""

    def __init__(self, width: Width, frozen: bool = True) -> None:
        super().__init__(width)
        w = width
        self.frozen = frozen
        if frozen:
            self.requires_grad_(False)
        self.prompt = conv_bn(PROMPT_MAPS, w.s2, 3, act=False)
        self.feature_s2 = conv_bn(w.s2, w.s2, act=False)
        self.down_s4 = PromptStep(w.s2, w.s4)
        self.down_s8 = PromptStep(w.s4, w.s8)
        self.down_s16 = PromptStep(w.s8, w.s16)
        self.down_s32 = PromptStep(w.s16, w.s32)
        self.think_s16 = InvertedResidual(w.s16, w.s16, 1, THINKING * w.s16, gate=True)
        self.think_s32 = nn.Sequential(
            InvertedResidual(w.s32, w.s32, 1, THINKING * w.s32, gate=True),
            PooledContext(w.s32),
            InvertedResidual(w.s32, w.s32, 1, THINKING * w.s32, gate=True),
        )
        self.up_s16 = DecoderStep(w.s32, w.s16, w.s16)
        self.up_s8 = DecoderStep(w.s16, w.s8, w.s8)
        self.up_s4 = DecoderStep(w.s8, w.s4, w.s4)
        self.up_s2 = DecoderStep(w.s4, w.s2, w.s2)
        self.refine = conv_bn(w.s2, w.refine, 3)
        self.head = nn.Conv2d(w.refine, 4, 3, padding=1)  # 2 x 2 pixels of the full resolution
        self.side_heads = nn.ModuleList([nn.Conv2d(w.s16, 1, 1), nn.Conv2d(w.s4, 1, 1)])

    def train(self, mode: bool = True) -> ClickNet:
        """Training mode; a frozen encoder's norms keep their statistics."""
        super().train(mode)
        if self.frozen:
            for part in (self.stem, self.to_s4, self.to_s8, self.to_s16, self.to_s32, self.context):
                part.eval()
        return self

    def decode_all(self, features: tuple[Tensor, ...], prompts: Tensor) -> list[Tensor]:
        """Logits at stride 1, then the side heads' at strides 16 and 4 (training only)."""
        s2, s4, s8, s16, s32 = features
        p2 = functional.relu(self.prompt(prompts) + self.feature_s2(s2))
        p4 = self.down_s4(p2, s4)
        p8 = self.down_s8(p4, s8)
        p16 = self.think_s16(self.down_s16(p8, s16))
        p32 = self.think_s32(self.down_s32(p16, s32))
        d16 = self.up_s16(p32, p16)
        d4 = self.up_s4(self.up_s8(d16, p8), p4)
        d2 = self.up_s2(d4, p2)
        logits = [functional.pixel_shuffle(self.head(self.refine(d2)), 2)]
        return logits + [head(d) for head, d in zip(self.side_heads, (d16, d4), strict=True)]

    def forward_all(self, image: Tensor, prompts: Tensor) -> list[Tensor]:
        """All logits for an image and its prompts, as the loss wants them."""
        if not self.frozen:
            return self.decode_all(self.encode(image), prompts)
        with torch.no_grad():
            features = self.encode(image)
        return self.decode_all(features, prompts)

    def forward(self, image: Tensor, prompts: Tensor) -> Tensor:
        """Alpha logits, (N, 1, S, S)."""
        return self.forward_all(image, prompts)[0]
