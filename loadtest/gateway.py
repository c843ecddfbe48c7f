"""Our HTTP door, asked as remove.bg's clients ask, beside rembg's server: one run, taking turns.

    python -m loadtest.gateway --rembg-venv ENV [--door http] [--network sinet|u2netp]

It is `loadtest.compare_rembg` with `--door removebg`: the same ONNX, photos, checks and page.
"""

from __future__ import annotations

import sys

from loadtest import compare_rembg

if __name__ == "__main__":
    sys.exit(compare_rembg.main(["--door", "removebg", *sys.argv[1:]]))
