from __future__ import annotations

import os
import subprocess
import sys

import pytest
from click.testing import CliRunner

import mattestream
from mattestream.cli.failures import missing_extra
from mattestream.cli.root import COMMANDS, cli

HEAVY = ("cv2", "grpc", "numpy", "onnxruntime", "PIL", "rich", "server.app", "structlog")


def loaded_by(*arguments: str) -> set[str]:
    """Which of the heavy modules a command line imports, in a process of its own."""
    code = (
        "import sys, mattestream.cli\n"
        f"sys.argv = ['mattestream', *{list(arguments)!r}]\n"
        "try: mattestream.cli.main()\n"
        "except SystemExit: pass\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    return set(eval(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize("flag", ["--help", "--version"])
def test_help_and_version_import_nothing_heavy(flag):
    assert loaded_by(flag) == set()


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_no_command_loads_the_engine(command):
    assert loaded_by(command, "--help") & {"cv2", "onnxruntime", "PIL", "server.app"} == set()


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_of_the_list_exists_and_starts_its_help_with_the_lists_sentence(command):
    result = CliRunner().invoke(cli, [command, "--help"])
    assert result.exit_code == 0
    sentence = COMMANDS[command].help.rstrip(".")
    assert sentence.split(",")[0] in " ".join(result.output.split())


def test_an_unknown_command_is_exit_code_2():
    assert CliRunner().invoke(cli, ["destroy"]).exit_code == 2


def test_a_misspelt_command_is_told_with_the_nearest():
    result = CliRunner().invoke(cli, ["remov", "photo.jpg"])
    assert result.exit_code == 2
    assert "No such command 'remov': did you mean remove?" in result.output


@pytest.mark.parametrize(
    ("typed", "offered"), [("mattestream ", set(COMMANDS)), ("mattestream remove --bo", {"--box"})]
)
def test_the_shell_completes_commands_and_flags(typed, offered):
    words = {"COMP_WORDS": typed, "COMP_CWORD": str(typed.count(" "))}
    done = subprocess.run(
        [sys.executable, "-m", "mattestream"],
        env={**os.environ, **words, "_MATTESTREAM_COMPLETE": "bash_complete"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert {line.removeprefix("plain,") for line in done.stdout.split()} == offered


def test_the_module_is_the_command_too():
    command = [sys.executable, "-m", "mattestream", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == f"mattestream, version {mattestream.__version__}"


def test_the_public_names_are_there_and_no_others():
    assert all(hasattr(mattestream, name) for name in mattestream.__all__)
    assert dir(mattestream) == sorted(mattestream.__all__)
    with pytest.raises(AttributeError, match="no attribute 'remove'"):
        _ = mattestream.remove


@pytest.mark.parametrize("module", ["cv2", "grpc_health.v1", "PIL.Image", "simplejpeg"])
def test_a_missing_library_of_the_extra_is_told_with_the_command_that_adds_it(module):
    sentence = missing_extra(ModuleNotFoundError("no", name=module))
    assert "pip install 'mattestream[server]'" in sentence


def test_another_missing_module_is_a_bug_and_not_the_extras():
    assert missing_extra(ModuleNotFoundError("no", name="server.typo")) == ""


WITHOUT_THE_EXTRA = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"cv2", "PIL", "onnxruntime", "structlog", "grpc_health"}:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Absent())
"""


def run_without_the_extra(code: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", WITHOUT_THE_EXTRA + code]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def test_the_sdk_works_without_the_server_extra():
    done = run_without_the_extra("from mattestream import Client, AsyncClient; Client().close()")
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("arguments", [["remove", "x.jpg", "-o", "out"], ["serve"]])
def test_a_command_that_needs_the_extra_says_how_to_get_it(arguments):
    done = run_without_the_extra(
        f"import mattestream.cli; sys.argv = ['mattestream', *{arguments!r}]\n"
        "mattestream.cli.main()"
    )
    assert done.returncode == 1
    assert "pip install 'mattestream[server]'" in done.stderr
    assert "Traceback" not in done.stderr
