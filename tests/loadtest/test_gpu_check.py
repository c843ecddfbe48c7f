"""All of `make gpu-check` that needs no GPU: its cases, its flow on the emulated device, its table.

Not here: CuPy's clock and copies, PyTorch's engine, PyCUDA, compute-sanitizer.
"""

from __future__ import annotations

import builtins
import json
import os
import re
import select
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from kernels.cuda.catalogue import FOLDER, all_kernels
from kernels.device import CaptureFailed, Device
from kernels.image import PixelFormat
from loadtest.gpu_check import __main__ as command_line
from loadtest.gpu_check import (
    bandwidth,
    engines,
    flow,
    kernel_tests,
    latency,
    rows,
    sanitizer,
    sections,
    small_flow,
    small_launches,
    small_variants,
    streams,
)
from loadtest.gpu_check.bench import Bench, HostClock, disc
from loadtest.gpu_check.case import Case
from loadtest.gpu_check.cases import CASES, SIZES
from loadtest.gpu_check.rows import Row, Verdict
from loadtest.gpu_check.sections import SECTIONS, Section
from models.device_model import DeviceModel
from models.stream_state import StreamState
from tests.fakes.emulated_device import EmulatedDevice
from tests.fakes.emulated_engine import EmulatedRegistry
from tests.fakes.tiny_onnx import write_tiny_model

needs_gcc = pytest.mark.skipif(
    shutil.which("g++") is None, reason="kernels run on the CPU through g++, which is not installed"
)
SMALL = (130, 67)
FRAME = (64, 48)


@pytest.fixture
def device() -> Device:
    return EmulatedDevice()


@pytest.fixture(scope="module", params=[True, False], ids=["in order", "late"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> DeviceModel:
    folder = tmp_path_factory.mktemp("models")
    write_tiny_model(folder, "tiny", max_batch=4)
    model = EmulatedRegistry((folder,), late=request.param).load("tiny")
    model.warm()
    return model


def failed(found: list[Row]) -> list[str]:
    return [f"{row.name}: {row.note}" for row in found if row.verdict is Verdict.FAILED]


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


@needs_gcc
def test_the_flow_passes_on_the_emulated_device(model: DeviceModel):
    found = list(flow.check(model, size=FRAME, frames=8))
    assert failed(found) == []
    names = [row.name for row in found]
    assert "graph replay = plain, batch 3" in names
    assert "copies of a frame, NV12" in names
    assert found[-1].figure == "100%"  # all runs were replays


@needs_gcc
def test_an_engine_that_answers_otherwise_in_a_graph_is_found(model: DeviceModel):
    class WrongReplays(flow.Flow):
        def together(self, sources):
            return [bytes([alpha[0] ^ 1]) + alpha[1:] for alpha in super().together(sources)]

    plain = flow.Flow(engines.uncaptured(model))
    found = list(flow.check_graphs(WrongReplays(model), plain, FRAME))
    assert len(failed(found)) == 2  # batches of 1 and 3; replays are still alike
    assert "bytes are different" in found[0].note


@needs_gcc
def test_a_replay_that_differs_from_the_one_before_is_found(model: DeviceModel):
    class Drifting(flow.Flow):
        def together(self, sources):
            return [bytes([len(self.graphs) % 256]) + alpha for alpha in super().together(sources)]

    found = list(flow.check_graphs(Drifting(model), flow.Flow(engines.uncaptured(model)), FRAME))
    assert "20 of them gave other bytes" in found[-1].note


@needs_gcc
def test_a_graph_that_was_not_replayed_is_found(model: DeviceModel):
    plain = flow.Flow(engines.uncaptured(model))
    found = list(flow.check_graphs(plain, plain, FRAME))
    assert found[0].verdict is Verdict.SKIPPED
    assert "cannot be recorded" in found[0].note


@needs_gcc
def test_a_block_taken_in_the_steady_state_is_found(model: DeviceModel):
    class TakesABlock(flow.Flow):
        def one(self, source):
            self.model.device.allocate(16)
            return super().one(source)

    (found, _) = flow.check_memory(TakesABlock(model), FRAME, 5, lambda: 0)
    assert (found.verdict, found.figure) == (Verdict.FAILED, "5 blocks, 0 bytes")


@needs_gcc
def test_memory_that_the_driver_misses_is_found(model: DeviceModel):
    free = iter((100 << 20, 50 << 20))
    (found, _) = flow.check_memory(flow.Flow(model), FRAME, 2, lambda: next(free))
    assert found.verdict is Verdict.FAILED


@needs_gcc
def test_a_second_copy_is_found(model: DeviceModel):
    class CopiesAgain(flow.Flow):
        def one(self, source):
            alpha, copies = super().one(source)
            copies.host_to_device += 1
            return alpha, copies

    found = list(flow.check_copies(CopiesAgain(model), FRAME))
    assert len(failed(found)) == len(found) == 2


@needs_gcc
@pytest.mark.parametrize("late", [False, True])
def test_streams_that_remember_pass_on_the_emulated_device(late: bool):
    found = list(streams.check(EmulatedDevice(late=late)))
    assert failed(found) == []
    assert [row.name for row in found] == [
        "a steady stream = the CPU's",
        "a recurrent stream's states",
    ]


@needs_gcc
@pytest.mark.parametrize("mistake", ["forgets", "mixes"])
def test_a_stream_that_forgets_or_mixes_what_it_remembers_is_found(
    device: Device, monkeypatch: pytest.MonkeyPatch, mistake: str
):
    if mistake == "forgets":
        monkeypatch.setattr(StreamState, "before", lambda self, size: None)
    else:
        kept = []

        def one_for_all(self, smooth):
            kept.append(kept[0] if kept else StreamState(self.device, self.planes, smooth))
            return kept[0]

        monkeypatch.setattr(DeviceModel, "new_state", one_for_all)
    assert streams.check_steady(device, 6).verdict is Verdict.FAILED
    if mistake == "mixes":
        kept.clear()
    assert streams.check_recurrent(device, 6).verdict is Verdict.FAILED


@needs_gcc
def test_latency_is_measured_for_each_size_and_layout(model: DeviceModel):
    clock = HostClock(model.device)
    found = list(latency.measure(model, clock, sizes={"tiny": FRAME}, frames=3))
    assert [row.name.partition(", ")[2] for row in found] == [
        "engine alone",
        "tiny RGB8",
        "tiny NV12",
        "tiny NV12, batch 1",
    ]
    assert all(row.figure for row in found)


@pytest.mark.parametrize(("p50", "verdict"), [(2.9, Verdict.PASSED), (3.0, Verdict.BELOW)])
def test_1080p_nv12_has_an_aim(p50, verdict):
    row = latency.judge("e", "1080p", latency.PixelFormat.NV12, [p50] * 10)
    assert row.verdict is verdict
    other = latency.judge("e", "4K", latency.PixelFormat.NV12, [p50] * 10)
    assert other.verdict is Verdict.MEASURED


def test_what_cannot_run_here_says_what_it_needs(tmp_path: Path):
    reasons = {each.name: each.missing for each in engines.candidates(tmp_path)}
    assert list(reasons) == ["torch", "onnxruntime", "tensorrt"]
    pytest.importorskip("onnxruntime")
    if "built without CUDA" in reasons["onnxruntime"]:
        assert "needs onnxruntime-gpu" in reasons["onnxruntime"]


def test_the_built_in_manifest_is_one_that_the_torch_engine_can_stand_in_for():
    manifest = engines.builtin_manifest()
    assert (manifest.input.layout, manifest.output.layout) == ("NCHW", "NCHW")
    assert (manifest.output.channel, manifest.output.activation) == (0, "none")


JUNIT = """<testsuites><testsuite>
<testcase classname="tests.kernels.cuda.test_blur" name="test_one"/>
<testcase classname="tests.kernels.cuda.test_blur" name="test_two">
  <failure message="off by one">long</failure></testcase>
<testcase classname="tests.kernels.cuda.test_levels" name="test_three"/>
<testcase classname="tests.kernels.cuda.test_late"><skipped message="needs g++"/></testcase>
</testsuite></testsuites>"""


def test_a_report_of_tests_becomes_a_row_per_file():
    found = {row.name: row for row in kernel_tests.read_report(JUNIT)}
    assert found["test_blur"].verdict is Verdict.FAILED
    assert found["test_blur"].figure == "1 of 2"
    assert "test_two: off by one" in found["test_blur"].note
    assert found["test_levels"].verdict is Verdict.PASSED
    assert (found["test_late"].verdict, found["test_late"].note) == (Verdict.SKIPPED, "needs g++")


def test_no_tests_at_all_is_a_failure():
    (row,) = kernel_tests.read_report("<testsuites><testsuite/></testsuites>")
    assert row.verdict is Verdict.FAILED


@needs_gcc
def test_the_kernels_tests_run_without_the_projects_plugins(tmp_path: Path):
    file = kernel_tests.FOLDER / "test_levels.py"
    command = kernel_tests.command(tmp_path, tmp_path / "junit.xml", file)
    plain = ["-p", "no:asyncio", "-p", "no:timeout", "-k", "refuse"]
    done = subprocess.run(
        [*command, *plain], cwd=sections.ROOT, capture_output=True, text=True, check=False
    )
    (row,) = kernel_tests.read_report((tmp_path / "junit.xml").read_text(encoding="utf-8"))
    assert (row.name, row.verdict) == ("test_levels", Verdict.PASSED), done.stdout


@pytest.mark.parametrize("name", kernel_tests.NOT_OF_THE_DEVICE)
def test_what_is_left_out_of_the_kernels_tests_exists(name: str):
    assert (kernel_tests.FOLDER / name).exists()


@needs_gcc
def test_a_test_file_that_hangs_costs_its_own_row(tmp_path: Path):
    file = tmp_path / "test_hangs.py"
    file.write_text("import time\n\ndef test_it():\n    time.sleep(600)\n", encoding="utf-8")
    (row,) = kernel_tests.run_file(file, tmp_path, 1)
    assert (row.name, row.verdict) == ("test_hangs", Verdict.FAILED)
    assert row.note == "not finished within 1 s"


def test_every_test_file_of_the_device_is_run():
    names = {file.name for file in kernel_tests.files()}
    assert "test_feather.py" in names
    assert names.isdisjoint(kernel_tests.NOT_OF_THE_DEVICE)


CLEAN = "102 launches done\n========= ERROR SUMMARY: 0 errors\n"
FOUND = (
    "========= Invalid __global__ write of size 4 bytes\n102 launches done\n"
    "========= ERROR SUMMARY: 2 errors\n"
)
RACE = "102 launches done\n========= RACECHECK SUMMARY: 1 hazard displayed (1 error, 0 warnings)\n"


@pytest.mark.parametrize(
    ("tool", "code", "output", "verdict", "figure"),
    [
        ("memcheck", 0, CLEAN, Verdict.PASSED, "0 errors in 102 launches"),
        ("memcheck", 86, FOUND, Verdict.FAILED, "2 errors in 102 launches"),
        ("racecheck", 86, RACE, Verdict.FAILED, "1 errors in 102 launches"),
        ("memcheck", 1, "========= Error: Device not supported", Verdict.SKIPPED, ""),
        ("memcheck", 1, "Traceback ... ImportError", Verdict.FAILED, ""),
        ("memcheck", 0, "========= ERROR SUMMARY: 0 errors\n", Verdict.FAILED, ""),
    ],
    ids=["clean", "invalid write", "race", "refused", "crashed", "nothing launched"],
)
def test_what_the_sanitizer_says_becomes_a_row(tool, code, output, verdict, figure):
    row = sanitizer.read_output(tool, code, output)
    assert (row.verdict, row.figure) == (verdict, figure)


def test_without_the_sanitizer_the_rows_say_what_is_needed(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sanitizer, "PLACES", ())
    found = list(sanitizer.rows(lambda name: None))
    assert [row.verdict for row in found] == [Verdict.SKIPPED] * len(sanitizer.RUNS)
    assert "CUDA toolkit" in found[0].note


def test_a_sanitizer_that_hangs_is_ended_and_the_rest_not_begun(tmp_path: Path, monkeypatch):
    program = tmp_path / "compute-sanitizer"
    program.write_text("#!/bin/sh\nexec sleep 600\n", encoding="utf-8")
    program.chmod(0o755)
    runs = tuple((tool, module, 0.5) for tool, module, _ in sanitizer.RUNS)
    monkeypatch.setattr(sanitizer, "RUNS", runs)
    first, *others = sanitizer.rows(lambda name: str(program))
    assert (first.verdict, first.note) == (Verdict.FAILED, "not finished within 0.5 s")
    assert {row.verdict for row in others} == {Verdict.SKIPPED}
    assert "because memcheck of the kernels did not finish" in others[0].note


def some_rows() -> list[Row]:
    return [
        Row("flow", "copies", Verdict.PASSED, "1 in, 1 out", data={"in": 1}),
        Row("latency", "tensorrt", Verdict.SKIPPED, note="TensorRT is not installed " * 6),
        Row("bandwidth", "blur [4K]", Verdict.BELOW, "61% of a copy"),
    ]


def test_rows_survive_the_way_between_processes():
    assert rows.from_lines(rows.to_lines(some_rows())) == some_rows()


def test_a_line_that_was_cut_off_costs_itself_alone():
    assert rows.from_lines(rows.to_lines(some_rows())[:-30]) == some_rows()[:2]


def test_the_table_has_every_row_and_wraps_notes():
    lines = rows.plain_table(some_rows()).splitlines()
    assert lines[0].split("  ")[0] == "flow"
    assert len(lines) > 3
    assert max(map(len, lines)) < 150
    assert "blur [4K]" in lines[-1]


@pytest.mark.parametrize("has_rich", [True, False])
def test_the_table_is_printed_with_and_without_rich(has_rich, monkeypatch, capsys):
    if not has_rich:
        real = builtins.__import__

        def without(name, *rest, **more):
            if name.startswith("rich"):
                raise ImportError(name)
            return real(name, *rest, **more)

        monkeypatch.setattr(builtins, "__import__", without)
    rows.print_table(some_rows())
    printed = capsys.readouterr().out
    for word in ("copies", "blur [4K]", "61% of a copy", "below aim"):
        assert word in printed


def test_the_file_of_a_day_is_never_written_over(tmp_path: Path):
    paths = [rows.write_json(some_rows(), {"commit": "abc"}, tmp_path, today="2026-01-02")]
    paths.append(rows.write_json([], {}, tmp_path, today="2026-01-02"))
    assert [path.name for path in paths] == ["gpu-2026-01-02.json", "gpu-2026-01-02-2.json"]
    content = json.loads(paths[0].read_text(encoding="utf-8"))
    assert content["facts"] == {"commit": "abc"}
    assert content["summary"] == "1 passed, 1 not run, 1 below aim"
    assert content["rows"][0]["data"] == {"in": 1}


def test_only_failures_fail_the_whole():
    assert not rows.any_failed(some_rows())
    assert rows.any_failed([*some_rows(), Row("a", "b", Verdict.FAILED)])


def kept_rows(section: Section) -> list[Row]:
    kept: list[Row] = []
    sections.run_here(section, kept.append)
    return kept


def test_a_section_without_what_it_needs_is_skipped_with_its_name():
    (row,) = kept_rows(Section("flow", "flow", 1, ("no_such_module",)))
    assert row.verdict is Verdict.SKIPPED
    assert "needs no_such_module" in row.note


def test_an_exception_in_a_section_is_a_row_and_rows_before_it_stay(monkeypatch):
    def breaks():
        yield Row("sanitizer", "first", Verdict.PASSED)
        raise ValueError("half way")

    monkeypatch.setattr(sanitizer, "rows", breaks)
    first, second = kept_rows(Section("sanitizer", "sanitizer", 1, ()))
    assert first.name == "first"
    assert second.verdict is Verdict.FAILED
    assert "ValueError: half way (test_gpu_check.py:" in second.note


def test_a_section_runs_in_a_process_of_its_own(tmp_path: Path):
    found = sections.run_in_child(Section("sharing", "sharing", 60), 60, tmp_path)
    # Without a GPU the device is refused; the refusal is the row, not a crash of this process.
    assert len(found) >= 1
    assert all(row.section == "sharing" for row in found)


def shell(script: str):
    """In the place of `sections.command`: a process that is a script."""
    return lambda section, kept: ["sh", "-c", script.format(kept=kept)]


@pytest.mark.parametrize("ending", ["exec sleep 600", "exit 0"], ids=["hangs", "ends before it"])
def test_what_a_section_started_ends_with_it(ending: str, tmp_path: Path, monkeypatch):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reading = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        # The shell opens the pipe itself, so that it is open before the section ends.
        script = f"exec 3>{pipe}; (echo started >&3; exec sleep 600) & {ending}"
        monkeypatch.setattr(sections, "command", shell(script))
        (row,) = sections.run_in_child(SECTIONS[0], 2, tmp_path)
        assert row.verdict is Verdict.FAILED
        if ending != "exit 0":
            assert "not finished within 2 s" in row.note
        # The last holder of its other end is gone: the pipe ends instead of staying open.
        while True:
            ready, _, _ = select.select([reading], [], [], 20)
            assert ready, "the grandchild still runs"
            if not os.read(reading, 100):
                break
    finally:
        os.close(reading)


def test_a_process_that_dies_leaves_the_rows_it_had(tmp_path: Path, monkeypatch):
    had = tmp_path / "had.jsonl"
    sections.append_to(had)(Row("flow", "graph", Verdict.PASSED))
    script = f"cp {had} {{kept}}; echo CUDA error 700 >&2; kill -SEGV $$"
    monkeypatch.setattr(sections, "command", shell(script))
    first, second = sections.run_in_child(SECTIONS[0], 20, tmp_path)
    assert first.name == "graph"
    assert "ended with -11: CUDA error 700" in second.note


def test_the_sections_fit_the_eight_minutes():
    assert sections.BUDGET_S < 8 * 60
    first = [section.budget_s for section in SECTIONS[:-1]]
    assert sum(first) < sections.BUDGET_S  # so that the last one can begin whatever happens


def test_what_is_left_of_the_time_is_what_a_section_gets(tmp_path: Path):
    now = [0.0]
    given = []

    def run(section: Section, timeout_s: float, folder: Path) -> list[Row]:
        given.append(timeout_s)
        now[0] += timeout_s
        return [Row(section.name, "all", Verdict.PASSED)]

    chosen = [Section(name, "flow", 40) for name in "abc"]
    found = sections.run_all(chosen, tmp_path, budget_s=60, clock=lambda: now[0], run=run)
    assert given == [40, 20]
    assert [row.verdict for row in found] == [Verdict.PASSED, Verdict.PASSED, Verdict.FAILED]
    assert "used up before it" in found[-1].note


def test_without_a_gpu_the_command_says_so_and_writes_nothing(tmp_path: Path, monkeypatch, capsys):
    facts = {"gpus": [], "driver": "no NVIDIA GPU can be used"}
    monkeypatch.setattr(command_line, "machine", lambda: facts)
    assert command_line.main(["--out", str(tmp_path)]) == 2
    assert "nothing was checked" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("verdict", "code"), [(Verdict.PASSED, 0), (Verdict.FAILED, 1)])
def test_the_command_writes_machine_commit_and_command(
    verdict, code, tmp_path: Path, monkeypatch, capsys
):
    facts = {"gpus": ["NVIDIA H200"], "driver": "CUDA 13.0", "commit": "abc"}
    monkeypatch.setattr(command_line, "machine", lambda: dict(facts))
    monkeypatch.setattr(
        command_line, "run_all", lambda chosen, folder: [Row("flow", "copies", verdict)]
    )
    assert command_line.main(["--out", str(tmp_path), "--only", "flow"]) == code
    (path,) = tmp_path.glob("gpu-*.json")
    told = json.loads(path.read_text(encoding="utf-8"))["facts"]
    assert told["commit"] == "abc"
    assert told["command"] == "python -m loadtest.gpu_check --only flow"
    assert "copies" in capsys.readouterr().out


def test_the_commit_can_be_told_where_there_is_no_git(monkeypatch):
    monkeypatch.setenv("MATTESTREAM_COMMIT", "1234abcd")
    assert command_line.commit() == "1234abcd"


def test_nothing_beyond_the_promised_libraries_is_needed_to_begin():
    """Only what the machine has: the rest must not be imported on the way to the first section."""
    code = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"grpc", "google", "simplejpeg", "isal", "structlog", "rich",
                                      "prometheus_client", "psutil", "click", "onnxruntime"}:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Absent())
from loadtest.gpu_check import __main__, bandwidth, flow, kernel_tests, latency, sanitizer, sharing
from loadtest.gpu_check import cases
assert "simplejpeg is not installed" in flow.JPEG_NOTE
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=sections.ROOT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
