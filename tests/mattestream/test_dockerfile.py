"""The images' settings are the server's own; nothing here builds an image."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from server import allocator

DOCKERFILE = Path(__file__).resolve().parents[2] / "Dockerfile"
IMAGES = re.split(r"(?m)^FROM .* AS ", DOCKERFILE.read_text(encoding="utf-8"))[1:]


@pytest.mark.parametrize("image", ["cpu", "gpu"])
def test_an_image_sets_the_allocator_as_the_server_would(image):
    (text,) = (part for part in IMAGES if part.startswith(f"{image}\n"))
    settings = dict(re.findall(r"\b(MALLOC_\w+|MATTESTREAM_ALLOCATOR)=(\S+)", text))
    assert settings == {**allocator.SETTINGS, allocator.GUARD: "tuned"}
