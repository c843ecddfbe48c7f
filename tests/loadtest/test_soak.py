"""The soak: its page from made-up findings, and a short run against the real server."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from loadtest import soak
from loadtest.soak_findings import Findings, Sample, growth_sentence, page
from mattestream.errors import BadImage, DeadlineExceeded, ServerError
from tests.fakes.tiny_onnx import write_tiny_model


def findings(*rss_mb: float, every: int = 500) -> Findings:
    found = Findings(done=every * (len(rss_mb) - 1), seconds=10.0, exit_code=0)
    found.samples = [Sample(i * every, mb, i * 1.0) for i, mb in enumerate(rss_mb)]
    found.statuses.update(["OK"] * found.done)
    found.latencies_ms = [10.0, 20.0]
    return found


def test_growth_is_counted_after_the_first_thousand_requests() -> None:
    # 100 MB in the first thousand, then 1 MB per 500.
    found = findings(200, 280, 300, 301, 302, 303)
    assert found.growth_mb_per_1000 == pytest.approx(2.0)
    assert "+2.00 MB per 1,000 requests, standard error 0.00" in growth_sentence(found)


def test_a_short_run_says_that_it_cannot_tell() -> None:
    assert "Too short" in growth_sentence(findings(200, 210))


def test_a_checkpoint_takes_the_first_sample_at_or_after_it() -> None:
    found = findings(200, 280, 300)
    assert found.at(501) == Sample(1000, 300, 2.0)
    assert found.at(2_500) is None


def test_the_page_names_memory_at_the_checkpoints_that_were_reached() -> None:
    text = page(findings(200, 280, 300, 301, 302, 303), {"cpu": "a CPU"})
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines()]
    assert ["1,000", "300", "280", "300", "2"] in rows
    assert ["2,500", "303", "300", "303", "5"] in rows
    assert "5,000" not in text
    assert "every request ended as expected" in text


def test_the_page_tells_what_ended_otherwise() -> None:
    found = findings(200, 200)
    found.surprised, found.surprises = 2, ["noise: OK, INVALID_ARGUMENT expected"]
    assert "**2 ended otherwise**, such as: noise: OK" in page(found, {})


def test_the_figures_hold_no_single_latencies() -> None:
    figures = json.loads(json.dumps(findings(200, 210, 220).figures()))
    assert figures["latency_ms"]["p50"] == 15
    assert figures["statuses"] == {"OK": 1000}


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (BadImage("x"), "INVALID_ARGUMENT"),
        (DeadlineExceeded("x"), "DEADLINE_EXCEEDED"),
        (ServerError("x"), "ServerError"),
    ],
)
def test_an_error_counts_under_its_status(error: Exception, status: str) -> None:
    assert soak.status_of(error) == status


@pytest.mark.slow
def test_a_short_soak_of_the_real_server_ends_as_expected(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_tiny_model(tmp_path, "tiny")
    arguments = ["--requests", "40", "--sample-every", "10", "--callers", "2", "--minutes", "1"]
    arguments += ["--model", "tiny", "--model-dir", str(tmp_path), "--out", str(tmp_path / "out")]
    code = soak.main(arguments)
    said = capsys.readouterr().out
    assert code == 0, said
    (written,) = (tmp_path / "out").glob("*-soak.json")
    figures = json.loads(written.read_text())
    assert figures["requests"] >= 40
    assert figures["exit_code"] == 0
    assert all(sample["rss_mb"] > 20 for sample in figures["samples"])
