"""Many pictures through a remover that gives back what it gets: what happens to the files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from mattestream.cli import batch, sources, targets
from mattestream.reply import Removal
from mattestream.v1 import report_pb2


class Echo:
    """Gives back the picture; `meanwhile` is what others do while it works."""

    errors = (RuntimeError,)

    def __init__(self, meanwhile: Callable[[], object] = lambda: None) -> None:
        self.meanwhile = meanwhile

    def remove(self, data: bytes) -> Removal:
        self.meanwhile()
        return Removal(data, "image/png", 3, 2, report_pb2.Report())


def run(
    *paths: Path, out: Path, remover: Echo | None = None, **options: bool
) -> dict[str, batch.Finished]:
    """Outcomes by the pictures' names."""
    pictures = sources.find(map(str, paths), recursive=True)
    destination = targets.read_destination(str(out), len(pictures))
    names = targets.plan(pictures, destination, "png")
    jobs = [batch.Job(p, name) for p, name in zip(pictures, names, strict=True)]
    outcomes = batch.run(jobs, remover or Echo(), workers=2, **options)
    return {finished.job.picture.stem: finished for finished in outcomes}


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photos" / "a.png"
    path.parent.mkdir()
    path.write_bytes(b"photo")
    return path


@pytest.fixture
def out(tmp_path: Path) -> Path:
    (tmp_path / "out").mkdir()
    return tmp_path / "out"


class TestAResultThatComesWhileWeWork:
    def run(self, photo: Path, out: Path, **options: bool) -> tuple[batch.Finished, bytes]:
        target = out / "a.png"
        remover = Echo(lambda: target.write_bytes(b"theirs"))
        return run(photo, out=out, remover=remover, **options)["a"], target.read_bytes()

    def test_is_not_replaced(self, photo, out):
        finished, data = self.run(photo, out)
        assert "a.png exists: use --force" in finished.problem
        assert data == b"theirs"

    def test_is_skipped_where_that_was_asked(self, photo, out):
        finished, data = self.run(photo, out, skip_existing=True)
        assert finished.skipped
        assert data == b"theirs"

    def test_is_replaced_by_force(self, photo, out):
        finished, data = self.run(photo, out, force=True)
        assert (finished.problem, data) == ("", b"photo")


def test_a_picture_is_no_existing_result_of_itself(photo):
    finished = run(photo, out=photo.parent, skip_existing=True)["a"]
    assert not finished.skipped
    assert "itself one of the pictures" in finished.problem


@pytest.mark.parametrize("option", ["force", "skip_existing"])
def test_a_folder_in_the_place_of_a_result_is_a_failure(photo, out, option):
    (out / "a.png").mkdir()
    finished = run(photo, out=out, **{option: True})["a"]
    assert not finished.skipped
    assert "a.png is a folder: move it away" in finished.problem


def test_a_file_in_the_place_of_the_folder_is_a_failure_that_names_it(photo, out):
    (out / "sub").write_bytes(b"")
    finished = run(photo, out=out / "sub" / "x.png")["a"]
    assert str(out / "sub") in finished.problem
    assert "use --force" not in finished.problem


def test_a_link_in_a_circle_fails_alone(photo, out):
    loop = photo.with_name("loop.png")
    loop.symlink_to(loop)
    outcomes = run(photo, loop, out=out)
    assert outcomes["a"].problem == ""
    assert "symbolic links" in outcomes["loop"].problem


def test_a_name_that_is_too_long_fails_alone(photo, out):
    long = photo.with_name(f"{'n' * 300}.png")
    outcomes = run(photo, long, out=out)
    assert outcomes["a"].problem == ""
    assert "File name too long" in outcomes[long.stem].problem


def test_a_folder_that_cannot_be_listed_fails_alone(photo, out, monkeypatch):
    shut = photo.parent.parent / "shut"
    shut.mkdir()
    listed = Path.rglob

    def refuse(self: Path, pattern: str) -> object:  # root may list everything, so it is played
        if self == shut:
            raise PermissionError(13, "Permission denied", str(shut))
        return listed(self, pattern)

    monkeypatch.setattr(Path, "rglob", refuse)
    outcomes = run(photo, shut, out=out)
    assert outcomes["a"].problem == ""
    assert outcomes["shut"].problem == "Is a directory"  # the name is printed before it


def test_a_folder_for_results_whose_name_is_too_long_fails_in_words(photo, out):
    finished = run(photo, out=out / ("n" * 300))["a"]
    assert "File name too long" in finished.problem


def test_a_name_that_leaves_no_room_for_more_is_written(photo, out):
    long = photo.rename(photo.with_name(f"{'n' * 250}.png"))
    assert run(long, out=out)[long.stem].problem == ""
    assert (out / long.name).read_bytes() == b"photo"
