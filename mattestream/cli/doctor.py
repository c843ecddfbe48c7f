"""`mattestream doctor`: what this machine can run, what it will run, and what adds the rest.

Nothing is guessed: a model that "will run" has just been loaded and run once.
"""

from __future__ import annotations

import os
import platform
import time
from typing import TYPE_CHECKING

import click

import mattestream
from mattestream.cli.failures import FAILED, as_sentences, missing_extra
from mattestream.cli.gpus import Found, find_gpus
from mattestream.cli.libraries import (
    EXTRA,
    GPU_LIBRARIES,
    SERVER_LIBRARIES,
    TENSORRT,
    Library,
    installed,
)
from server import allocator
from server.config import Config
from server.config_sources import load_config
from server.machine import usable_cores

if TYPE_CHECKING:
    from models.registry import Registry
    from models.target import Target


@click.command()
@click.option("--device", metavar="auto|cpu|cuda|cuda:N|cuda:all", help="As `serve` would be told.")
@click.option("--engine", metavar="auto|tensorrt|onnx", help="As `serve` would be told.")
@click.option("--model", metavar="NAME", help="Check this model instead of the default one.")
def doctor(device: str | None, engine: str | None, model: str | None) -> None:
    """Say what this machine can run, what it will run, and the one command that adds the rest.

    On a GPU, models are loaded on it: the first time TensorRT builds plans, which takes minutes and
    is not needed again.

    Exit code: 0 when `serve` and `remove` would work with the settings in force, else 1.
    """
    with as_sentences():
        flags = {"device": device, "engine": engine, "model": model}
        config = load_config(None, os.environ, flags)
    found = find_gpus()
    _print_machine(found)
    _heading("libraries")
    missing = [library for library in SERVER_LIBRARIES if not _print_library(library)]
    if found.gpus:
        missing += [library for library in GPU_LIBRARIES if not _print_library(library)]
    else:
        _line("for a GPU", "not looked for: there is none")
    problems = _print_models(config)
    _heading("to do")
    for line in _advice(found, missing, problems):
        click.echo(f"  {line}")
    if problems or any(library in SERVER_LIBRARIES for library in missing if library.required):
        raise click.exceptions.Exit(FAILED)


def _print_machine(found: Found) -> None:
    _heading("machine")
    _line("mattestream", f"{mattestream.__version__}, Python {platform.python_version()}")
    _line("system", f"{platform.system()} {platform.machine()}, {usable_cores()} usable cores")
    for index, gpu in enumerate(found.gpus):
        memory = f"{gpu.memory_mib / 1024:.0f} GiB"
        _line(f"cuda:{index}", f"{gpu.name}, {memory}, compute capability {gpu.capability}")
    _line("CUDA driver", f"up to CUDA {found.driver}" if found.driver else found.problem)
    _line("allocator", _allocator())


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
    version = installed(library)
    if version:
        state = f"{version:<12} {library.gives}"
    elif library.without:
        state = f"missing: without it {library.without}"
    else:
        state = f"missing: {library.gives}"
    _line(library.distribution, state)
    return bool(version)


def _print_models(config: Config) -> list[str]:
    """Lists the models that are ready and runs those that `serve` would load; returns why some of
    these cannot run.
    """
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
    wanted = tuple(dict.fromkeys((config.model, *config.load)))
    others = 0
    for name in registry.names():
        reason = registry.availability(name)
        if reason and name not in wanted:
            others += 1
            continue
        state = "not ready, see `mattestream models show`" if reason else "ready"
        _line(name, f"{state:<42} {registry.manifest(name).license}")
    if others:
        _line("", f"{others} more can be fetched, see `mattestream models list`")
    for sentence in registry.problems():
        _line("problem", sentence)
    _heading("will run")
    return _try_all(config, registry, wanted)


def _try_all(config: Config, registry: Registry, wanted: tuple[str, ...]) -> list[str]:
    """Why some of the models cannot run, in sentences."""
    from models.errors import DeviceNotAvailable
    from server.catalogue import targets

    try:
        places = targets(config)
    except DeviceNotAvailable as error:
        _line("nothing", str(error))
        return [str(error)]
    problems = []
    for name in wanted:
        for target in places:
            try:
                _line(name, _tried(registry, name, target, config))
            except Exception as error:  # whatever it is, the user has to see it here
                _line(name, f"cannot run on {target.device}: {error}")
                problems.append(str(error))
    return problems


def _tried(registry: Registry, name: str, target: Target, config: Config) -> str:
    """What ran the model, and how long one image took; the model is loaded and run for it."""
    model = registry.load(
        name,
        target,
        threads=config.worker_threads,
        max_batch=config.max_batch,
        on_progress=_print_progress,
    )
    try:
        model.warm()
        started = time.perf_counter()
        model.warm()
        elapsed_ms = (time.perf_counter() - started) * 1e3
        engine = model.engine
        took = f"{model.max_concurrent_runs} at a time, {elapsed_ms:.0f} ms an image"
        if target.index is not None:  # warming a GPU runs every batch size, and records graphs
            took = f"up to {model.max_batch} images a run"
        return f"{engine.name} on {engine.device}, {engine.precision}, {took}"
    finally:
        model.close()


def _print_progress(what: str, share: float) -> None:
    """Where TensorRT is with its plan, on a line of its own that the next one replaces."""
    click.echo(f"\r  {what:<60} {share:4.0%}", nl=share >= 1, err=True)


def _advice(found: Found, missing: list[Library], problems: list[str]) -> list[str]:
    """The commands that add what is not there, or the sentence that nothing is missing."""
    advice = list(found.too_old)
    server = [library for library in missing if library.command == EXTRA]
    needed = any(library.required for library in server)
    if server:
        names = ", ".join(library.distribution for library in server)
        advice.append(f"{EXTRA}   # {names}: {'needed' if needed else 'faster with it'}")
    absent = {library.distribution for library in missing}
    for library in missing:
        if library in server or _is_spare(library, absent):
            continue
        kind = "needed for the GPU" if library.required else "optional"
        advice.append(f"{library.command}   # {library.distribution}: {kind}, {library.gives}")
    if not needed:  # else the libraries come first, and the rest may follow from them
        advice += problems
    return advice or ["nothing: `mattestream serve` and `mattestream remove` will work"]


def _is_spare(library: Library, absent: set[str]) -> bool:
    """True for an engine that another one, present or advised, makes needless."""
    if library.distribution == "tensorrt-cu13":
        return not absent >= TENSORRT
    return library.distribution in {"tensorrt_rtx", "onnxruntime-gpu"}
