from __future__ import annotations

import tomllib

import pytest

from mattestream.app_path import PACKAGE, activate, application_folder


def make_server(folder):
    (folder / "server").mkdir(parents=True)
    (folder / "server" / "config.py").touch()


def test_in_a_wheel_the_application_is_inside_the_package(tmp_path):
    package = tmp_path / "site-packages" / "mattestream"
    make_server(package / "_app")
    make_server(tmp_path / "site-packages")  # somebody else's package of that name
    assert application_folder(package) == package / "_app"


def test_in_a_checkout_it_is_beside_the_package(tmp_path):
    (tmp_path / "mattestream").mkdir()
    make_server(tmp_path)
    assert application_folder(tmp_path / "mattestream") == tmp_path


def test_a_broken_installation_is_told_with_the_cure(tmp_path):
    with pytest.raises(FileNotFoundError, match="reinstall mattestream"):
        application_folder(tmp_path / "mattestream")


def test_it_goes_first_and_only_once():
    path = ["", "/elsewhere", str(PACKAGE.parent)]
    activate(path)
    activate(path)
    assert path == [str(PACKAGE.parent), "", "/elsewhere"]


def test_every_module_of_the_sdk_is_kept_from_importing_the_application():
    settings = tomllib.loads((PACKAGE.parent / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = settings["tool"]["importlinter"]["contracts"]
    (kept,) = (c for c in contracts if c["name"] == "the SDK imports nothing of the application")
    modules = {f"mattestream.{path.stem}" for path in PACKAGE.glob("*.py")}
    outside = {f"mattestream.{name}" for name in ("__init__", "__main__", "app_path")}
    assert set(kept["source_modules"]) == modules - outside
