"""The files of an evaluation: report.json, images.csv and report.html with its sheets.

Called by `mattestream eval`. The JSON holds what the HTML shows, so that a script can compare two
evaluations; the CSV holds every picture.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from html import escape
from pathlib import Path
from typing import Any

from models.metrics import BETTER_HIGH
from server.evaluation.listing import STYLE, listing
from server.evaluation.runs import STAGES, Measured, Run
from server.evaluation.sheets import Sheet
from server.evaluation.summary import SCORES, GroupRow, RunRow
from server.replies import model_used

TITLES = {
    "iou": "IoU",
    "mae": "MAE",
    "mse": "MSE",
    "sad": "SAD, k",
    "gradient": "gradient, k",
    "connectivity": "connectivity, k",
    "boundary_f": "boundary F",
    "edge_mae": "edge MAE",
    "fringe": "fringe",
}
_DECIMALS = {"mse": 4, "sad": 2, "gradient": 2, "connectivity": 2, "fringe": 1}
SHEETS_DIR = "sheets"
_HOW_TO_READ = (
    "Means over the pictures of a group. Bold is the best of a group. More is better for IoU and "
    "boundary F, less for all others; k is thousands of pixels, whole image."
)
_HOW_SORTED = (
    "The worst first, by the largest MAE of any run; uncertainty and subject are what the server "
    "reports without knowing the truth."
)
_STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; margin: 2em auto; max-width: 76em; padding: 0 1em;
  color: #222; background: #fff }
table { border-collapse: collapse; margin: 1em 0; font-variant-numeric: tabular-nums }
th, td { padding: .2em .7em; text-align: right; border-bottom: 1px solid #ddd }
th { vertical-align: bottom }
th:first-child, td:first-child, th.text, td.text { text-align: left }
.text { white-space: nowrap } th.words, td.words { text-align: left; min-width: 8em }
td.group { font-weight: 600; vertical-align: top; border-bottom: 0 }
tbody.group { border-top: 2px solid #999 }
td.best { font-weight: 600 }
div.wide { overflow-x: auto }
img { max-width: 100%; height: auto; display: block; border: 1px solid #ddd }
figure { margin: 1.5em 0 } figcaption { color: #555; margin-bottom: .3em }
"""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """All there is to tell.

    Attributes:
        about: what was asked for, and when and by what it was measured, in words.
        runs: what was compared.
        measured: every run on every picture.
        groups: see `server.evaluation.summary`.
        totals: the same.
        left_out: a sentence for each picture, or kind of picture, that was not measured.
    """

    about: Mapping[str, str]
    runs: Sequence[Run]
    measured: Sequence[Measured]
    groups: Sequence[GroupRow]
    totals: Sequence[RunRow]
    left_out: Sequence[str]


def shown(name: str, value: float | None) -> str:
    """A score as the tables show it; a dash where there is none."""
    return "-" if value is None else f"{value:.{_DECIMALS.get(name, 3)}f}"


def columns(groups: Sequence[GroupRow]) -> list[str]:
    """The scores that at least one row has."""
    return [name for name in SCORES if any(name in row.scores for row in groups)]


def winners(groups: Sequence[GroupRow], group: str) -> dict[str, str]:
    """For each score the best figure in the group as it is shown; none where all show the same."""
    rows = [row for row in groups if row.group == group]
    best: dict[str, str] = {}
    for name in columns(rows):
        values = [row.scores[name] for row in rows if name in row.scores]
        if len({shown(name, value) for value in values}) > 1:
            best[name] = shown(name, max(values) if name in BETTER_HIGH else min(values))
    return best


def write_json(path: Path, evaluation: Evaluation) -> None:
    """Everything but the single pictures."""
    document = {
        "about": dict(evaluation.about),
        "runs": [_run_document(run) for run in evaluation.runs],
        "groups": [asdict(row) for row in evaluation.groups],
        "totals": [asdict(row) for row in evaluation.totals],
        "left_out": list(evaluation.left_out),
    }
    path.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def write_csv(path: Path, measured: Sequence[Measured]) -> None:
    """A line for each run and picture."""
    names = [name for name in SCORES if any(name in one.scores for one in measured)]
    plain = ("run", "name", "group", "is_empty", "width", "height")
    told = ("uncertainty", "coverage", "no_subject", "treatment")
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow([*plain, *names, *told, *(f"{stage}_ms" for stage in STAGES)])
        for one in measured:
            writer.writerow(
                [
                    *(getattr(one, name) for name in plain),
                    *(f"{one.scores[name]:.6g}" if name in one.scores else "" for name in names),
                    *(getattr(one, name) for name in told),
                    *(f"{one.stages_ms[stage]:.3f}" for stage in STAGES),
                ]
            )


def write_html(path: Path, evaluation: Evaluation, sheets: Sequence[Sheet]) -> None:
    """The page; it shows the sheets of the folder SHEETS_DIR beside it and loads nothing else."""
    about = "".join(
        f"<tr><td>{escape(name)}</td><td class=text>{escape(value)}</td></tr>"
        for name, value in evaluation.about.items()
    )
    left_out = "".join(f"<li>{escape(sentence)}</li>" for sentence in evaluation.left_out)
    page = [
        "<!doctype html><html lang=en><meta charset=utf-8>",
        "<meta name=viewport content='width=device-width, initial-scale=1'>",
        f"<title>mattestream eval</title><style>{_STYLE}{STYLE}</style>",
        "<h1>mattestream eval</h1>",
        f"<table>{about}</table>",
        "<h2>Quality</h2>",
        f"<p>{_HOW_TO_READ}</p>",
        f"<div class=wide>{_quality_table(evaluation.groups)}</div>",
        "<h2>Runs</h2>",
        f"<div class=wide>{_runs_table(evaluation)}</div>",
        f"<h2>Left out</h2><ul>{left_out}</ul>" if left_out else "",
        "<h2>Pictures</h2>",
        f"<p>{_HOW_SORTED}</p>",
        listing(evaluation.measured),
        "<h2>Worst and best</h2>" if sheets else "",
        *(_figure(sheet) for sheet in sheets),
        "</html>\n",
    ]
    path.write_text("\n".join(part for part in page if part), encoding="utf-8")


def _quality_table(groups: Sequence[GroupRow]) -> str:
    names = columns(groups)
    heads = "".join(f"<th>{TITLES[name]}</th>" for name in names)
    parts = [f"<table><thead><tr><th>group<th class=text>run<th>pictures{heads}</tr></thead>"]
    for group in dict.fromkeys(row.group for row in groups):
        best = winners(groups, group)
        rows = [row for row in groups if row.group == group]
        head = f"<td class='group text' rowspan={len(rows)}>{escape(group)}"
        parts.append("<tbody class=group>")
        for row in rows:
            cells = [_cell(name, shown(name, row.scores.get(name)), best) for name in names]
            parts.append(
                f"<tr>{head}<td class=text>{escape(row.run)}<td>{row.images}{''.join(cells)}</tr>"
            )
            head = ""  # told once for all runs of the group
        parts.append("</tbody>")
    return "".join([*parts, "</table>"])


def _cell(name: str, text: str, best: Mapping[str, str]) -> str:
    return f"<td class=best>{text}" if best.get(name) == text else f"<td>{text}"


def _runs_table(evaluation: Evaluation) -> str:
    words = ["run", "model", "engine", "what was done"]
    heads = [
        "uncertainty against MAE",
        "against 1 - IoU",
        "empty pictures reported empty",
        "subjects missed",
        *(f"{stage}, ms" for stage in (*STAGES, "total")),
    ]
    head = "".join(f"<th class=words>{word}" for word in words)
    head += "".join(f"<th>{escape(text)}" for text in heads)
    used = {run.label: model_used(run.model) for run in evaluation.runs}
    rows = []
    for row in evaluation.totals:
        model = used[row.run]
        told = [
            row.run,
            f"{model.name} {model.version}, {model.weights_sha256[:12]}",
            f"{model.engine} on {model.device}",
            "; ".join(row.treatments),
        ]
        figures = [
            *run_figures(row),
            *(f"{row.stages_ms[stage]:.1f}" for stage in (*STAGES, "total")),
        ]
        cells = [f"<td class=words>{escape(cell)}" for cell in told]
        cells += [f"<td>{escape(cell)}" for cell in figures]
        rows.append(f"<tr>{''.join(cells)}</tr>")
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"


def run_figures(row: RunRow) -> list[str]:
    """The two correlations and the two rates as the tables show them."""
    correlations = [
        "-" if value is None else f"{value:.2f}"
        for value in (row.uncertainty_mae, row.uncertainty_miss)
    ]
    rates = [
        "-" if value is None else f"{100 * value:.1f} %" for value in (row.empty_found, row.missed)
    ]
    return [*correlations, *rates]


def _figure(sheet: Sheet) -> str:
    words = f"{sheet.run}: the {sheet.images} {sheet.end} of {sheet.group}"
    return (
        f"<figure><figcaption>{escape(words)}</figcaption>"
        f'<img loading=lazy src="{SHEETS_DIR}/{escape(sheet.file)}" alt="{escape(words)}"></figure>'
    )


def _run_document(run: Run) -> dict[str, Any]:
    used = model_used(run.model)
    names = ("name", "version", "weights_sha256", "license", "engine", "device", "precision")
    return {
        "label": run.label,
        "settings": run.settings,
        "model": {name: getattr(used, name) for name in names},
    }
