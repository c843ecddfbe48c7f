"""A checkpoint from a released ONNX file, so that shipped weights can be trained further.

Run by a person: `python -m models.training.from_onnx --onnx models/builtin/matte-s.onnx
--config models/training/matte_s.toml --data ../shared/data --gain 2 --shift 0.3 --out START.pt`,
then `train.py --start START.pt` on pictures of one's own. A released file outlives the checkpoints
it was made of, and holds all that its user has.

In the file every norm is folded into the convolution before it. Here it is taken out again: its
statistics are measured on training pictures, and its scale and shift are those with which the
network answers exactly as the file does. Only the side heads, which are not in the file, begin
anew; they teach and do not answer.
"""

from __future__ import annotations

import argparse
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

import cv2
import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, nn

from models.training.composite import Sampler
from models.training.config import TrainConfig, config_from
from models.training.data import load_pool, open_folder, read_manifest, select
from models.training.network import MatteNet
from models.training.trainer import normalise
from models.training.validation import to_chw

BATCH = 8


@dataclass(frozen=True)
class Filters:
    """One convolution of the file: weights (c_out, c_in / groups, k, k) and bias (c_out)."""

    weight: Tensor
    bias: Tensor


def read_filters(onnx_path: Path) -> list[Filters]:
    """The file's convolutions in the order in which they run; those of further looks left out."""
    graph = onnx.load(str(onnx_path)).graph
    held = {one.name: one for one in graph.initializer}
    names = [tuple(node.input[1:3]) for node in graph.node if node.op_type == "Conv"]
    return [
        Filters(*(torch.from_numpy(numpy_helper.to_array(held[name]).copy()) for name in pair))
        for pair in dict.fromkeys(names)  # looks share their weights: each pair once
    ]


def convolutions(net: MatteNet, side_px: int = 64) -> list[tuple[nn.Conv2d, nn.BatchNorm2d | None]]:
    """The network's convolutions in the order in which they run, each with the norm behind it."""
    norms = {
        parts[number]: parts[number + 1]
        for parts in net.modules()
        if isinstance(parts, nn.Sequential)
        for number in range(len(parts) - 1)
        if isinstance(parts[number + 1], nn.BatchNorm2d)
    }
    ran: list[nn.Conv2d] = []
    hooks = [
        module.register_forward_hook(lambda conv, *_: ran.append(conv))
        for name, module in net.named_modules()
        if isinstance(module, nn.Conv2d) and not name.startswith("side_heads")
    ]
    with torch.no_grad():
        net(torch.zeros(1, 3, side_px, side_px))
    for hook in hooks:
        hook.remove()
    return [(conv, norms.get(conv)) for conv in ran]


def fill(net: MatteNet, filters: list[Filters]) -> None:
    """Gives the network the file's weights, its norms doing nothing but adding the bias, in place.

    In eval mode it then answers as the file does; `measure_norms` makes it fit to be trained.
    """
    places = convolutions(net.eval())
    wanted = [tuple(conv.weight.shape) for conv, _ in places]
    found = [tuple(one.weight.shape) for one in filters]
    if wanted != found:
        pairs = zip_longest(found, wanted)  # None where one of them has no more
        seen, asked = next(pair for pair in pairs if pair[0] != pair[1])
        raise ValueError(
            f"the file has {len(found)} convolutions and the configuration {len(wanted)}; the "
            f"first that differ are {seen} and {asked}: name the configuration of this file"
        )
    with torch.no_grad():
        for (conv, norm), one in zip(places, filters, strict=True):
            conv.weight.copy_(one.weight)
            if norm is None:
                assert conv.bias is not None
                conv.bias.copy_(one.bias)
                continue
            norm.running_mean.zero_()
            norm.running_var.fill_(1.0 - norm.eps)
            norm.weight.fill_(1.0)
            norm.bias.copy_(one.bias)


@torch.no_grad()
def measure_norms(net: MatteNet, batches: Iterable[Tensor]) -> None:
    """Gives every norm the statistics of its convolution over `batches`, answers unchanged.

    `batches` are normalised images (N, 3, S, S). Each filter is scaled to the size that a random
    start would have, which its norm takes back: a learning rate then means what it always did.
    """
    places = [(conv, norm) for conv, norm in convolutions(net.eval()) if norm is not None]
    sums = {conv: torch.zeros(3, conv.out_channels, dtype=torch.float64) for conv, _ in places}

    def add(conv: nn.Conv2d, _: object, out: Tensor) -> None:
        values = out.double().transpose(0, 1).flatten(1)
        count = torch.full((conv.out_channels,), float(values.shape[1]), dtype=torch.float64)
        sums[conv] += torch.stack([count, values.sum(1), values.square().sum(1)])

    hooks = [conv.register_forward_hook(add) for conv, _ in places]
    for images in batches:
        net(images)
    for hook in hooks:
        hook.remove()
    for conv, norm in places:
        count, total, squares = sums[conv]
        mean = total / count
        variance = (squares / count - mean.square()).clamp(min=0.0)
        size = conv.weight.double().square().mean((1, 2, 3)).sqrt()
        usual = (3.0 * conv.weight[0].numel()) ** -0.5  # standard deviation of torch's random start
        scale = torch.where(size > 0.0, usual / size, torch.ones_like(size))
        conv.weight.mul_(scale.float()[:, None, None, None])
        norm.running_mean.copy_(scale * mean)
        norm.running_var.copy_(scale.square() * variance)
        spread = (scale.square() * variance + norm.eps).sqrt()
        norm.bias.add_(mean)
        norm.weight.copy_(spread / scale)


def uncalibrate(net: MatteNet, gain: float, shift: float) -> None:
    """Takes back what `export.calibrate` did to the logits, in place."""
    assert net.head.bias is not None
    with torch.no_grad():
        net.head.weight /= gain
        net.head.bias.copy_(net.head.bias / gain + shift)


def training_images(config: TrainConfig, data_dir: Path, count: int) -> Iterator[Tensor]:
    """`count` samples of the configuration's own first phase, as batches of normalised images."""
    data = open_folder(data_dir)
    rows = select(read_manifest(data), "train", config.tiers)
    pool = load_pool(data, rows, config.cache_side_px)
    sampler = Sampler(pool, config.mix, config.seed)
    for first in range(0, count, BATCH):
        numbers = range(first, min(count, first + BATCH))
        samples = [sampler.sample(number, config.phases[0].side_px)[0] for number in numbers]
        yield normalise(torch.stack([to_chw(rgb) for rgb in samples]))


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Make a checkpoint of a released ONNX file.")
    parser.add_argument("--onnx", type=Path, default=Path("models/builtin/matte-s.onnx"))
    parser.add_argument("--config", type=Path, default=Path("models/training/matte_s.toml"))
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--pictures", type=int, default=400, help="to measure the norms on")
    parser.add_argument("--gain", type=float, default=1.0, help="of the export, to be taken back")
    parser.add_argument("--shift", type=float, default=0.0, help="of the export, likewise")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    raw = tomllib.loads(args.config.read_text(encoding="utf-8"))
    config = config_from(raw)
    torch.manual_seed(config.seed)
    net = MatteNet(config.width)
    fill(net, read_filters(args.onnx))
    uncalibrate(net, args.gain, args.shift)
    probe = normalise(torch.from_numpy(np.random.default_rng(0).integers(0, 256, (1, 3, 256, 256))))
    with torch.no_grad():
        before = torch.sigmoid(net(probe))
        measure_norms(net, training_images(config, args.data, args.pictures))
        moved = float((torch.sigmoid(net(probe)) - before).abs().max())
    torch.save({"config": raw, "average": net.state_dict()}, args.out)
    print(f"{args.out}: from {args.onnx}; the norms moved alpha by {moved:.1e} at most")


if __name__ == "__main__":
    main()
