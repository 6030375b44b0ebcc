"""The tables of the page: configurations down and ratios across, p-values, and every number of a configuration."""

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from hydra_det.reports.figures.style import Look
from hydra_det.reports.page.markup import Markup, details, table, tag, text
from hydra_det.reports.page.summary import leaders
from hydra_det.reports.statistics.answers import YES, shown
from hydra_det.reports.statistics.cells import METRICS
from hydra_det.reports.statistics.significance import LEVEL
from hydra_det.reports.tables.terminal import ABSENT

HEADLINE = ("map_attacked", "map_clean", "forward_speed_up", "speed_up", "megabytes_compact")
BEST_OF = ("map_attacked", "map_clean")  # of these the best is marked
TESTED = ("map_attacked", "map_clean", "speed_up")
MINUS = "\N{MINUS SIGN}"


def headline_tables(frame: pd.DataFrame, cells: pd.DataFrame, look: Mapping[str, Look]) -> list[Markup]:
    """Mean ± sd of every cell, a table a metric that was measured; what cannot be told from the best one is marked."""
    made = []
    for metric in HEADLINE:
        found = cells[(cells["metric"] == metric) & (cells["n"] > 0)]
        if found.empty:
            continue
        best = {
            (name, leader.ratio)
            for leader in (leaders(frame, metric) if metric in BEST_OF else [])
            for name in (leader.configuration, *leader.alike)
            if not leader.untested and (leader.alike or leader.lower)
        }
        ratios = sorted(found["ratio"].unique())
        rows = {(row["configuration"], row["ratio"]): row for row in found.to_dict("records")}
        body = [
            [
                _named(name, look),
                *(
                    tag("td", _spread(rows.get((name, r)), metric), class_="sure" if (name, r) in best else None)
                    for r in ratios
                ),
            ]
            for name in look
        ]
        marked = "; marked: the highest mean, and what cannot be told from it" if best else ""
        made.append(table(["", *map(percent, ratios)], body, caption=f"{_title(metric)}, mean ± sd of seeds{marked}"))
    return made


def p_value_tables(comparisons: pd.DataFrame) -> list[Markup]:
    """Differences and adjusted p-values, comparisons down and ratios across; those below the level are marked."""
    made = []
    for metric in TESTED:
        found = comparisons[(comparisons["metric"] == metric) & comparisons["difference"].notna()]
        if found.empty:
            continue
        ratios = sorted(found["ratio"].unique())
        rows = {(row["comparison"], row["ratio"]): row for row in found.to_dict("records")}
        body = [
            [name, *(_p_value(rows.get((name, r)), metric) for r in ratios)] for name in found["comparison"].unique()
        ]
        title = f"{_title(metric)}: second - first, and below it p after Holm; marked: below {LEVEL:g}"
        made.append(table(["", *map(percent, ratios)], body, caption=title))
    return made


def claim_table(answered: pd.DataFrame) -> Markup:
    """A row a claim, the answer marked where it is yes."""
    rows = shown(answered).to_dict("records")
    body = [
        [
            tag("div", row["claim"], class_="words") if heading == "claim"
            else tag("td", tag("b", cell), class_="sure" if cell == YES else None) if heading == "answer"
            else tag("td", tag("div", cell, class_="words")) if heading in ("compared", "note")
            else cell
            for heading, cell in row.items()
        ]
        for row in rows
    ]  # fmt: skip
    return table([str(heading) for heading in rows[0]], body)


def configuration_tables(frame: pd.DataFrame, cells: pd.DataFrame, look: Mapping[str, Look]) -> list[Markup]:
    """Folded: everything that was measured of a configuration, metrics down and ratios across, and its runs."""
    made = []
    for name in look:
        found = cells[cells["configuration"] == name]
        ratios = sorted(found["ratio"].unique())
        rows = {(row["metric"], row["ratio"]): row for row in found.to_dict("records")}
        body = [
            [_title(metric), *(_spread(rows.get((metric, ratio)), metric) for ratio in ratios)]
            for metric in METRICS
            if any(rows[(metric, ratio)]["n"] for ratio in ratios)
        ]
        counts = ["seeds", *(max(rows[(metric, ratio)]["n"] for metric in METRICS) for ratio in ratios)]
        runs = ", ".join(frame.loc[frame["configuration"] == name, "folder"])
        made.append(
            details(
                _named(name, look),
                table(["", *map(percent, ratios)], [counts, *body], caption="mean ± sd of seeds"),
                tag("p", "Runs: ", tag("code", runs), class_="quiet"),
            )
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


def _named(name: str, look: Mapping[str, Look]) -> Markup:
    return text([tag("span", "", class_="key", style=f"background:{look[name].colour}"), name])


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


def _p_value(row: Mapping[Any, Any] | None, metric: str) -> Markup:
    if row is None:
        return tag("td", ABSENT)
    difference = f"{row['difference']:{METRICS[metric].form[2:-1].replace('.', '+.')}}".replace("-", MINUS)
    p = row["p_holm"]
    shown = "no test" if math.isnan(p) else "<0.0001" if p < 0.0001 else f"{p:.2g}"
    return tag("td", difference, tag("div", shown, class_="quiet"), class_="sure" if p < LEVEL else None)
