"""`mattestream demo`: a real server, real photos, one stream, and where the time went."""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import click

from mattestream.cli.failures import Failure, as_sentences
from mattestream.client import Client
from mattestream.reply import FrameFailed, Removal
from mattestream.request import Frame

# Photos inside scikit-image's wheel: NASA's portrait of Eileen Collins (public domain), and some
# that their photographers gave away (CC0).
PHOTOS = ("astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg", "camera.png")


@dataclass(frozen=True, slots=True)
class Shown:
    """One photo's way there and back."""

    photo: Path
    outcome: Removal | FrameFailed
    round_trip_ms: float


@click.command()
@click.argument("photos", nargs=-1, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("demo-output"),
    show_default=True,
    help="Folder for the cut-outs; an earlier demo's are replaced.",
)
def demo(photos: tuple[Path, ...], out: Path) -> None:
    """Start a server, stream real photos to it, write cut-outs, show timings.

    PHOTOS are files of your own; without them, photos that come with scikit-image are used.
    """
    from mattestream.cli.server_process import ServerFailed, ServerProcess

    chosen = list(photos) or sample_photos()
    out.mkdir(parents=True, exist_ok=True)
    started = time.perf_counter()
    with as_sentences():
        try:
            with ServerProcess() as server:
                ready_s = time.perf_counter() - started
                click.echo(f"server ready on {server.address} after {ready_s:.1f} s")
                with Client(server.address) as client:
                    shown = stream(client, chosen)
        except ServerFailed as error:
            raise Failure(str(error)) from error
    click.echo("server stopped cleanly (SIGTERM, exit code 0)\n")
    for one in shown:
        if isinstance(one.outcome, Removal):
            one.outcome.save(out / f"{one.photo.stem}.png")
    _print_table(shown)
    click.echo(f"\ncut-outs are in {out.resolve()}")
    _fail_if_any(shown)


def sample_photos() -> list[Path]:
    """The photos inside scikit-image's wheel, found without importing it.

    Raises:
        Failure: scikit-image is not installed, or ships other files.
    """
    spec = importlib.util.find_spec("skimage")
    if spec is None or spec.origin is None:
        raise Failure(
            "the demo's photos come with scikit-image, which is not installed: "
            "pip install 'mattestream[demo]', or name photos of your own"
        )
    folder = Path(spec.origin).parent / "data"
    found = [folder / name for name in PHOTOS if (folder / name).is_file()]
    if not found:
        raise Failure(f"{folder} holds none of {', '.join(PHOTOS)}: name photos of your own")
    return found


def stream(client: Client, photos: Sequence[Path]) -> list[Shown]:
    """Every photo's outcome and round trip, in order, through one RemoveStream."""
    sent_at: list[float] = []

    def frames() -> Iterator[Frame]:
        for photo in photos:
            data = photo.read_bytes()
            sent_at.append(time.perf_counter())
            yield Frame(data)

    shown: list[Shown] = []
    outcomes = client.remove_stream(frames(), output="cutout", format="png")
    for photo, outcome in zip(photos, outcomes, strict=True):
        elapsed_ms = (time.perf_counter() - sent_at[len(shown)]) * 1e3
        shown.append(Shown(photo, outcome, elapsed_ms))
    return shown


def _print_table(shown: Sequence[Shown]) -> None:
    from mattestream.cli.console import open_console, plain_table

    stages_ms = ("queue", "decode", "prepare", "model", "finish", "encode")
    table = plain_table("photo", right=("size", *stages_ms, "server", "round trip"))
    for one in shown:
        if isinstance(one.outcome, FrameFailed):
            continue
        report = one.outcome.report
        t = report.timings
        stages = [t.queue_ms + t.batch_wait_ms, t.decode_ms, t.prepare_ms, t.infer_ms]
        stages += [t.finish_ms, t.encode_ms, t.total_ms, one.round_trip_ms]
        size = f"{report.source_width}x{report.source_height}"
        table.add_row(one.photo.stem, size, *(f"{value:.1f}" for value in stages))
    click.echo("milliseconds of each stage; the photos were sent at once, as frames of one stream:")
    open_console().print(table)
    done = [one.outcome for one in shown if isinstance(one.outcome, Removal)]
    if done:
        used = done[0].report.model
        click.echo(f"model {used.name} {used.version} on {used.engine}, {used.device}")


def _fail_if_any(shown: Sequence[Shown]) -> None:
    failed = [
        f"{one.photo.name}: {one.outcome.error}"
        for one in shown
        if isinstance(one.outcome, FrameFailed)
    ]
    if failed:
        raise Failure("\n".join(failed))
