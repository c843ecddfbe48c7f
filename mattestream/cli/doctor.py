"""`mattestream doctor`: what this machine can run, what it will run, and what adds the rest.

Nothing is guessed: a model that "will run" has just been loaded and run once.
"""

from __future__ import annotations

import importlib.util
import os
import platform
import time
from importlib import metadata
from typing import TYPE_CHECKING

import click

import mattestream
from mattestream.cli.failures import FAILED, as_sentences, missing_extra
from mattestream.cli.gpus import Found, find_gpus
from mattestream.cli.libraries import GPU_LIBRARIES, SERVER_LIBRARIES, Library
from server import allocator
from server.config import Config
from server.config_sources import load_config
from server.machine import usable_cores

if TYPE_CHECKING:
    from models.registry import Registry


@click.command()
@click.option(
    "--device",
    type=click.Choice(["auto", "cpu", "cuda"]),
    default="auto",
    show_default=True,
    help="Check that this device can be used; a missing one is an error.",
)
@click.option("--model", metavar="NAME", help="Check this model instead of the default one.")
def doctor(device: str, model: str | None) -> None:
    """Say what this machine can run, what it will run, and the one command that adds the rest.

    Exit code: 0 when `serve` and `remove` would work with the settings in force, else 1.
    """
    with as_sentences():
        config = load_config(None, os.environ, {"device": device, "model": model})
    found = find_gpus()
    _heading("machine")
    _line("mattestream", f"{mattestream.__version__}, Python {platform.python_version()}")
    _line("system", f"{platform.system()} {platform.machine()}, {usable_cores()} usable cores")
    for gpu in found.gpus:
        memory = f"{gpu.memory_mib / 1024:.0f} GiB"
        _line("GPU", f"{gpu.name}, {memory}, compute capability {gpu.capability}")
    _line("CUDA driver", found.driver or found.problem)
    _line("allocator", _allocator())
    _heading("libraries")
    missing = [library for library in SERVER_LIBRARIES if not _print_library(library)]
    for library in GPU_LIBRARIES if found.gpus else ():
        _print_library(library)
    problems = _print_models(config)
    _heading("to do")
    for line in _advice(found, missing, problems):
        click.echo(f"  {line}")
    if problems or any(library.required for library in missing):
        raise click.exceptions.Exit(FAILED)


def _heading(text: str) -> None:
    click.secho(f"\n{text}" if text != "machine" else text, bold=True)


def _line(name: str, value: str) -> None:
    click.echo(f"  {name:<24} {value}")


def _allocator() -> str:
    if os.environ.get(allocator.GUARD) == "tuned":
        return "keeps big blocks, set by mattestream"
    if os.environ.get(allocator.GUARD) == "off":
        return f"untouched, {allocator.GUARD}=off"
    if allocator.wanted(os.environ):
        return "glibc; `mattestream serve` sets it to keep big blocks"
    return "left as it is: another C library or allocator, or settings of your own"


def _print_library(library: Library) -> bool:
    """True when it is there."""
    there = importlib.util.find_spec(library.module) is not None
    state = f"missing: {library.gives}"
    if there:
        try:
            version = metadata.version(library.distribution)
        except metadata.PackageNotFoundError:  # another build of it, under another name
            version = "installed"
        state = f"{version:<12} {library.gives}"
    _line(library.distribution, state)
    return there


def _print_models(config: Config) -> list[str]:
    """Lists the models and runs those that `serve` would load; returns why some cannot run."""
    _heading("models")
    try:
        from server.catalogue import open_registry
    except ModuleNotFoundError as error:
        problem = missing_extra(error)
        if not problem:
            raise
        _line(config.model, problem)
        return [problem]
    registry = open_registry(config)
    for name in registry.names():
        reason = registry.availability(name)
        manifest = registry.manifest(name)
        state = "not ready, see `mattestream models show`" if reason else "ready"
        _line(name, f"{state:<42} {manifest.license}")
    for sentence in registry.problems():
        _line("problem", sentence)
    _heading("will run")
    problems = []
    for name in dict.fromkeys((config.model, *config.load)):
        try:
            _line(name, _tried(registry, name, config))
        except Exception as error:  # whatever it is, the user has to see it here
            _line(name, f"cannot run: {error}")
            problems.append(str(error))
    return problems


def _tried(registry: Registry, name: str, config: Config) -> str:
    """What ran the model, and how long one image took; the model is loaded and run for it."""
    model = registry.load(name, device=config.device, threads=config.worker_threads)
    try:
        model.warm()
        started = time.perf_counter()
        model.warm()
        elapsed_ms = (time.perf_counter() - started) * 1e3
        engine = model.engine
        return (
            f"{engine.name} on {engine.device}, {engine.precision}, "
            f"{engine.max_concurrent_runs} at a time, {elapsed_ms:.0f} ms an image"
        )
    finally:
        model.close()


def _advice(found: Found, missing: list[Library], problems: list[str]) -> list[str]:
    """The commands that add what is not there, or the sentence that nothing is missing."""
    advice = []
    needed = any(library.required for library in missing)
    if missing:
        names = ", ".join(library.distribution for library in missing)
        kind = "needed" if needed else "faster with it"
        advice.append(f"pip install 'mattestream[server]'   # {names}: {kind}")
    if found.gpus:
        advice.append(
            "nothing for the GPU yet: this version runs on the CPU, the TensorRT path comes later"
        )
    if not needed:  # else the libraries come first, and the rest may follow from them
        advice += problems
    return advice or ["nothing: `mattestream serve` and `mattestream remove` will work"]
