"""Our HTTP door, asked as remove.bg's clients ask, beside rembg's server: one run, taking turns.

    python -m loadtest.gateway --rembg-venv ENV [--network sinet|u2netp] [--size 1080p|12mp]

It is `loadtest.compare_rembg` with `--door http`: the same ONNX, photos, checks and page.
"""

from __future__ import annotations

import sys

from loadtest import compare_rembg

if __name__ == "__main__":
    sys.exit(compare_rembg.main(["--door", "http", *sys.argv[1:]]))
