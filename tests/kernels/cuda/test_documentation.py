"""What docs and docstrings say of who calls a kernel is what the code does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from kernels.cuda.catalogue import FOLDER

ROOT = FOLDER.parents[1]
LAUNCHERS = sorted(file.stem for file in FOLDER.glob("*.cu"))


def used() -> set[str]:
    """Launchers that modules of the server or the models import."""
    found: set[str] = set()
    for folder in ("server", "models"):
        for file in (ROOT / folder).rglob("*.py"):
            text = file.read_text(encoding="utf-8")
            found |= set(re.findall(r"^ *from kernels\.cuda\.(\w+) import", text, re.M))
            for names in re.findall(r"^ *from kernels\.cuda import (\([^)]*\)|.*)", text, re.M):
                found |= set(re.findall(r"\w+", names))
    return found & set(LAUNCHERS)


def test_the_docs_name_the_kernels_that_the_server_launches():
    text = Path(ROOT / "docs" / "kernels.md").read_text(encoding="utf-8")
    (told,) = re.findall(r"The server launches \w+ of them: ([^.]*)\.", text)
    assert set(re.findall(r"`(\w+)`", told)) == used()


@pytest.mark.parametrize("name", LAUNCHERS)
def test_a_launcher_says_that_it_is_called_only_if_it_is(name: str):
    text = (FOLDER / f"{name}.py").read_text(encoding="utf-8").split('"""')[1]
    assert ("so far (docs/gpu.md)" in " ".join(text.split())) == (name not in used())
