from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from mattestream.files import write_file


@pytest.fixture(params=["with hard links", "without hard links"])
def folder(request, tmp_path, monkeypatch):
    if request.param == "without hard links":

        def refuse(*_: object) -> None:
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

        monkeypatch.setattr(os, "link", refuse)
    return tmp_path


def names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def test_a_new_file_gets_its_bytes_and_leaves_no_part(folder):
    write_file(folder / "a.png", b"new", replace=False)
    assert (folder / "a.png").read_bytes() == b"new"
    assert names(folder) == ["a.png"]


def test_what_is_there_stays_unless_it_may_be_replaced(folder):
    target = folder / "a.png"
    target.write_bytes(b"precious")
    with pytest.raises(FileExistsError) as caught:
        write_file(target, b"new", replace=False)
    assert caught.value.filename == str(target)
    assert target.read_bytes() == b"precious"
    write_file(target, b"new", replace=True)
    assert target.read_bytes() == b"new"
    assert names(folder) == ["a.png"]


def test_a_link_to_nothing_counts_as_there(folder):
    (folder / "a.png").symlink_to("nowhere")
    with pytest.raises(FileExistsError):
        write_file(folder / "a.png", b"new", replace=False)


@pytest.mark.parametrize("replace", [True, False])
def test_a_name_as_long_as_a_name_can_be_is_written(folder, replace):
    target = folder / f"{'n' * 251}.png"
    write_file(target, b"new", replace=replace)
    assert target.read_bytes() == b"new"


@pytest.mark.parametrize("name", ["gone/a.png", "file/a.png", f"{'n' * 252}.png"])
def test_a_failure_names_the_target_and_leaves_no_part(folder, name):
    (folder / "file").write_bytes(b"")
    with pytest.raises(OSError, match=r"\S") as caught:
        write_file(folder / name, b"new", replace=False)
    assert caught.value.filename == str(folder / name)
    assert names(folder) == ["file"]
