"""`mattestream models build`: a model's TensorRT plan, built before a server needs it.

With a GPU the plan is run and compared with ONNX Runtime, as at a server's start. Without one
TensorRT-RTX still builds it, and the command says that it was not run.
"""

from __future__ import annotations

import contextlib
import re
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from mattestream.cli.failures import Failure, as_sentences
from mattestream.cli.model_folders import folder_flags, registry_of

if TYPE_CHECKING:
    from models.accuracy import Accuracy
    from models.manifest import Manifest
    from models.registry import Registry
    from models.tensorrt_progress import Progress
    from models.weights import VerifiedWeights

T = TypeVar("T")

_MIB = 1 << 20
_LARGEST_BATCH = 256  # as in a manifest's max_batch


def _batches(_context: click.Context, _option: click.Parameter, text: str) -> tuple[int, ...]:
    """Batch sizes, ascending, from "1,2,4,8"."""
    if re.fullmatch(r"[1-9]\d{0,2}(,[1-9]\d{0,2})*", text):
        sizes = sorted({int(each) for each in text.split(",")})
        if sizes[-1] <= _LARGEST_BATCH:
            return tuple(sizes)
    raise click.BadParameter(
        f"{text!r}; allowed are whole numbers from 1 to {_LARGEST_BATCH}, as in 1,2,4,8"
    )


@click.command()
@click.argument("name")
@click.option(
    "--precision",
    type=click.Choice(["auto", "fp16", "fp32"]),
    default="auto",
    show_default=True,
    help="auto is fp16 where it is accurate enough, else fp32.",
)
@click.option(
    "--batch",
    "buckets",
    metavar="N,N,...",
    callback=_batches,
    default="1,2,4,8",
    show_default=True,
    help="Batch sizes to build for; the model's own limit holds.",
)
@click.option(
    "--engine-library",
    type=click.Choice(["auto", "tensorrt", "tensorrt-rtx"]),
    default="auto",
    show_default=True,
    help="auto is TensorRT where it is installed, else TensorRT-RTX.",
)
@click.option(
    "--device",
    metavar="cuda:N",
    default="auto",
    help="The GPU to build for and to check on.  [default: the first, if there is one]",
)
@click.option("--force", is_flag=True, help="Build although the cache has the plan.")
@folder_flags
def build(name: str, device: str, **flags: Any) -> None:
    """Build a model's TensorRT plan and check its accuracy."""
    with as_sentences():
        from models.tensorrt_library import count_cuda_devices

        index = _device_index(device)
        registry, _ = registry_of(flags)
        if index is None and count_cuda_devices() == 0:
            _build_without_gpu(registry, name, flags)
        else:
            _build_on_gpu(registry, name, index or 0, flags)


def _device_index(device: str) -> int | None:
    """The GPU's number; None for "auto"."""
    match = re.fullmatch(r"auto|cuda(?::(\d{1,2}))?", device)
    if match is None:
        raise click.UsageError(f"--device is {device!r}; allowed are auto, cuda and cuda:N")
    return None if device == "auto" else int(match[1] or 0)


def _build_on_gpu(registry: Registry, name: str, index: int, flags: dict[str, Any]) -> None:
    from kernels import cupy_device
    from kernels.device import DeviceError
    from models.tensorrt_engine import load_or_build

    manifest, weights = _verified(registry, name)
    try:
        device = cupy_device.CupyDevice(index)
        with _progress() as (on_progress, stop):
            engine = _in_thread(
                lambda: load_or_build(
                    manifest,
                    weights,
                    device=device,
                    device_index=index,
                    gpu_name=device.gpu.name,
                    capability=".".join(map(str, device.gpu.capability)),
                    cache_dir=registry.cache_dir,
                    precision=flags["precision"],
                    buckets=flags["buckets"],
                    library=flags["engine_library"],
                    force=flags["force"],
                    on_progress=on_progress,
                    cancelled=stop.is_set,
                ),
                stop,
            )
    except DeviceError as error:
        raise Failure(f"device 'cuda:{index}' cannot be used: {error}") from error
    click.echo(_what(name, engine.precision, engine.buckets, engine.name))
    click.echo(_where(engine.path, engine.build_s))
    if engine.accuracy is not None:
        click.echo(_accuracy_line(engine.accuracy))
    engine.close()


def _build_without_gpu(registry: Registry, name: str, flags: dict[str, Any]) -> None:
    from models.tensorrt_library import open_tensorrt
    from models.tensorrt_plans import ANY, PlanRequest, find_or_build

    manifest, weights = _verified(registry, name)
    library = open_tensorrt(flags["engine_library"])
    if not library.is_rtx:
        raise Failure(
            f"{library.title} builds on the GPU that will run the plan, and there is none here: "
            f"run this there, or use --engine-library tensorrt-rtx"
        )
    # Which of the two "auto" ends with is measured on a GPU; fp16 is what it tries first.
    precision = "fp32" if flags["precision"] == "fp32" else "fp16"
    with _progress() as (on_progress, stop):
        request = PlanRequest(
            manifest,
            weights,
            library,
            gpu_name=ANY,
            capability=ANY,
            cache_dir=registry.cache_dir,
            buckets=flags["buckets"],
            on_progress=on_progress,
            cancelled=stop.is_set,
        )
        plan = _in_thread(lambda: find_or_build(request, precision, force=flags["force"]), stop)
    click.echo(_what(name, precision, plan.key.buckets, library.title))
    click.echo(_where(plan.stored.path, plan.build_s))
    click.echo("built, not run: no GPU here, so its accuracy has not been measured")


def _verified(registry: Registry, name: str) -> tuple[Manifest, VerifiedWeights]:
    """The manifest and the weights, read through, with what never changes on a GPU fixed."""
    from models.fixed_graph import fixed_twin
    from models.weights import verified_weights

    if reason := registry.availability(name):
        raise Failure(reason)
    manifest = registry.manifest(name)
    if not manifest.has_network:
        raise Failure(f"model '{name}' has no network: there is nothing to build")
    found = verified_weights(manifest, registry.cache_dir)
    return fixed_twin(manifest, found, registry.cache_dir)


def _what(name: str, precision: str, buckets: tuple[int, ...], library: str) -> str:
    batches = ", ".join(map(str, buckets))
    return f"{name}: {precision} plan for batches of {batches} by {library}"


def _where(path: Path, build_s: float) -> str:
    verb = f"built in {build_s:.1f} s" if build_s else "was there already"
    return f"{path} ({path.stat().st_size / _MIB:.1f} MiB, {verb})"


def _accuracy_line(figure: Accuracy) -> str:
    return (
        f"alphas differ from ONNX Runtime in fp32 by {figure.mean_abs:.2g} in the mean of the "
        f"worst image and {figure.max_abs:.2g} at most, over {figure.images} images"
    )


def _in_thread(work: Callable[[], T], stop: threading.Event) -> T:
    """`work()` in a thread of its own: Ctrl-C must not strike inside the library's callbacks."""
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(work)
        try:
            return future.result()
        except KeyboardInterrupt:
            stop.set()  # the builder asks at its next step; leaving the pool waits for that
            raise


@contextlib.contextmanager
def _progress() -> Iterator[tuple[Progress, threading.Event]]:
    """What moves the bar on stderr, hidden where that is no terminal; and what stops the build."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    columns = (BarColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn())
    hidden = not console.is_terminal
    with Progress(*columns, console=console, transient=True, disable=hidden) as progress:
        task = progress.add_task("starting", total=1.0)

        def tell(phase: str, fraction: float) -> None:
            progress.update(task, completed=fraction, description=phase)

        yield tell, threading.Event()
