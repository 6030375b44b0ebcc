"""The tables of the page: configurations down and ratios across, p-values, and every number of a configuration."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd

from hydra_det.reports.figures.style import Look
from hydra_det.reports.late_decisions import LateDecision
from hydra_det.reports.page.summary import Leader, leaders
from hydra_det.reports.page.table import Cell, Row, Table
from hydra_det.reports.statistics.answers import YES, shown
from hydra_det.reports.statistics.cells import METRICS
from hydra_det.reports.statistics.hints import marked
from hydra_det.reports.statistics.significance import LEVEL
from hydra_det.reports.tables.terminal import ABSENT

HEADLINE = ("map_attacked", "map_clean", "forward_speed_up", "speed_up", "megabytes_compact")
BEST_OF = ("map_attacked", "map_clean")  # of these the best is marked
TESTED = ("map_attacked", "map_clean", "speed_up")
UNHARDENED = ("clean", "no")  # kinds of pretraining that attack nothing
MINUS = "\N{MINUS SIGN}"
WORDS = ("compared", "note")  # columns of claims that hold sentences


class Everything(NamedTuple):
    """All that was measured of a configuration."""

    configuration: str
    colour: str
    table: Table
    runs: list[str]  # folders


def headline_tables(
    frame: pd.DataFrame, cells: pd.DataFrame, look: Mapping[str, Look], late: Sequence[LateDecision] = ()
) -> list[Table]:
    """Mean ± sd of every cell, a table a metric that was measured; what cannot be told from the best one is marked."""
    made = []
    for metric in HEADLINE:
        found = cells[(cells["metric"] == metric) & (cells["n"] > 0)]
        if found.empty:
            continue
        leading = leaders(frame, metric, late) if metric in BEST_OF else []
        best = {
            (name, leader.ratio)
            for leader in leading
            for name in (leader.configuration, *leader.alike)
            if not leader.untested and (leader.alike or leader.lower)
        }
        ratios = sorted(found["ratio"].unique())
        rows = {(row["configuration"], row["ratio"]): row for row in found.to_dict("records")}
        body = [
            Row(
                name,
                [Cell(_spread(rows.get((name, ratio)), metric), sure=(name, ratio) in best) for ratio in ratios],
                colour=look[name].colour,
            )
            for name in look
        ]
        body = [*dense_rows(frame, metric, ratios), *body]
        told = marked("; marked: the highest mean, and what cannot be told from it", _any_hint(leading)) if best else ""
        title = f"{_title(metric)}, mean ± sd of seeds{told}"
        made.append(Table(["", *map(percent, ratios)], body, title))
    return made


def dense_rows(frame: pd.DataFrame, metric: str, ratios: list[float]) -> list[Row]:
    """AP of the dense networks, over which the others are read; a row more where some of them were not hardened."""
    column = f"{metric}_dense"
    if column not in frame or frame[column].isna().all():
        return []
    hard = ~frame["pretraining"].isin(UNHARDENED)
    parts = {"dense": frame}
    if hard.any() and not hard.all():
        parts = {"dense, not hardened": frame[~hard], "dense, hardened": frame[hard]}
    made = []
    for name, part in parts.items():
        found = part.groupby(["ratio", "seed"])[column].mean().groupby("ratio").agg(["count", "mean", "std"])
        cells = [
            {"n": row["count"], "mean": row["mean"], "sd": row["std"]} if row is not None else None
            for row in (found.loc[ratio] if ratio in found.index else None for ratio in ratios)
        ]
        made.append(Row(name, [Cell(_spread(cell, metric)) for cell in cells]))
    return made


def p_value_tables(comparisons: pd.DataFrame) -> list[Table]:
    """Differences and adjusted p-values, comparisons down and ratios across; those below the level are marked."""
    made = []
    for metric in TESTED:
        found = comparisons[(comparisons["metric"] == metric) & comparisons["difference"].notna()]
        if found.empty:
            continue
        ratios = sorted(found["ratio"].unique())
        rows = {(row["comparison"], row["ratio"]): row for row in found.to_dict("records")}
        body = [
            Row(name, [_p_value(rows.get((name, ratio)), metric) for ratio in ratios])
            for name in found["comparison"].unique()
        ]
        title = f"{_title(metric)}: second - first, and below it p after Holm; marked: below {LEVEL:g} and no hint"
        made.append(Table(["", *map(percent, ratios)], body, title))
    return made


def claim_table(answered: pd.DataFrame) -> Table:
    """A row a claim, the answer marked where it is yes."""
    rows = [{str(heading): text for heading, text in row.items()} for row in shown(answered).to_dict("records")]
    body = [
        Row(row["claim"], [_answer(heading, row[heading]) for heading in list(row)[1:]], words=True) for row in rows
    ]
    return Table(list(rows[0]), body)


def configuration_tables(frame: pd.DataFrame, cells: pd.DataFrame, look: Mapping[str, Look]) -> list[Everything]:
    """Everything that was measured of a configuration, metrics down and ratios across, and its runs."""
    made = []
    for name in look:
        found = cells[cells["configuration"] == name]
        ratios = sorted(found["ratio"].unique())
        rows = {(row["metric"], row["ratio"]): row for row in found.to_dict("records")}
        body = [
            Row(_title(metric), [Cell(_spread(rows.get((metric, ratio)), metric)) for ratio in ratios])
            for metric in METRICS
            if any(rows[(metric, ratio)]["n"] for ratio in ratios)
        ]
        own = frame[frame["configuration"] == name]  # beside the shares stand both numbers that they are made of
        body += [row._replace(heading=f"AP clean, {row.heading}") for row in dense_rows(own, "map_clean", ratios)]
        counts = (max(rows[(metric, ratio)]["n"] for metric in METRICS) for ratio in ratios)
        body.insert(0, Row("seeds", [Cell(str(count)) for count in counts]))
        table = Table(["", *map(percent, ratios)], body, "mean ± sd of seeds")
        made.append(
            Everything(name, look[name].colour, table, list(frame.loc[frame["configuration"] == name, "folder"]))
        )
    return made


def comparison_notes(comparisons: pd.DataFrame) -> list[str]:
    """What the comparisons could not test, and why."""
    noted = comparisons[comparisons["note"].astype(bool)]
    lines = []
    for note, found in noted.groupby("note", sort=False):
        metrics = ", ".join(METRICS[metric].label for metric in found["metric"].unique())
        ratios = ", ".join(percent(ratio) for ratio in sorted(found["ratio"].unique()))
        lines.append(f"{note} ({metrics}; {'; '.join(found['comparison'].unique())}; at {ratios})")
    return lines


def percent(ratio: float) -> str:
    """A pruning ratio, as it heads a column."""
    return f"{100 * ratio:g} %"


def _any_hint(leading: Sequence[Leader]) -> str:
    """Of what is lower than the best ones."""
    return next((hint for leader in leading for hint in leader.hints.values()), "")


def _answer(heading: str, text: str) -> Cell:
    answer = heading == "answer"
    return Cell(text, sure=answer and text == YES, strong=answer, words=heading in WORDS)


def _title(metric: str) -> str:
    unit = METRICS[metric].unit
    return METRICS[metric].label + (f", {unit}" if unit else "")


def _spread(row: Mapping[Any, Any] | None, metric: str) -> str:
    """Mean ± sd; of one seed its value."""
    if row is None or not row["n"]:
        return ABSENT
    form = METRICS[metric].form
    spread = "" if math.isnan(row["sd"]) else f" ± {form.format(row['sd'])}"
    return f"{form.format(row['mean'])}{spread}"


def _p_value(row: Mapping[Any, Any] | None, metric: str) -> Cell:
    if row is None:
        return Cell(ABSENT)
    difference = f"{row['difference']:{METRICS[metric].form[2:-1].replace('.', '+.')}}".replace("-", MINUS)
    p = row["p_holm"]
    shown = "no test" if math.isnan(p) else "<0.0001" if p < 0.0001 else f"{p:.2g}"
    return Cell(difference, below=marked(shown, row["hint"]), sure=bool(p < LEVEL) and not row["hint"])
