"""The memory of a ring: gone however its maker ends, refused where there is no room for it."""

from __future__ import annotations

import gc
import os
import resource
import signal
import subprocess
import sys
import threading
import warnings
from pathlib import Path

import numpy as np
import pytest

from mattestream import Client, InvalidRequest, MattestreamError, Removal, SharedFrames
from mattestream import shared_region as regions
from tests.mattestream.shared_frames.rings import (
    HEIGHT,
    SHM,
    WIDTH,
    left_of,
    open_of,
)

MAKER = """
import os, sys, time
from mattestream import SharedFrames
ring = SharedFrames(64, 48, 3, prefix=sys.argv[1])
ring.__enter__()
print("made", flush=True)
if sys.argv[2] == "wait":
    sys.stdin.read()
"""


def maker(prefix: str, how: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", MAKER, prefix, how],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "made\n"
    return process


def test_a_process_that_ends_without_closing_leaves_nothing(prefix: str) -> None:
    with maker(prefix, "end") as process:
        process.wait(20)
    assert left_of(prefix) == []


def test_what_a_killed_process_left_is_removed_by_the_next_and_living_ones_stay(
    prefix: str,
) -> None:
    with maker(prefix, "wait") as alive, maker(prefix, "wait") as dead:
        dead.send_signal(signal.SIGKILL)
        dead.wait(20)
        assert len(left_of(prefix)) == 6
        with SharedFrames(WIDTH, HEIGHT, 2, prefix=prefix):
            assert len(left_of(prefix)) == 3 + 2
        assert alive.poll() is None
        assert len(left_of(prefix)) == 3
        assert alive.stdin is not None
        alive.stdin.close()
        alive.wait(20)


def test_foreign_objects_under_the_prefix_are_left_alone(prefix: str) -> None:
    foreign = [SHM / f"{prefix}mine", SHM / f"{prefix}ring-mine"]
    for path in foreign:
        path.write_bytes(b"x")
    link = SHM / f"{prefix}ring-{'0' * 16}"
    link.symlink_to("/etc/passwd")
    try:
        with SharedFrames(WIDTH, HEIGHT, 2, prefix=prefix):
            pass
        assert sorted(left_of(prefix)) == sorted(path.name for path in (*foreign, link))
    finally:
        for path in (*foreign, link):
            path.unlink()


def test_a_forked_child_leaves_its_parents_frames_alone(prefix: str) -> None:
    with SharedFrames(WIDTH, HEIGHT, 2, prefix=prefix) as ring:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # threads of other tests
            child = os.fork()
        if child == 0:
            ring.close()
            os._exit(0)
        os.waitpid(child, 0)
        assert len(left_of(prefix)) == 2


def test_closing_takes_names_and_descriptors_away_and_wakes_who_waits(prefix: str) -> None:
    ring = SharedFrames(WIDTH, HEIGHT, 2, prefix=prefix)
    errors: list[BaseException] = []

    def wait_for_one() -> None:
        try:
            ring.take()
        except MattestreamError as error:
            errors.append(error)

    with ring:
        held = [ring.take(), ring.take()]
        held[0].image[:] = 7
        kept = held[0].image
        waiting = [threading.Thread(target=wait_for_one) for _ in range(3)]
        for thread in waiting:
            thread.start()
    for thread in waiting:
        thread.join(20)
    assert [type(error) for error in errors] == [InvalidRequest] * 3
    assert left_of(prefix) == []
    assert (kept == 7).all()  # its memory lives as long as it does
    del held, kept
    gc.collect()
    assert open_of(prefix) == 0
    with pytest.raises(InvalidRequest, match="with"):
        ring.take()


def test_many_frames_leave_regions_and_descriptors_as_they_were(
    client: Client, prefix: str
) -> None:
    with SharedFrames(16, 16, 4, prefix=prefix) as ring:
        picture = np.zeros((16, 16, 3), np.uint8)
        descriptors = set()
        for _ in range(3):
            answers = client.remove_stream(ring.fill(picture for _ in range(500)))
            assert sum(isinstance(each, Removal) for each in answers) == 500
            descriptors.add(open_of(prefix))
        assert len(descriptors) == 1
        assert len(left_of(prefix)) == 4


def test_a_ring_that_does_not_fit_says_so_and_leaves_nothing(prefix: str) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        # As a full /dev/shm would, but without filling one.
        resource.setrlimit(resource.RLIMIT_FSIZE, (WIDTH * HEIGHT, hard))
        with pytest.raises(MattestreamError, match="cannot reserve"):
            SharedFrames(WIDTH, HEIGHT, prefix=prefix).__enter__()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_more_than_there_is_room_for_is_refused_before_it_is_taken(prefix: str) -> None:
    ring = SharedFrames(65535, 65535, 1024, pixels="rgba", prefix=prefix)
    with pytest.raises(MattestreamError, match="has room for"):
        ring.__enter__()


def test_a_full_or_foreign_system_is_told_in_a_sentence(
    prefix: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    ring = SharedFrames(WIDTH, HEIGHT, prefix=prefix)
    monkeypatch.setattr(regions.sys, "platform", "win32")
    with pytest.raises(MattestreamError, match="need Linux"), ring:
        pass
    monkeypatch.setattr(regions.sys, "platform", "linux")
    monkeypatch.setattr(regions, "FOLDER", tmp_path / "missing")
    with pytest.raises(MattestreamError, match="missing"), ring:
        pass
