"""From a click checkpoint to two ONNX files: features of an image, and an alpha for each prompt.

Run by a person: `python -m models.training.export_click --checkpoint RUN_DIR/best.pt --side 320
--out FOLDER`; several `--checkpoint` of one run are averaged, see export.py. Writes
`matte-click-encoder.onnx` (`image` to `s2` ... `s32`, to be cached) and `matte-click-decoder.onnx`
(these and `prompts`, see prompts.py, to `alpha`), both of any batch.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import torch
from torch import Tensor, nn

from models.training.checkpoints import averaged
from models.training.click_network import PROMPT_MAPS, ClickNet
from models.training.export import OPSET, TOLERANCE, calibrate, sha256_of
from models.training.network import Width

STRIDES = (2, 4, 8, 16, 32)
FEATURES = [f"s{stride}" for stride in STRIDES]


class ClickEncoder(nn.Module):
    """What runs once for an image."""

    def __init__(self, net: ClickNet) -> None:
        super().__init__()
        self.net = net

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Features at strides 2 to 32 of a normalised image (N, 3, S, S)."""
        return self.net.encode(image)


class ClickDecoder(nn.Module):
    """What runs for every prompt, with the sigmoid."""

    def __init__(self, net: ClickNet) -> None:
        super().__init__()
        self.net = net

    def forward(self, *inputs: Tensor) -> Tensor:
        """Alpha (N, 1, S, S) in [0, 1] for the features, in order, and prompt maps in [0, 1]."""
        *features, prompts = inputs
        return torch.sigmoid(self.net.decode_all(tuple(features), prompts)[0])


def net_from(*checkpoints: Path) -> ClickNet:
    """The averaged weights of a click run, or the mean over several of its checkpoints."""
    state = averaged(checkpoints)
    net = ClickNet(Width(**state["config"]["width"]))
    net.load_state_dict(state["average"])
    return net.eval()


def export_click(net: ClickNet, folder: Path, side: int) -> float:
    """Writes both files and returns their largest difference from torch, in alpha."""
    folder.mkdir(parents=True, exist_ok=True)
    net.eval()
    image = torch.zeros(2, 3, side, side)
    prompts = torch.zeros(2, PROMPT_MAPS, side // 2, side // 2)
    with torch.no_grad():
        features = net.encode(image)
    paths = (folder / "matte-click-encoder.onnx", folder / "matte-click-decoder.onnx")
    write(ClickEncoder(net), (image,), ["image"], FEATURES, paths[0])
    write(ClickDecoder(net), (*features, prompts), [*FEATURES, "prompts"], ["alpha"], paths[1])
    worst = disagreement(net, paths, side)
    if worst > TOLERANCE:
        raise ValueError(f"ONNX and torch differ by {worst:.2g} in alpha, allowed {TOLERANCE:g}")
    return worst


def write(
    model: nn.Module,
    example: tuple[Tensor, ...],
    inputs: list[str],
    outputs: list[str],
    path: Path,
) -> None:
    """One graph, checked, its batch free."""
    torch.onnx.export(
        model.eval(),
        example,
        str(path),
        input_names=inputs,
        output_names=outputs,
        dynamic_axes={name: {0: "batch"} for name in [*inputs, *outputs]},
        opset_version=OPSET,
        dynamo=False,  # the newer exporter starts at opset 18
    )
    onnx.checker.check_model(onnx.load(str(path)), full_check=True)


def disagreement(net: ClickNet, paths: tuple[Path, Path], side: int) -> float:
    """Largest |torch - ONNX Runtime| in alpha over batches of 1 and 3 random pictures."""
    encoder, decoder = (
        ort.InferenceSession(str(path), providers=["CPUExecutionProvider"]) for path in paths
    )
    worst = 0.0
    for count in (1, 3):
        rng = np.random.default_rng(count)
        image = rng.standard_normal((count, 3, side, side)).astype(np.float32)
        prompts = rng.random((count, PROMPT_MAPS, side // 2, side // 2)).astype(np.float32)
        with torch.no_grad():
            logits = net(torch.from_numpy(image), torch.from_numpy(prompts))
        features = encoder.run(FEATURES, {"image": image})
        fed: dict[str, Any] = dict(zip(FEATURES, features, strict=True))
        (alpha,) = decoder.run(["alpha"], {**fed, "prompts": prompts})
        worst = max(worst, float(np.abs(np.asarray(alpha) - torch.sigmoid(logits).numpy()).max()))
    return worst


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Export matte-click to ONNX.")
    parser.add_argument("--checkpoint", type=Path, action="append", required=True)
    parser.add_argument("--gain", type=float, default=1.0, help="of the logits: see export.py")
    parser.add_argument("--side", type=int, default=320)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    net = net_from(*args.checkpoint)
    calibrate(net, args.gain, shift=0.0)
    worst = export_click(net, args.out, args.side)
    for path in sorted(args.out.glob("matte-click-*.onnx")):
        print(f"{path}: {path.stat().st_size / 1e6:.2f} MB, sha256 {sha256_of(path)}")
    print(f"torch differs {worst:.1e}")


if __name__ == "__main__":
    main()
