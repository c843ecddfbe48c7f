"""`mattestream eval`: models and settings against pictures with truth, in tables and pictures."""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

import mattestream
from mattestream.cli.failures import FAILED, Failure, WrongUse, as_sentences

if TYPE_CHECKING:
    from rich.console import Console

    from server.codecs.header import Limits
    from server.config import Config
    from server.evaluation.cases import Lead
    from server.evaluation.report import Evaluation
    from server.evaluation.runs import Bench, Measured
    from server.evaluation.sheets import Sheets

LOCAL_SETTINGS = ("device", "model_dirs", "accept_licenses", "max_megapixels")


@click.command("eval")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option(
    "--model", "models", multiple=True, metavar="NAME", help="May be repeated.  [default: one]"
)
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="NAME=VALUE,...",
    help="Options of a run, as refine=fast,feather_px=1; may be repeated, each is tried with each "
    "model. The word defaults stands for none.  [default: defaults]",
)
@click.option(
    "--manifest",
    type=click.Path(path_type=Path),
    help="CSV file with the column file.  [default: manifest.csv in FOLDER, if there]",
)
@click.option("--split", help="Rows of the manifest with this split only.")
@click.option("--group", "group_column", metavar="COLUMN", help="Of the manifest, to group by.")
@click.option("--limit", type=click.IntRange(1), metavar="N", help="At most N of each group.")
@click.option(
    "--composites",
    type=click.IntRange(0),
    default=0,
    metavar="N",
    help="Add N pictures made of cutouts/ and backgrounds/, with true alpha and colours.",
)
@click.option("--seed", type=click.IntRange(0), default=0, help="Of the composites.")
@click.option(
    "--side",
    "side_px",
    type=click.IntRange(16, 16384),
    metavar="PX",
    help="Scale pictures and truths to this longer side.",
)
@click.option("--only-composites", is_flag=True, help="Leave images/ out.")
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("eval-output"),
    show_default=True,
    help="Folder for report.html, report.json, images.csv and sheets/; an earlier report's are "
    "replaced.",
)
@click.option(
    "--worst", type=click.IntRange(0, 50), default=6, show_default=True, help="On each sheet."
)
@click.option(
    "--best", type=click.IntRange(0, 50), default=2, show_default=True, help="On each sheet."
)
@click.option("--device", metavar="auto|cpu|cuda", help="Where the models run.")
@click.option(
    "--model-dir", "model_dirs", multiple=True, metavar="DIR", help="Folder of your own manifests."
)
@click.option(
    "--accept-license",
    "accept_licenses",
    multiple=True,
    metavar="NAME",
    help="Accept non-commercial weights.",
)
@click.option("--max-megapixels", metavar="MP", help="Largest picture, read from its header.")
def evaluate(
    *,
    folder: Path,
    models: tuple[str, ...],
    settings: tuple[str, ...],
    out: Path,
    worst: int,
    best: int,
    **flags: Any,
) -> None:
    """Measure models and settings against pictures with truth.

    FOLDER holds images/ and, under the same names, truth/ (or masks/); cutouts/ and backgrounds/
    for --composites. Exit code: 0 when all pictures were measured, 1 when some could not be, 2 for
    a wrong command line.

    \b
    mattestream eval pictures --set defaults --set refine=off
    mattestream eval pictures --model matte-s --model matte-m --composites 200 --seed 1
    """  # noqa: D301 - click reads the backspace as "leave these lines alone"
    from mattestream.cli.console import open_console

    with as_sentences():
        from server.codecs.header import Limits
        from server.config_sources import load_config
        from server.evaluation.report import SHEETS_DIR, Evaluation, write_csv, write_html
        from server.evaluation.report import write_json as write_report
        from server.evaluation.runs import Bench
        from server.evaluation.sheets import Sheets
        from server.evaluation.summary import group_rows, run_rows

        config = load_config(None, os.environ, {name: flags[name] for name in LOCAL_SETTINGS})
        limits = Limits(config.max_megapixels, config.max_side_px)
        leads, problems, notes = _leads(folder, limits, flags)
        console = open_console(stderr=True)
        sheets = Sheets(worst, best)
        started = datetime.now(UTC)
        with Bench(config, models or (config.model,), settings or ("defaults",)) as bench:
            measured = _measure(console, bench, leads, sheets, problems)
            if not measured:
                for sentence in problems:
                    console.print(f"left out: {sentence}", style="red", markup=False)
                raise Failure(f"nothing could be measured in {folder}")
            evaluation = Evaluation(
                about=_about(folder, flags, config, started, len(leads)),
                runs=bench.runs,
                measured=measured,
                groups=group_rows(measured),
                totals=run_rows(measured),
                left_out=[*notes, *problems],
            )
            try:
                out.mkdir(parents=True, exist_ok=True)
                for stale in (out / SHEETS_DIR).glob("[0-9]*-*.jpg"):
                    stale.unlink()
                written = sheets.write(out / SHEETS_DIR)
                write_csv(out / "images.csv", measured)
                write_report(out / "report.json", evaluation)
                write_html(out / "report.html", evaluation, written)
            except OSError as error:
                raise Failure(f"cannot write to {out}: {error.strerror or error}") from error
        _print(open_console(), evaluation)
    click.echo(f"\n{out / 'report.html'}")
    if problems:
        raise click.exceptions.Exit(FAILED)


def _leads(
    folder: Path, limits: Limits, flags: dict[str, Any]
) -> tuple[list[Lead], list[str], list[str]]:
    """What will be measured, then the sentences on what cannot be and on what shall not be."""
    from server.evaluation.composites import composites
    from server.evaluation.dataset import BadDataset, limited, open_dataset

    try:
        found = open_dataset(
            folder,
            limits,
            manifest=flags["manifest"],
            split=flags["split"],
            group_column=flags["group_column"],
            side_px=flags["side_px"],
        )
        leads = [] if flags["only_composites"] else found.photos
        if flags["limit"]:
            leads = limited(leads, flags["limit"])
        if count := flags["composites"]:
            side_px = flags["side_px"]
            leads = [*leads, *composites(found, count, flags["seed"], limits, side_px=side_px)]
    except BadDataset as error:
        raise WrongUse(str(error)) from error
    if flags["only_composites"]:
        if not flags["composites"]:
            raise WrongUse(
                "--only-composites leaves nothing to measure: say how many with --composites N"
            )
        return leads, [], []
    return leads, found.problems, found.notes


def _measure(
    console: Console, bench: Bench, leads: Sequence[Lead], sheets: Sheets, problems: list[str]
) -> list[Measured]:
    """Every run on every picture; a sentence in `problems` for each picture that failed."""
    from rich.progress import track

    from models.errors import EngineFailed
    from server.codecs.errors import ImageRejected
    from server.evaluation.cases import BadTruth
    from server.evaluation.panels import panel
    from server.evaluation.runs import measure

    measured: list[Measured] = []
    hidden = not console.is_terminal
    for lead in track(leads, "measuring", console=console, transient=True, disable=hidden):
        try:
            case = lead.load()
            results = [measure(run, case) for run in bench.runs]
        except (BadTruth, EngineFailed, ImageRejected, OSError) as error:
            said = str(error)
            problems.append(said if lead.name in said else f"{lead.name}: {said}")
            continue
        for one, cutout in results:
            measured.append(one)
            sheets.add(one, partial(panel, case, cutout, bench.limits))
    return measured


def _about(
    folder: Path, flags: dict[str, Any], config: Config, started: datetime, pictures: int
) -> dict[str, str]:
    asked = {
        "split": flags["split"],
        "at most of each group": flags["limit"],
        "composites": flags["composites"] and f"{flags['composites']}, seed {flags['seed']}",
        "longer side, px": flags["side_px"],
    }
    return {
        "mattestream": mattestream.__version__,
        "measured": started.strftime("%Y-%m-%d %H:%M UTC"),
        "folder": str(folder),
        "pictures": str(pictures),
        **{name: str(value) for name, value in asked.items() if value},
        "times": "medians, one picture at a time, OpenCV and ONNX Runtime on one core"
        if config.device == "cpu" or not config.device.startswith("cuda")
        else f"medians, one picture at a time, {config.device}",
    }


def _print(console: Console, evaluation: Evaluation) -> None:
    from rich.markup import escape

    from mattestream.cli.console import plain_table
    from server.evaluation.report import TITLES, columns, run_figures, shown, winners
    from server.evaluation.runs import STAGES

    names = columns(evaluation.groups)
    quality = plain_table("group", "run", right=("pictures", *(TITLES[name] for name in names)))
    for group in dict.fromkeys(row.group for row in evaluation.groups):
        best = winners(evaluation.groups, group)
        for row in (row for row in evaluation.groups if row.group == group):
            cells = [shown(name, row.scores.get(name)) for name in names]
            marked = [
                f"[bold]{cell}[/]" if best.get(name) == cell else cell
                for name, cell in zip(names, cells, strict=True)
            ]
            quality.add_row(escape(group), escape(row.run), str(row.images), *marked)
    console.print(quality)
    console.print()
    totals = plain_table(
        "run",
        "what was done",
        right=(
            "uncertainty~MAE",
            "~1-IoU",
            "empty found",
            "missed",
            *(f"{stage} ms" for stage in (*STAGES, "total")),
        ),
    )
    for total in evaluation.totals:
        times = (f"{total.stages_ms[stage]:.1f}" for stage in (*STAGES, "total"))
        done = "; ".join(total.treatments)
        totals.add_row(escape(total.run), done, *run_figures(total), *times)
    console.print(totals)
    for sentence in evaluation.left_out:
        console.print(f"left out: {sentence}", style="yellow", markup=False, soft_wrap=True)
