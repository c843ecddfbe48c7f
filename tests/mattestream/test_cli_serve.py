"""`mattestream serve` as its users meet it: a process, flags, signals."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from mattestream import Client
from mattestream.cli.root import cli
from mattestream.cli.serve import serve
from mattestream.cli.server_process import ServerFailed, ServerProcess
from server.allocator import GUARD, SETTINGS
from server.config import keys
from tests.fakes.tiny_onnx import write_tiny_model


@pytest.fixture
def flags(tmp_path: Path) -> list[str]:
    write_tiny_model(tmp_path)
    return ["--model", "tiny", "--model-dir", str(tmp_path), "--threads", "2"]


@pytest.fixture
def no_restart(monkeypatch):
    """Inside the tests' own process the allocator must not start it again."""
    monkeypatch.setenv(GUARD, "off")


def test_every_setting_has_its_flag_with_the_tables_words_and_default():
    text = CliRunner().invoke(cli, ["serve", "--help"], terminal_width=10_000).output
    for key in keys():
        assert key.flag in text
        assert " ".join(key.doc.split()) in " ".join(text.split())
    assert len(serve.params) == len(keys()) + 1  # and --config


def test_it_serves_and_stops_cleanly_on_sigterm_with_its_allocator_set(flags):
    with ServerProcess(flags) as server:
        with Client(server.address) as client:
            white = np.full((8, 8, 3), 255, np.uint8)
            assert client.remove(white).array()[0, 0, 3] == 255
        pid = server._process.pid
        environ = dict(
            entry.split("=", 1)
            for entry in Path(f"/proc/{pid}/environ").read_text().split("\0")
            if "=" in entry
        )
    assert server.exit_code == 0
    if not os.environ.get(GUARD):
        assert {name: environ.get(name) for name in SETTINGS} == SETTINGS


def holds_sigterm(pid: int) -> bool:
    status = Path(f"/proc/{pid}/status").read_text()
    blocked = int(status.partition("SigBlk:")[2].split()[0], 16)
    return bool(blocked >> (signal.SIGTERM - 1) & 1)


def test_a_sigterm_while_it_still_loads_is_a_clean_stop_too(flags):
    command = [sys.executable, "-m", "mattestream", "serve", *flags, "--port", "0"]
    with subprocess.Popen(
        [*command, "--metrics-port", "-1", "--http-port", "0"], stdout=subprocess.DEVNULL
    ) as process:
        while not holds_sigterm(process.pid):
            assert process.poll() is None
        process.terminate()
        assert process.wait(30) == 0


def test_ctrl_c_is_a_clean_stop_too(flags):
    with ServerProcess(flags) as server:
        server._process.send_signal(signal.SIGINT)
        assert server._process.wait(30) == 0


def test_a_server_that_cannot_start_is_told_with_its_last_words(flags):
    with (
        pytest.raises(ServerFailed, match=r"(?s)exit code 1.*there is no model 'tinny'"),
        ServerProcess([*flags, "--model", "tinny"]),
    ):
        pass


def test_a_port_that_is_taken_is_one_sentence(flags):
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = str(holder.getsockname()[1])
        with (
            pytest.raises(ServerFailed) as caught,
            ServerProcess([*flags, "--port", port]),
        ):
            pass
    words = str(caught.value)
    assert "exit code 1" in words
    assert f"cannot listen on 127.0.0.1:{port}" in words
    assert "Traceback" not in words


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--port", "70000"], "flag --port is 70000"),
        (["--threads", "many"], "flag --threads is 'many'"),
        (["--config", "gone.toml"], "cannot read the config file gone.toml"),
        (["--log-format", "xml"], "Invalid value for '--log-format'"),
    ],
)
def test_a_wrong_setting_is_exit_code_2_and_names_it(no_restart, arguments, words):
    result = CliRunner().invoke(cli, ["serve", *arguments], catch_exceptions=False)
    assert result.exit_code == 2
    assert words in result.output
