"""`mattestream models`: what is there, here or on a server; fetching, building, loading."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from mattestream.channel import DEFAULT_ADDRESS
from mattestream.cli.connect import connection_flags, open_client
from mattestream.cli.failures import as_sentences
from mattestream.cli.model_folders import folder_flags, registry_of
from mattestream.cli.models_build import build
from mattestream.v1 import models_pb2

if TYPE_CHECKING:
    from models.registry import Registry

_STATES = {
    models_pb2.MODEL_STATE_AVAILABLE: "available",
    models_pb2.MODEL_STATE_LOADING: "loading",
    models_pb2.MODEL_STATE_READY: "ready",
    models_pb2.MODEL_STATE_UNLOADING: "unloading",
    models_pb2.MODEL_STATE_UNAVAILABLE: "unavailable",
}


@click.group()
def models() -> None:
    """List, show, pull, build, load and unload models."""


models.add_command(build)


@models.command("list")
@folder_flags
@connection_flags
def list_(address: str | None, **flags: Any) -> None:
    """List the models known here, or to the server at --address."""
    with as_sentences():
        if address is not None:
            with open_client(address, flags) as client:
                _print_models(client.list_models())
            return
        registry, config = registry_of(flags)
        _print_models([_described(registry, name, config.model) for name in registry.names()])
        _print_problems(registry)


@models.command()
@click.argument("name")
@folder_flags
@connection_flags
def show(name: str, address: str | None, **flags: Any) -> None:
    """Show everything that is known of one model."""
    with as_sentences():
        if address is not None:
            with open_client(address, flags) as client:
                _print_model(client.get_model(name))
            return
        registry, config = registry_of(flags)
        manifest = registry.manifest(name)
        _print_model(_described(registry, name, config.model))
        _print_facts(
            {
                "good at": ", ".join(manifest.good_at),
                "manifest": str(manifest.path),
                "weights": str(manifest.weights.url or manifest.weights.file or ""),
                "source": manifest.source or "",
                "homepage": manifest.homepage or "",
            }
        )


@models.command()
@click.argument("name")
@click.option(
    "--from",
    "source",
    metavar="URL|FILE|DIR",
    help="A mirror, an address or a file.  [default: the publisher's address]",
)
@click.option("--sha256", metavar="HEX", help="Digest you trust, where the manifest pins none.")
@click.option(
    "--trust-on-first-use", is_flag=True, help="Take what arrives and pin its digest from now on."
)
@folder_flags
def pull(
    name: str, source: str | None, sha256: str | None, trust_on_first_use: bool, **flags: Any
) -> None:
    """Fetch a model's weights into the cache and check their digest.

    \b
    mattestream models pull u2netp
    mattestream models pull u2netp --from /media/usb/u2netp.onnx
    """  # noqa: D301 - click reads the backspace as "leave these lines alone"
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn

    with as_sentences():
        from models.pull import pull_files

        registry, _ = registry_of(flags)
        console = Console(stderr=True)
        columns = (BarColumn(), DownloadColumn(), TimeRemainingColumn())
        hidden = not console.is_terminal
        with Progress(*columns, console=console, transient=True, disable=hidden) as progress:
            task = progress.add_task("", total=None)
            arrived = pull_files(
                registry.manifest(name),
                cache_dir=registry.cache_dir,
                source=source,
                sha256=sha256,
                trust_on_first_use=trust_on_first_use,
                accepted_licences=registry.accepted_licences,
                on_progress=lambda have, total: progress.update(task, completed=have, total=total),
            )
        for pulled in arrived:
            verb = "was there already" if pulled.was_there else "pulled"
            size = f"{pulled.size_bytes / 2**20:.1f} MiB"
            click.echo(f"{name}: {verb}, {size}, sha256 {pulled.sha256}\n{pulled.path}")


@models.command()
@click.argument("name")
@connection_flags
def load(name: str, address: str | None, **flags: Any) -> None:
    """Load and warm a model on a running server."""
    with as_sentences(), open_client(address or DEFAULT_ADDRESS, flags) as client:
        model = client.load_model(name)
        click.echo(f"{model.name} {model.version} is ready: {model.engine} on {model.device}")


@models.command()
@click.argument("name")
@connection_flags
def unload(name: str, address: str | None, **flags: Any) -> None:
    """Let a model of a running server finish its work and free it."""
    with as_sentences(), open_client(address or DEFAULT_ADDRESS, flags) as client:
        model = client.unload_model(name)
        click.echo(f"{model.name} {model.version} is unloaded")


def _described(registry: Registry, name: str, default: str) -> models_pb2.Model:
    """The model as a server would describe it, so that both ways print the same."""
    manifest = registry.manifest(name)
    reason = registry.availability(name)
    state = models_pb2.MODEL_STATE_UNAVAILABLE if reason else models_pb2.MODEL_STATE_AVAILABLE
    return models_pb2.Model(
        name=manifest.name,
        version=manifest.version,
        description=manifest.description,
        license=manifest.license,
        commercial_use=manifest.commercial_use,
        weights_sha256=manifest.weights.sha256 or "",
        state=state,
        reason=reason,
        input_width=manifest.input.width,
        input_height=manifest.input.height,
        max_batch=manifest.max_batch,
        is_default=name == default,
    )


def _print_models(known: list[models_pb2.Model]) -> None:
    from rich.markup import escape

    from mattestream.cli.console import open_console, plain_table

    table = plain_table("model", "state", "licence", "input", "what it is")
    for model in known:
        star = " *" if model.is_default else ""
        licence = model.license if model.commercial_use else f"{model.license} (!)"
        table.add_row(
            escape(model.name) + star,
            _STATES.get(model.state, "unknown"),
            escape(licence),
            _input_of(model),
            escape(model.description),
        )
    open_console().print(table)
    if any(model.is_default for model in known):
        click.echo("* used where a request names none")
    if not all(model.commercial_use for model in known):
        click.echo("(!) not for commercial use")
    if any(model.state == models_pb2.MODEL_STATE_UNAVAILABLE for model in known):
        click.echo(
            "unavailable: `mattestream models show NAME` says why, `pull NAME` fetches weights"
        )


def _print_model(model: models_pb2.Model) -> None:
    _print_facts(
        {
            "name": model.name,
            "version": model.version,
            "description": model.description,
            "state": _STATES.get(model.state, "unknown"),
            "reason": model.reason,
            "licence": model.license,
            "commercial use": "allowed" if model.commercial_use else "not allowed",
            "sha256": model.weights_sha256 or ("not pinned" if model.input_width else "no weights"),
            "input": _input_of(model),
            "max batch": str(model.max_batch),
            "engine": model.engine,
            "device": model.device,
        }
    )


def _input_of(model: models_pb2.Model) -> str:
    return f"{model.input_width}x{model.input_height}" if model.input_width else "any size"


def _print_facts(facts: dict[str, str]) -> None:
    for name, value in facts.items():
        if value:
            click.echo(f"{name:<15} {value}")


def _print_problems(registry: Registry) -> None:
    for problem in registry.problems():
        click.echo(f"problem: {problem}", err=True)
