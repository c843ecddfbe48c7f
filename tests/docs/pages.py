"""The pages, and the blocks of code in them, as a reader would copy them."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)
_INLINE = re.compile(r"`(mattestream [^`]+)`")


@dataclass(frozen=True)
class Block:
    """One block of a page."""

    page: str
    line: int
    language: str  # as written behind the fence
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


@dataclass(frozen=True)
class Command:
    """One command line of a page, without its comment."""

    page: str
    line: int
    words: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.page}:{self.line}:{'-'.join(self.words[:2])}"


def blocks(*languages: str) -> list[Block]:
    """Every block in one of these languages, in the order of the pages."""
    found = []
    for path in PAGES:
        text = path.read_text(encoding="utf-8")
        for match in _BLOCK.finditer(text):
            if match[1] in languages:
                line = text.count("\n", 0, match.start(2)) + 1
                found.append(Block(str(path.relative_to(ROOT)), line, match[1], match[2]))
    return found


def commands(program: str) -> list[Command]:
    """Every command line that starts `program`, in blocks of shell."""
    found = []
    for block in blocks("sh"):
        joined = block.text.replace("\\\n", " ")
        for number, line in enumerate(joined.splitlines()):
            words = shlex.split(line, comments=True)
            while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
                words.pop(0)
            if words and words[0] == program:
                found.append(Command(block.page, block.line + number, tuple(words)))
    return found


def commands_in_sentences() -> list[Command]:
    """Every `mattestream ...` between backticks, except where it only names a command."""
    found = []
    for path in PAGES:
        text = _BLOCK.sub(lambda match: "\n" * match[0].count("\n"), path.read_text("utf-8"))
        for match in _INLINE.finditer(text):
            words = shlex.split(match[1].replace("\n", " "))
            if len(words) > (3 if words[1] == "models" else 2):
                line = text.count("\n", 0, match.start()) + 1
                found.append(Command(str(path.relative_to(ROOT)), line, tuple(words)))
    return found
