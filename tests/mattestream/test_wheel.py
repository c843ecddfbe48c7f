"""What a user installs: the wheel alone in an empty environment, used in an empty folder."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mattestream import Client

ROOT = Path(__file__).resolve().parents[2]
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

UNREACHABLE = ("Failed to establish a new connection", "Temporary failure in name resolution")


@pytest.fixture(scope="module")
def dist(tmp_path_factory) -> Path:
    """The folder with the sdist, and the wheel made from that sdist."""
    pytest.importorskip("build", reason="needs the dev extra: pip install -e '.[dev]'")
    out = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return out


@pytest.fixture(scope="module")
def wheel(dist: Path) -> Path:
    (wheel,) = dist.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory) -> Path:
    """The folder of the commands of a new environment with the wheel and its [server] extra."""
    return install(wheel, "[server]", tmp_path_factory.mktemp("venv"))


def install(wheel: Path, extras: str, venv: Path) -> Path:
    """The folder of the commands of a new environment with the wheel in it."""
    # Its own pip would take as long to install as all the rest: ours installs into it.
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(venv)], check=True)
    command = [sys.executable, "-m", "pip", "--python", str(venv / "bin" / "python")]
    command += ["install", "--quiet", f"{wheel}{extras}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if any(words in done.stderr for words in UNREACHABLE):
        pytest.skip("pip reaches no package registry from here")
    assert done.returncode == 0, done.stderr
    return venv / "bin"


@pytest.fixture(scope="module")
def client_only(wheel: Path, tmp_path_factory) -> Path:
    """The folder of the commands of a new environment with the wheel and no extra."""
    return install(wheel, "", tmp_path_factory.mktemp("thin"))


@pytest.fixture
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder; nothing of the checkout in the environment."""
    monkeypatch.delenv("PYTHONPATH", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    folder = tmp_path / "empty"
    folder.mkdir()
    return folder


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """A bright disc on a dark ground."""
    y, x = np.mgrid[:96, :96]
    disc = (x - 48) ** 2 + (y - 48) ** 2 < 30**2
    pixels = np.where(disc[:, :, None], [230, 180, 140], [20, 30, 40]).astype(np.uint8)
    path = tmp_path / "photo.jpg"
    Image.fromarray(pixels).save(path, quality=92)
    return path


def run(command: list[object], cwd: Path) -> subprocess.CompletedProcess[str]:
    words = [str(word) for word in command]
    return subprocess.run(words, cwd=cwd, capture_output=True, text=True, check=False, timeout=120)


def assert_cutout(path: Path) -> None:
    with Image.open(path) as cutout:
        assert (cutout.mode, cutout.size) == ("RGBA", (96, 96))


@pytest.fixture
def address(installed: Path, empty: Path) -> Iterator[str]:
    """A server started by the installed command; it has to end with exit code 0."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [installed / "mattestream", "serve", "--port", str(port), "--metrics-port", "-1"]
    command += ["--http-port", "0"]
    with (
        (empty.parent / "server.log").open("wb") as log,
        subprocess.Popen(command, cwd=empty, stdout=log, stderr=log) as process,
    ):
        try:
            with Client(f"127.0.0.1:{port}") as client:
                client.wait_ready(60)
            yield f"127.0.0.1:{port}"
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) == 0, (empty.parent / "server.log").read_text()


def test_the_wheel_puts_one_name_into_site_packages(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    top = {name.split("/")[0] for name in names}
    assert {name for name in top if not name.endswith(".dist-info")} == {"mattestream"}


def test_the_wheel_carries_the_application_its_model_and_its_types(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    assert {
        "mattestream/py.typed",
        "mattestream/v1/removal_pb2.pyi",
        "mattestream/_app/server/app.py",
        "mattestream/_app/kernels/cpu/__init__.py",
        "mattestream/_app/kernels/cuda/finish.cu",
        "mattestream/_app/kernels/cuda/prelude.cuh",
        "mattestream/_app/models/builtin/matte-s.toml",
        "mattestream/_app/models/builtin/matte-s.onnx",
        "mattestream/_app/models/builtin/matte-m.onnx",
    } <= names
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert not any("training" in name or "tests" in name for name in names)


def test_the_sdist_holds_what_the_tests_and_the_stubs_need(dist):
    (sdist,) = dist.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {
        "pyproject.toml",
        "LICENSE",
        "README.md",
        "protos/mattestream/v1/removal.proto",
    } <= names


def test_installed_it_removes_a_background_in_an_empty_folder(installed, empty, photo):
    done = run([installed / "mattestream", "remove", photo, "-o", "out.png"], empty)
    assert done.returncode == 0, done.stderr
    assert_cutout(empty / "out.png")
    assert [path.name for path in empty.iterdir()] == ["out.png"]


def test_installed_it_serves_and_removes_over_the_wire(installed, empty, photo, address):
    command = [installed / "mattestream", "remove", photo, "-o", "out.png", "--address", address]
    done = run(command, empty)
    assert done.returncode == 0, done.stderr
    assert_cutout(empty / "out.png")


def test_a_client_without_the_servers_libraries_removes_over_the_wire(
    client_only, empty, photo, address
):
    command = [client_only / "mattestream", "remove", photo, "-o", "out.png", "--address", address]
    done = run(command, empty)
    assert done.returncode == 0, done.stderr
    assert_cutout(empty / "out.png")


@pytest.mark.parametrize("command", ["remove", "serve", "keys", "models", "segment"])
def test_without_the_servers_libraries_a_command_says_how_to_get_them(
    command, client_only, empty, photo
):
    arguments = {
        "remove": [photo, "-o", "out.png"],
        "models": ["list"],
        "segment": [photo, "-o", "x"],
    }
    done = run([client_only / "mattestream", command, *arguments.get(command, [])], empty)
    assert done.returncode == 1
    assert "pip install 'mattestream[server]'" in done.stderr
    assert "Traceback" not in done.stderr


def test_installed_the_doctor_finds_all_well(installed, empty):
    done = run([installed / "mattestream", "doctor"], empty)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "matte-s" in done.stdout


def test_a_folder_called_server_where_the_user_stands_does_no_harm(installed, empty, photo):
    (empty / "server").mkdir()
    (empty / "server" / "__init__.py").write_text("raise SystemExit('the wrong server')")
    # -m puts the working folder first on the path.
    command = [installed / "python", "-m", "mattestream", "remove", photo, "-o", "out.png"]
    done = run(command, empty)
    assert done.returncode == 0, done.stderr


def test_no_general_name_can_be_imported_beside_it(installed, empty):
    assert list(empty.iterdir()) == []
    code = (
        "import importlib.util as u, mattestream.client\n"
        "print([n for n in ('server', 'models', 'kernels') if u.find_spec(n)])"
    )
    assert run([installed / "python", "-c", code], empty).stdout.strip() == "[]"
