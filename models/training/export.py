"""From a checkpoint to the ONNX file the server ships, checked against torch before it is kept.

Run by a person: `python -m models.training.export --checkpoint RUN_DIR/last.pt --side 320
--gain 2 --shift 0.3 --out models/builtin/matte-s.onnx`; several `--checkpoint` of one descent are
averaged, and `--look 288 --look 416 --mirrored` looks several times (looks.py). Prints the file's
sha256, size and largest disagreement, and pins digest and size in the manifest beside it
(`matte-s.toml`).
"""

from __future__ import annotations

import argparse
import hashlib
import re
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import torch

from models.training.checkpoints import net_from
from models.training.click_network import ClickNet
from models.training.looks import Looks, looks_or_net
from models.training.network import AlphaNet, MatteNet

OPSET = 17
# float32 sums in another order differ by about 1e-6; folding the norms adds a little
TOLERANCE = 1e-4


def calibrate(net: MatteNet | ClickNet, gain: float, shift: float) -> None:
    """Makes the net answer `gain * (logit - shift)`, folded into its last convolution.

    Training shows pictures that are harder than real ones, and its area loss rewards painting too
    much: on a clean picture the answers are too faint and a little too large. Both numbers are
    chosen on the val split.
    """
    with torch.no_grad():
        net.head.weight *= gain
        assert net.head.bias is not None
        net.head.bias.copy_(gain * (net.head.bias - shift))


def export(net: MatteNet | Looks, out_path: Path, side: int) -> float:
    """Writes the ONNX file and returns its largest difference from torch, in alpha.

    Input `image` (N, 3, side, side) float32, output `alpha` (N, 1, side, side); N is free. The side
    heads are left behind, and the norms are folded into the convolutions.
    """
    model = AlphaNet(net).eval()
    example = torch.zeros(2, 3, side, side)
    # beside the target and then renamed: a server may be reading the old file
    part = out_path.with_name(out_path.name + ".part")
    torch.onnx.export(
        model,
        (example,),
        str(part),
        input_names=["image"],
        output_names=["alpha"],
        dynamic_axes={"image": {0: "batch"}, "alpha": {0: "batch"}},
        opset_version=OPSET,
        dynamo=False,  # the newer exporter starts at opset 18
    )
    onnx.checker.check_model(onnx.load(str(part)), full_check=True)
    worst = disagreement(model, part, side)
    if worst > TOLERANCE:
        part.unlink()
        raise ValueError(f"ONNX and torch differ by {worst:.2g} in alpha, allowed {TOLERANCE:g}")
    part.replace(out_path)
    return worst


def disagreement(model: AlphaNet, onnx_path: Path, side: int) -> float:
    """Largest |torch - ONNX Runtime| in alpha over batches of 1 and 3 random pictures."""
    session = ort.InferenceSession(str(onnx_path), providers=["CPUExecutionProvider"])
    worst = 0.0
    for count in (1, 3):
        rng = np.random.default_rng(count)
        images = rng.standard_normal((count, 3, side, side)).astype(np.float32)
        with torch.no_grad():
            expected = model(torch.from_numpy(images)).numpy()
        (alpha,) = session.run(["alpha"], {"image": images})
        worst = max(worst, float(np.abs(np.asarray(alpha) - expected).max()))
    return worst


def sha256_of(path: Path) -> str:
    """Hex digest of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def pin(manifest_path: Path, onnx_path: Path) -> None:
    """Writes the weights' digest and exact size into the manifest's own lines for them."""
    text = manifest_path.read_text(encoding="utf-8")
    pins = {"sha256": f'"{sha256_of(onnx_path)}"', "size_bytes": str(onnx_path.stat().st_size)}
    for key, value in pins.items():
        text, found = re.subn(rf"^{key} = .*$", f"{key} = {value}", text, flags=re.MULTILINE)
        if found != 1:
            raise ValueError(f"{manifest_path} has {found} lines that begin with '{key} = ', not 1")
    manifest_path.write_text(text, encoding="utf-8")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Export a matte model to ONNX.")
    parser.add_argument("--checkpoint", type=Path, action="append", required=True)
    parser.add_argument("--gain", type=float, default=1.0, help="of the logits: see calibrate")
    parser.add_argument("--shift", type=float, default=0.0, help="taken off the logits before")
    parser.add_argument("--side", type=int, default=320)
    parser.add_argument("--out", type=Path, default=Path("models/builtin/matte-s.onnx"))
    parser.add_argument("--look", type=int, action="append", default=[], help="side in px")
    parser.add_argument("--mirrored", action="store_true", help="also look at the mirror image")
    args = parser.parse_args()
    net = net_from(*args.checkpoint)
    calibrate(net, args.gain, args.shift)
    looks = looks_or_net(net, args.side, args.look, mirrored=args.mirrored)
    worst = export(looks, args.out, args.side)
    manifest = args.out.with_suffix(".toml")
    if manifest.exists():
        pin(manifest, args.out)
    size_mb = args.out.stat().st_size / 1e6
    print(f"{args.out}: {size_mb:.2f} MB, sha256 {sha256_of(args.out)}, torch differs {worst:.1e}")


if __name__ == "__main__":
    main()
