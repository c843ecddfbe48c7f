"""The family's network: one convolutional net from a normalised square image to its alpha.

`trainer.py` optimises it, `export.py` turns it into ONNX, `click_network.py` shares its encoder;
`Width` decides which model of the family it is. It is an inverted-residual encoder (strides
2 to 32) with a pooled context, a light decoder with additive skips, and a full-resolution
refinement that sees the picture again, so that edges follow the colours and not the stride.
Only plain operators are used (Conv, Relu, Sigmoid, Add, Mul, Concat, GlobalAveragePool and Resize
with constant scales), so that every ONNX runtime and TensorRT parse it without plug-ins.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Width:
    """Channels and block counts per stride; the numbers that decide size and speed."""

    s2: int = 16
    s4: int = 24
    s8: int = 40
    s16: int = 80
    s32: int = 128
    s4_blocks: int = 2
    s8_blocks: int = 3
    s16_blocks: int = 4
    s32_blocks: int = 3
    expand: int = 4
    s32_inner: int = 0  # hidden channels of the equal-shaped blocks at stride 32; 0: s32 * expand
    refine: int = 16


def conv_bn(
    c_in: int,
    c_out: int,
    kernel: int = 1,
    stride: int = 1,
    *,
    groups: int = 1,
    act: bool = True,
) -> nn.Sequential:
    """Conv without bias, BatchNorm and (if asked) ReLU; the norm folds into the conv at export."""
    layers: list[nn.Module] = [
        nn.Conv2d(c_in, c_out, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(c_out),
    ]
    if act:
        layers.append(nn.ReLU(inplace=True))
    return nn.Sequential(*layers)


class ChannelGate(nn.Module):
    """Squeeze-excite: scales each channel by a sigmoid of the whole picture's average."""

    def __init__(self, channels: int, squeezed: int) -> None:
        super().__init__()
        self.down = nn.Conv2d(channels, squeezed, 1)
        self.up = nn.Conv2d(squeezed, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to the same shape."""
        pooled = functional.adaptive_avg_pool2d(x, 1)
        return x * torch.sigmoid(self.up(functional.relu(self.down(pooled))))


class InvertedResidual(nn.Module):
    """1x1 expand, depthwise 3x3, optional gate, 1x1 project; plus the input where shapes agree."""

    def __init__(self, c_in: int, c_out: int, stride: int, inner: int, gate: bool) -> None:
        super().__init__()
        self.adds = stride == 1 and c_in == c_out
        self.expand = conv_bn(c_in, inner)
        self.depthwise = conv_bn(inner, inner, 3, stride, groups=inner)
        self.gate = ChannelGate(inner, max(8, inner // 16)) if gate else nn.Identity()
        self.project = conv_bn(inner, c_out, act=False)

    def forward(self, x: Tensor) -> Tensor:
        """(N, c_in, H, W) to (N, c_out, H / stride, W / stride)."""
        y: Tensor = self.project(self.gate(self.depthwise(self.expand(x))))
        return x + y if self.adds else y


class FusedResidual(nn.Module):
    """The early-stage block: one full 3x3 conv in place of expand and depthwise.

    At strides 2 and 4 the expanded maps are what a CPU spends its time reading and writing.
    """

    def __init__(self, c_in: int, c_out: int, stride: int, expand: int) -> None:
        super().__init__()
        self.adds = stride == 1 and c_in == c_out
        self.widen = conv_bn(c_in, c_in * expand, 3, stride)
        self.project = conv_bn(c_in * expand, c_out, act=False)

    def forward(self, x: Tensor) -> Tensor:
        """(N, c_in, H, W) to (N, c_out, H / stride, W / stride)."""
        y: Tensor = self.project(self.widen(x))
        return x + y if self.adds else y


class PooledContext(nn.Module):
    """Adds a projection of the global average, so that every pixel knows the whole scene."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.project = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to the same shape."""
        pooled = functional.adaptive_avg_pool2d(x, 1)
        return functional.relu(x + self.project(pooled))


class DecoderStep(nn.Module):
    """Twice the resolution: upsampled deep features plus the skip, mixed by a separable 3x3."""

    def __init__(self, c_deep: int, c_skip: int, c_out: int) -> None:
        super().__init__()
        self.deep = conv_bn(c_deep, c_out, act=False)
        self.skip = conv_bn(c_skip, c_out, act=False)
        self.depthwise = conv_bn(c_out, c_out, 3, groups=c_out)
        self.mix = conv_bn(c_out, c_out)

    def forward(self, deep: Tensor, skip: Tensor) -> Tensor:
        """(N, c_deep, H, W) and (N, c_skip, 2H, 2W) to (N, c_out, 2H, 2W)."""
        # project before upsampling: a quarter of the multiplications
        x = functional.relu(twice(self.deep(deep)) + self.skip(skip))
        y: Tensor = self.mix(self.depthwise(x))
        return y


class Encoder(nn.Module):
    """What the family shares: image (N, 3, S, S), normalised, to features at strides 2 to 32."""

    def __init__(self, width: Width) -> None:
        super().__init__()
        w = width
        self.width = w
        self.stem = conv_bn(3, w.s2, 3, 2)
        self.to_s4 = stage_fused(w.s2, w.s4, w.s4_blocks)
        self.to_s8 = stage(w.s4, w.s8, w.s8_blocks, w.expand, gate=False)
        self.to_s16 = stage(w.s8, w.s16, w.s16_blocks, w.expand, gate=True)
        self.to_s32 = stage(w.s16, w.s32, w.s32_blocks, w.expand, gate=True, inner=w.s32_inner)
        self.context = PooledContext(w.s32)

    def encode(self, image: Tensor) -> tuple[Tensor, ...]:
        """Features at strides 2, 4, 8, 16 and 32, with s2, s4, s8, s16 and s32 channels."""
        s2 = self.stem(image)
        s4 = self.to_s4(s2)
        s8 = self.to_s8(s4)
        s16 = self.to_s16(s8)
        return s2, s4, s8, s16, self.context(self.to_s32(s16))


class MatteNet(Encoder):
    """Image (N, 3, S, S), normalised, S a multiple of 32, to alpha logits (N, 1, S, S)."""

    def __init__(self, width: Width | None = None) -> None:
        super().__init__(width or Width())
        w = self.width
        self.up_s16 = DecoderStep(w.s32, w.s16, w.s16)
        self.up_s8 = DecoderStep(w.s16, w.s8, w.s8)
        self.up_s4 = DecoderStep(w.s8, w.s4, w.s4)
        self.up_s2 = DecoderStep(w.s4, w.s2, w.s2)
        self.refine_in = conv_bn(w.s2, 13, act=False)  # 13 + RGB = 16, one SIMD block of channels
        self.refine = conv_bn(16, w.refine, 3)
        self.head = nn.Conv2d(w.refine, 1, 3, padding=1)
        self.side_heads = nn.ModuleList(
            [nn.Conv2d(w.s16, 1, 1), nn.Conv2d(w.s8, 1, 1), nn.Conv2d(w.s4, 1, 1)]
        )

    def forward_all(self, image: Tensor) -> list[Tensor]:
        """Logits at stride 1, then the side heads' at strides 16, 8 and 4 (training only)."""
        s2, s4, s8, s16, d32 = self.encode(image)
        d16 = self.up_s16(d32, s16)
        d8 = self.up_s8(d16, s8)
        d4 = self.up_s4(d8, s4)
        d2 = self.up_s2(d4, s2)
        full = torch.cat([twice(self.refine_in(d2)), image], dim=1)
        logits = [self.head(self.refine(full))]
        logits += [head(d) for head, d in zip(self.side_heads, (d16, d8, d4), strict=True)]
        return logits

    def forward(self, image: Tensor) -> Tensor:
        """Alpha logits, (N, 1, S, S)."""
        return self.forward_all(image)[0]


class AlphaNet(nn.Module):
    """What is exported: the network with its sigmoid, alpha in [0, 1]."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, image: Tensor) -> Tensor:
        """Alpha (N, 1, S, S) in [0, 1] for a normalised image (N, 3, S, S)."""
        return torch.sigmoid(self.net(image))


def stage(
    c_in: int, c_out: int, blocks: int, expand: int, *, gate: bool, inner: int = 0
) -> nn.Sequential:
    """Inverted residuals, the first of which halves the resolution; `inner` as in `Width`."""
    first = InvertedResidual(c_in, c_out, 2, c_in * expand, gate)
    inner = inner or c_out * expand
    rest = [InvertedResidual(c_out, c_out, 1, inner, gate) for _ in range(blocks - 1)]
    return nn.Sequential(first, *rest)


def stage_fused(c_in: int, c_out: int, blocks: int) -> nn.Sequential:
    """Fused residuals, the first of which halves the resolution."""
    rest = [FusedResidual(c_out, c_out, 1, 2) for _ in range(blocks - 1)]
    return nn.Sequential(FusedResidual(c_in, c_out, 2, 2), *rest)


def twice(x: Tensor) -> Tensor:
    """(N, C, H, W) to (N, C, 2H, 2W), bilinear, with a constant scale in the exported graph."""
    return functional.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)


def parameters_count(net: nn.Module) -> int:
    """Number of trained values."""
    return sum(p.numel() for p in net.parameters())
