"""Every picture in one table of the page: the runs side by side, the worst first, with filters.

Called by `server.evaluation.report`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

from server.evaluation.runs import Measured
from server.evaluation.summary import run_labels

STYLE = """
.filters { display: flex; flex-wrap: wrap; gap: 1em; margin: 1em 0; align-items: center }
.listing { overflow-x: auto; max-height: 36em; overflow-y: auto; border: 1px solid #ddd }
.listing table { margin: 0 } .listing thead { position: sticky; top: 0; background: #fff }
.listing td.name { min-width: 15em; max-width: 24em; overflow-wrap: anywhere }
.listing td, .listing th { white-space: nowrap } .listing td.name { white-space: normal }
td.wrong { color: #b00020 }
"""
_FOR_EACH_RUN = ("IoU", "MAE", "uncertainty", "subject")
# Without scripts the whole table is shown.
_SCRIPT = """
const form = document.querySelector(".filters"), rows = [...document.querySelectorAll("#list tr")];
const count = form.querySelector("output");
function filter() {
  const name = form.elements.name.value.toLowerCase(), group = form.elements.group.value;
  const wrong = form.elements.wrong.checked;
  let shown = 0;
  for (const row of rows) {
    row.hidden = !row.dataset.name.includes(name) || (group && row.dataset.group !== group)
      || (wrong && !row.dataset.wrong);
    shown += !row.hidden;
  }
  count.textContent = `${shown} of ${rows.length} pictures`;
}
form.addEventListener("input", filter);
form.hidden = false;
filter();
"""


def listing(measured: Sequence[Measured]) -> str:
    """The table and its filters, as HTML; nothing when nothing was measured."""
    if not measured:
        return ""
    runs = run_labels(measured)
    pictures: dict[tuple[str, str], dict[str, Measured]] = {}
    for one in measured:
        pictures.setdefault((one.group, one.name), {})[one.run] = one
    worst_first = sorted(
        pictures.values(), key=lambda by_run: -max(one.scores["mae"] for one in by_run.values())
    )
    groups = dict.fromkeys(one.group for one in measured)
    choices = "".join(f"<option>{escape(group)}</option>" for group in groups)
    over = "".join(f"<th class=text colspan={len(_FOR_EACH_RUN)}>{escape(run)}" for run in runs)
    heads = "".join(f"<th>{head}" for head in _FOR_EACH_RUN * len(runs))
    rows = "".join(_row(by_run, runs) for by_run in worst_first)
    return (
        "<form class=filters hidden onsubmit='return false'>"
        "<input name=name type=search placeholder='part of a name' aria-label='part of a name'>"
        f"<select name=group aria-label=group><option value=''>all groups</option>{choices}"
        "</select>"
        "<label><input name=wrong type=checkbox> subject missed, or seen where there is none"
        "</label><output></output></form>"
        f"<div class=listing><table><thead><tr><th class=text rowspan=2>picture"
        f"<th class=text rowspan=2>group{over}</tr><tr>{heads}</tr></thead>"
        f"<tbody id=list>{rows}</tbody></table></div><script>{_SCRIPT}</script>"
    )


def _row(by_run: Mapping[str, Measured], runs: Sequence[str]) -> str:
    first = next(iter(by_run.values()))
    wrong = any(is_wrong(one) for one in by_run.values())
    cells = "".join(_cells(by_run.get(run)) for run in runs)
    return (
        f'<tr data-name="{escape(first.name.lower())}" data-group="{escape(first.group)}"'
        f"{' data-wrong=1' if wrong else ''}><td class='text name'>{escape(first.name)}"
        f"<td class=text>{escape(first.group)}{cells}</tr>"
    )


def _cells(one: Measured | None) -> str:
    if one is None:
        return "<td>-" * len(_FOR_EACH_RUN)
    iou = "-" if one.is_empty else f"{one.scores['iou']:.3f}"
    said = "none" if one.no_subject else "yes"
    return (
        f"<td>{iou}<td>{one.scores['mae']:.3f}<td>{one.uncertainty:.2f}"
        f"<td{' class=wrong' if is_wrong(one) else ''}>{said}"
    )


def is_wrong(one: Measured) -> bool:
    """True when the report's `no_subject` contradicts the truth."""
    return one.no_subject is not one.is_empty
