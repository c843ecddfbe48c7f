"""The cases of `make gpu-check`: what each launches, which bytes it moves, what it is held to."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from kernels.cuda.catalogue import FOLDER, all_kernels
from kernels.device import CaptureFailed, Device
from kernels.image import PixelFormat
from loadtest.gpu_check import bandwidth, sections, small_flow, small_launches, small_variants
from loadtest.gpu_check.bench import Bench, HostClock, disc
from loadtest.gpu_check.case import Case
from loadtest.gpu_check.cases import CASES, SIZES
from loadtest.gpu_check.rows import Verdict
from tests.loadtest.gpu_check.emulated import SMALL, needs_gcc


def test_every_kernel_has_a_case():
    covered = {kernel for case in CASES for kernel in case.kernels}
    assert covered == set(all_kernels())


def test_cases_have_names_of_their_own():
    names = [case.name for case in CASES]
    assert len(names) == len(set(names))


@needs_gcc
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_case_launches_the_kernels_that_it_names_and_no_others(
    case: Case, device: Device, monkeypatch: pytest.MonkeyPatch
):
    launched = set()
    launch = device.launch

    def note(kernel, *rest):
        launched.add(kernel)
        launch(kernel, *rest)

    queue = case.prepare(Bench(device), SMALL)
    monkeypatch.setattr(device, "launch", note)
    queue()
    assert launched == set(case.kernels)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_case_moves_more_bytes_for_larger_pictures_and_at_least_one_a_pixel(case: Case):
    moved = [case.nbytes(size) for size in SIZES.values()]
    if case.of_plane:
        assert len(set(moved)) == 1
        return
    assert moved == sorted(set(moved))
    assert all(n >= size[0] * size[1] for n, size in zip(moved, SIZES.values(), strict=True))


@needs_gcc
@pytest.mark.slow
def test_every_case_can_be_launched_at_the_sanitizers_sizes(device: Device):
    assert small_launches.launch_all(device) == len(CASES) * len(small_launches.SIZES) + len(
        small_variants.VARIANTS
    ) * len(small_launches.VARIANT_SIZES)


def test_the_variants_take_every_layout_and_every_output():
    names = " ".join(small_variants.VARIANTS)
    for pixel_format in PixelFormat:
        for what in ("resize_normalise", "finish", "composite", "edges", "blur"):
            assert f"{what} {pixel_format.name}" in names
    for output in small_variants.FinishOutput:
        assert f"I420 to {output.name}" in names


@needs_gcc
@pytest.mark.slow
def test_the_small_flow_replays_graphs_only(device: Device):
    runs = small_flow.run(device)
    assert runs >= small_flow._ROUNDS * len(small_flow.SIZES) * 4


@pytest.mark.parametrize("file", sorted(FOLDER.glob("*.cu")), ids=lambda file: file.stem)
def test_the_bytes_of_a_head_comment_are_those_of_its_case_and_of_the_docs(file: Path):
    told = re.search(r"In all ([\d.]+) bytes a pixel", file.read_text(encoding="utf-8"))
    assert told or file.stem not in ("guided_refine", "foreground")
    if told is None:
        return
    (case,) = (each for each in CASES if each.name == file.stem)
    size = SIZES["1080p"]
    assert case.nbytes(size) / (size[0] * size[1]) == pytest.approx(float(told[1]))
    docs = (sections.ROOT / "docs" / "kernels.md").read_text(encoding="utf-8")
    (line,) = (line for line in docs.splitlines() if line.startswith(f"| [{file.stem}]"))
    assert f"| {told[1]} in all |" in line


@needs_gcc
def test_a_case_is_measured_in_bytes_a_second(device: Device):
    (case,) = (each for each in CASES if each.name == "premultiply")
    bench = Bench(device)
    speed, is_graph = bandwidth.measure(case, bench, SMALL, HostClock(device))
    assert speed > 0
    assert is_graph


@needs_gcc
def test_what_cannot_be_recorded_is_launched_plainly_and_the_row_says_so(
    device: Device, monkeypatch: pytest.MonkeyPatch
):
    def refuse(*_):
        raise CaptureFailed("not here")

    monkeypatch.setattr(device, "capture", refuse)
    (case,) = (each for each in CASES if each.name == "premultiply")
    speed, is_graph = bandwidth.measure(case, Bench(device), SMALL, HostClock(device))
    row = bandwidth.judge(case, "4K", speed, speed, speed, is_graph=is_graph)
    assert "gaps between its launches count" in row.note
    assert row.data["graph"] is False


def test_the_measured_subject_has_edges_an_inside_and_an_outside():
    alpha = disc((200, 100))
    assert alpha[50, 100] == 255
    assert alpha[0, 0] == 0
    assert 0.001 < ((alpha > 0) & (alpha < 255)).mean() < 0.05


@pytest.mark.parametrize(
    ("share", "aim", "verdict"),
    [(0.70, 0.7, Verdict.PASSED), (0.69, 0.7, Verdict.BELOW), (0.1, None, Verdict.MEASURED)],
)
def test_a_share_is_judged_by_the_cases_aim(share, aim, verdict):
    case = Case("blur", (), lambda size: 1, lambda bench, size: lambda: None, aim)
    row = bandwidth.judge(case, "4K", 1e12 * share, 1e12, 2e12)
    assert (row.verdict, row.figure) == (verdict, f"{share:.0%} of a copy")
    assert row.data["share_of_large_copy"] == pytest.approx(share / 2)
