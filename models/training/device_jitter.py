"""Randomness and colour changes for batches on the training device; see `device_sampler.py`."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from models.training.resident import Shelf


class Dice:
    """One batch's random numbers, (N,) each: a pure function of seed, batch number and device."""

    def __init__(self, seed: int, number: int, size: int, device: torch.device) -> None:
        self.size, self.device = size, device
        self.generator = torch.Generator(device).manual_seed((seed * 1_000_003 + number) % 2**63)
        self.zero = torch.zeros(size, device=device)

    def between(self, low: float, high: float) -> Tensor:
        """Uniform numbers."""
        numbers = torch.rand(self.size, device=self.device, generator=self.generator)
        return low + (high - low) * numbers

    def chance(self, share: float) -> Tensor:
        """True with this probability."""
        return self.between(0.0, 1.0) < share

    def choose(self, weights: Tensor) -> Tensor:
        """Indices drawn by weight, with replacement; (N, K) weights draw one from each row."""
        weights = weights.to(self.device, torch.float32)
        if weights.ndim == 2:
            return torch.multinomial(weights, 1, generator=self.generator)[:, 0]
        return torch.multinomial(weights, self.size, replacement=True, generator=self.generator)

    def draw(self, shelf: Shelf) -> Tensor:
        """Indices of pictures, drawn by the shelf's chances."""
        return self.choose(shelf.weight)

    def colours(self) -> Tensor:
        """One colour each, (N, 3, 1, 1) in [0, 1]."""
        shape = (self.size, 3, 1, 1)
        return torch.rand(shape, device=self.device, generator=self.generator)

    def noise(self, like: Tensor) -> Tensor:
        """Gaussian noise of deviation 1 in the shape of `like`."""
        return torch.randn(like.shape, device=self.device, generator=self.generator)


def recolour(dice: Dice, rgb: Tensor) -> Tensor:
    """Gamma, contrast, brightness, a colour cast and saturation, as `jitter.recolour`."""

    def factor(low: float, high: float) -> Tensor:
        return dice.between(low, high).view(-1, 1, 1, 1)

    out = rgb.clamp(1e-4, 1.0) ** factor(-0.45, 0.45).exp()
    out = (out - 0.5) * factor(0.65, 1.3) + 0.5 + factor(-0.15, 0.15)
    out = out * (0.85 + 0.3 * dice.colours())
    grey = (out * out.new_tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)).sum(1, keepdim=True)
    kept = torch.where(dice.chance(0.5), dice.between(0.4, 1.4), dice.zero + 1.0)
    kept = torch.where(dice.chance(0.03), dice.zero, kept).view(-1, 1, 1, 1)
    return (grey + kept * (out - grey)).clamp(0, 1)


def degrade(dice: Dice, rgb: Tensor) -> Tensor:
    """Perhaps blurred or of low resolution, perhaps noisy."""
    half = functional.interpolate(
        functional.avg_pool2d(rgb, 2), scale_factor=2.0, mode="bilinear", align_corners=False
    )
    pick = dice.between(0.0, 1.0).view(-1, 1, 1, 1)
    out = torch.where(pick < 0.1, half, torch.where(pick < 0.22, soften(rgb, 0.9), rgb))
    level = torch.where(dice.chance(0.2), dice.between(0.008, 0.047), dice.zero)
    return out + dice.noise(out) * level.view(-1, 1, 1, 1)


def soften(image: Tensor, sigma_px: float) -> Tensor:
    """Gaussian blur of (N, C, S, S), one pass along each axis, borders repeated."""
    reach = max(1, min(round(2.5 * sigma_px), image.shape[-1] - 1))
    steps = torch.arange(-reach, reach + 1, device=image.device, dtype=torch.float32)
    weight = torch.exp(-0.5 * (steps / sigma_px) ** 2)
    weight = (weight / weight.sum()).expand(image.shape[1], 1, -1)
    wide = functional.pad(image, (reach, reach, reach, reach), mode="replicate")
    channels = image.shape[1]
    across = functional.conv2d(wide, weight[:, :, None, :], groups=channels)
    return functional.conv2d(across, weight[:, :, :, None], groups=channels)
