"""Clients of remove.bg that others wrote, with nothing changed but the address.

Two from PyPI come with the `dev` extra, two from npm are fetched once for this module. Where npm or
its registry is absent those skip, and their requests in `test_recorded_clients` stand in for them.
"""

from __future__ import annotations

import asyncio
import base64
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from PIL import Image

from tests.gateway.serving import KEY, LOOPBACK, Gateway, Open, keys_file
from tests.gateway.test_fetch import ok, web
from tests.server.fakes import picture

HERE = Path(__file__).parent
NODE = HERE / "node"
IN_CI = os.environ.get("CI") == "true"


@pytest.fixture
async def it(open_gateway: Open, tmp_path: Path) -> AsyncIterator[Gateway]:
    settings = {"api_keys_file": keys_file(tmp_path), "allow_url_fetch": True}
    async with open_gateway(port=True, reachable=LOOPBACK, **settings) as running:
        yield running


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.jpg"
    path.write_bytes(picture(960, 640))
    return path


async def run(*command: str | Path, folder: Path, **env: str) -> tuple[int, str]:
    """Exit code and output of a client's process."""
    done = await asyncio.to_thread(
        subprocess.run,
        [str(word) for word in command],
        cwd=folder,
        env={**os.environ, "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1", **env},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def needs(module: str) -> None:
    if importlib.util.find_spec(module) is None:
        message = f"{module} is not installed: it comes with the dev extra"
        pytest.fail(message) if IN_CI else pytest.skip(message)


def size_of(path: Path) -> tuple[int, int]:
    with Image.open(path) as image:
        return image.size


# -- PyPI: removebg, a library ---------------------------------------------------------------------


async def removebg(it: Gateway, folder: Path, *arguments: str | Path) -> tuple[int, str]:
    needs("removebg")
    script = HERE / "foreign_python.py"
    return await run(
        sys.executable, script, "removebg.removebg", it.base, *arguments, folder=folder
    )


async def test_removebg_from_pypi_sends_a_file(it: Gateway, photo: Path, tmp_path: Path) -> None:
    code, said = await removebg(it, tmp_path, "file", KEY, photo)
    assert code == 0, said
    width, height = size_of(tmp_path / "photo.jpg_no_bg.png")
    assert 240_000 < width * height <= 250_000  # its size is "regular"


async def test_removebg_from_pypi_sends_base64_and_a_colour(it: Gateway, tmp_path: Path) -> None:
    text = tmp_path / "photo.b64"
    text.write_text(base64.b64encode(picture(960, 640)).decode())
    code, said = await removebg(it, tmp_path, "base64", KEY, text, "size=hd", "bg_color=00ff00")
    assert code == 0, said
    with Image.open(tmp_path / "no-bg.png") as image:  # a JPEG by now: the background is opaque
        assert image.size == (960, 640)
        assert image.convert("RGB").getpixel((10, 300))[1] > 240  # type: ignore[index]


async def test_removebg_from_pypi_names_a_url(it: Gateway, tmp_path: Path) -> None:
    async with web(lambda _: ok(picture())) as (url, _):
        code, said = await removebg(it, tmp_path, "url", KEY, f"{url}/a.jpg", "new_file_name=x.png")
    assert code == 0, said
    assert size_of(tmp_path / "x.png") == (96, 64)


async def test_removebg_from_pypi_hears_of_a_wrong_key(
    it: Gateway, photo: Path, tmp_path: Path
) -> None:
    code, said = await removebg(it, tmp_path, "file", "wrong", photo)
    assert code != 0
    assert "403" in said


# -- PyPI: removebg-cli, a program -----------------------------------------------------------------


async def removebg_cli(
    it: Gateway, folder: Path, *arguments: str | Path, key: str = KEY
) -> tuple[int, str]:
    needs("removebg_cli")
    script = HERE / "foreign_python.py"
    command = (sys.executable, script, "removebg_cli", it.base, *arguments)
    return await run(*command, folder=folder, REMOVE_BG_API_KEY=key)


async def test_removebg_cli_from_pypi_makes_files(it: Gateway, photo: Path, tmp_path: Path) -> None:
    for flags, name, size in (
        ((), "photo-nobg.png", (960, 640)),
        (("-o", "white.png", "-b", "white"), "white.png", (960, 640)),
        (("-o", "small.webp", "-f", "webp", "-s", "preview"), "small.webp", (612, 408)),
    ):
        code, said = await removebg_cli(it, tmp_path, photo, *flags)
        assert code == 0, said
        assert size_of(tmp_path / name) == size


async def test_removebg_cli_from_pypi_shows_the_account(it: Gateway, tmp_path: Path) -> None:
    code, said = await removebg_cli(it, tmp_path, "--account")
    assert code == 0, said
    assert "1000000" in said
    code, _ = await removebg_cli(it, tmp_path, "--account", key="wrong")
    assert code == 1


async def test_removebg_cli_from_pypi_shows_our_errors(it: Gateway, tmp_path: Path) -> None:
    text = tmp_path / "text.jpg"
    text.write_text("no picture at all")
    code, said = await removebg_cli(it, tmp_path, text)
    assert code == 1
    assert "the data is text" in said


# -- npm: remove.bg and removebg-wrapper -----------------------------------------------------------


@pytest.fixture(scope="module")
def modules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the clients of packages.txt installed."""
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        pytest.skip("node and npm are not here: install them to run npm's clients of remove.bg")
    folder = tmp_path_factory.mktemp("node")
    packages = (NODE / "packages.txt").read_text().split()
    quiet = ("--no-package-lock", "--no-audit", "--no-fund", "--no-update-notifier")
    try:
        done = subprocess.run(
            [npm, "install", *quiet, "--prefix", folder, *packages],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=110,
            check=False,
        )
    except subprocess.TimeoutExpired as late:
        pytest.skip(f"npm's registry does not answer: no {' '.join(packages)} in {late.timeout} s")
    if done.returncode != 0:
        pytest.skip(f"npm cannot install {' '.join(packages)}: {done.stderr[-300:]}")
    return folder / "node_modules"


async def node(
    it: Gateway, modules: Path, script: str, *arguments: str | Path, folder: Path, key: str = KEY
) -> tuple[int, str]:
    return await run(
        "node",
        "--no-deprecation",
        "--require",
        NODE / "redirect.js",
        NODE / script,
        *arguments,
        folder=folder,
        NODE_PATH=str(modules),
        BASE_ADDRESS=it.base,
        API_KEY=key,
    )


@pytest.mark.parametrize("kind", ["file", "base64"])
async def test_remove_bg_from_npm_gets_its_fields(
    it: Gateway, modules: Path, photo: Path, tmp_path: Path, kind: str
) -> None:
    out = tmp_path / "out.png"
    more = json.dumps({"size": "auto", "type": "person"})
    code, said = await node(it, modules, "remove_bg.js", kind, photo, out, more, folder=tmp_path)
    assert code == 0, said
    answer = json.loads(said)
    assert (answer["resultWidth"], answer["resultHeight"]) == ("960", "640")
    assert answer["detectedType"] == "person"
    assert answer["creditsCharged"] == "0"
    assert size_of(out) == (960, 640)


async def test_remove_bg_from_npm_names_a_url(it: Gateway, modules: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.png"
    async with web(lambda _: ok(picture())) as (url, _):
        code, said = await node(
            it, modules, "remove_bg.js", "url", f"{url}/a.jpg", out, folder=tmp_path
        )
    assert code == 0, said
    assert size_of(out) == (96, 64)


async def test_remove_bg_from_npm_hears_of_errors(
    it: Gateway, modules: Path, photo: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out.png"
    code, said = await node(
        it, modules, "remove_bg.js", "file", photo, out, '{"size": "huge"}', folder=tmp_path
    )
    assert code == 1
    assert json.loads(said)["errors"][0]["code"] == "invalid_size"
    code, said = await node(
        it, modules, "remove_bg.js", "file", photo, out, folder=tmp_path, key="wrong"
    )
    assert json.loads(said)["errors"][0]["code"] == "auth_failed"


async def test_removebg_wrapper_from_npm_writes_its_file(
    it: Gateway, modules: Path, photo: Path, tmp_path: Path
) -> None:
    code, said = await node(it, modules, "wrapper.js", photo, folder=tmp_path)
    assert code == 0, said
    assert size_of(tmp_path / "output.png") == (960, 640)
