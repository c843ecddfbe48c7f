"""A folder with the files that the pages name, and a real server with the built-in models."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from mattestream.cli.demo import sample_photos
from server.config import Config
from tests.mattestream.running import RunningServer

PHOTOS = ("photo", "in", "take", "street", "shoe", "me", "beach", "scan", "one-more")
SIDES = (720, 800)  # the pages point at places in street.jpg


@pytest.fixture(scope="session")
def samples() -> dict[str, Image.Image]:
    """scikit-image's photos, which the demo takes as well, by name."""
    pytest.importorskip("skimage", reason="needs the dev extra: pip install -e '.[dev]'")
    return {path.stem: Image.open(path).convert("RGB") for path in sample_photos()}


@pytest.fixture
def desk(tmp_path: Path, samples: dict[str, Image.Image], monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder of a reader who has one photo of each name that the pages use."""
    cat = samples["chelsea"].resize(SIDES)
    for name in PHOTOS:
        cat.save(tmp_path / f"{name}.jpg")
    for name in ("logo", "mascot"):
        flat = Image.new("RGB", SIDES, "white")
        flat.paste("navy", (200, 200, 500, 600))
        flat.save(tmp_path / f"{name}.png")
    for folder in ("shoot", "photos", "pictures/images", "pictures/backgrounds"):
        (tmp_path / folder).mkdir(parents=True)
        cat.resize((90, 100)).save(tmp_path / folder / "cat.jpg")
    (tmp_path / "pictures" / "truth").mkdir()
    Image.new("L", (90, 100), 255).save(tmp_path / "pictures" / "truth" / "cat.png")
    (tmp_path / "pictures" / "cutouts").mkdir()
    person = samples["astronaut"].resize((64, 64))
    person.putalpha(Image.linear_gradient("L").resize((64, 64)))
    person.save(tmp_path / "pictures" / "cutouts" / "person.png")
    (tmp_path / "pictures" / "manifest.csv").write_text(
        "file,split\nimages/cat.jpg,val\nbackgrounds/cat.jpg,val\ncutouts/person.png,val\n"
    )
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="session")
def server() -> Iterator[RunningServer]:
    """`mattestream serve --shared-memory myapp-` on free ports."""
    running = RunningServer(
        Config(port=0, http_port=-1, metrics_port=-1, shared_memory=("myapp-",))
    )
    running.start()
    yield running
    running.stop()
