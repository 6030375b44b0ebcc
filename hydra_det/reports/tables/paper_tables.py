"""The paper's tables from our own runs: its results by ratio and seed (V to XIV), its p-values (I to IV).

As Markdown, as LaTeX for the package booktabs, and as CSV in full precision.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from hydra_det.files.atomic import write_atomically
from hydra_det.reports.file_names import file_names
from hydra_det.reports.paper import printed_name
from hydra_det.reports.statistics.answers import RULE, is_tested, shown
from hydra_det.reports.statistics.cells import METRICS, Metric, seed_values
from hydra_det.reports.statistics.hints import hints_in_words
from hydra_det.reports.statistics.paper_cells import paper_p_values
from hydra_det.reports.tables.terminal import ABSENT

# What the paper tabulates, and what we have for it: AP under attack, time of the network with its masks. Beside the
# time the one of the compact network, as masks alone make no network faster.
TABULATED = {"map_attacked": ("map_attacked",), "time_ms": ("total_ms_masked", "total_ms_compact")}
_ESCAPED = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "≥": r"$\geq$",
    "\N{MULTIPLICATION SIGN}": r"$\times$",
}
_ESCAPED |= {character: f"\\{character}" for character in "&%$#_{}"}


_P_HEADS = {"comparison": "comparison", "ratio": "ratio", "difference": "difference"}
_P_HEADS |= {"p_anova": "p, ANOVA", "p_holm": "p, adjusted", "hint": "hint"}


class Table(NamedTuple):
    """A table to be written."""

    name: str  # of its files
    caption: str
    frame: pd.DataFrame  # numbers in full precision; NaN: not measured, or not tested
    forms: tuple[str, ...]  # of the values, a column each; "{}": text, which stands to the left


def write_tables(
    folder: str | Path, frame: pd.DataFrame, cells: pd.DataFrame, comparisons: pd.DataFrame, answered: pd.DataFrame
) -> list[Path]:
    """Write `tables/*.md`, `.tex` and `.csv` in a folder, and beside `tables` all runs, cells and comparisons as CSV.

    The answers to the claims are left out where none of them could be tested.

    Args:
        folder: is made where it is not there.
        frame: `records_frame`.
        cells: `cell_table` of it.
        comparisons: `compare` of it.
        answered: `answers` of it.

    Returns:
        The files.
    """
    folder, written = Path(folder), []
    claims = [("claims", answered)] if is_tested(answered) else []
    for name, data in (("runs", frame), ("cells", cells), ("comparisons", comparisons), *claims):
        written.append(folder / f"{name}.csv")
        write_atomically(written[-1], to_csv(data))
    for table in (*result_tables(frame, cells), *p_value_tables(comparisons), *claim_tables(answered)):
        for suffix, write in (("md", to_markdown), ("tex", to_latex)):
            written.append(folder / "tables" / f"{table.name}.{suffix}")
            write_atomically(written[-1], write(table))
        written.append(folder / "tables" / f"{table.name}.csv")
        write_atomically(written[-1], to_csv(table.frame))
    return written


def result_tables(frame: pd.DataFrame, cells: pd.DataFrame) -> Iterator[Table]:
    """As tables V to XIV: of a configuration and metric, a row a ratio, a column a seed, then mean and sd."""
    slugs = file_names(sorted(cells["configuration"].unique()))
    for configuration, slug in slugs.items():
        own = cells[cells["configuration"] == configuration]
        for name in (name for names in TABULATED.values() for name in names):
            metric, values = METRICS[name], seed_values(frame, name)
            rows = own[own["metric"] == name].set_index("ratio")
            here = values[values.index.get_level_values("configuration") == configuration].droplevel("configuration")
            table = here.unstack("seed").reindex(rows.index)
            table.columns = [f"seed {seed}" for seed in table.columns]
            table = table.assign(mean=rows["mean"], sd=rows["sd"]).reset_index()
            yield Table(
                f"{name}_{slug}",
                f"{_title(metric)}: {configuration}. Mean and standard deviation over seeds.",
                table,
                ("{:g}", *[metric.form] * (table.shape[1] - 1)),
            )


def p_value_tables(comparisons: pd.DataFrame) -> Iterator[Table]:
    """As tables I to IV: of a metric, a row a comparison and ratio; what the paper does not compare goes with I and II.

    Beside the p-value of the paper's test, one-way ANOVA, the one that counts: paired by seed or of Welch, adjusted
    after Holm within the families of `compare`.
    """
    printed = paper_p_values()[["table", "metric", "comparison"]].drop_duplicates()
    places = {(row["metric"], row["comparison"]): str(row["table"]) for row in printed.to_dict("records")}
    firsts = {metric: str(number) for metric, number in printed.groupby("metric")["table"].min().items()}
    for paper_metric, names in TABULATED.items():
        for name in names:
            metric, own = METRICS[name], comparisons[comparisons["metric"] == name]
            pairs = map(printed_name, own["first"], own["second"])
            numbers = [places.get((paper_metric, pair or ""), firsts[paper_metric]) for pair in pairs]
            for number, rows in own.assign(number=numbers).groupby("number"):
                table = rows[list(_P_HEADS)].rename(columns=_P_HEADS)
                table = table.assign(hint=["hint" if reason else "" for reason in rows["hint"]])
                yield Table(
                    f"p_{number}_{name}",
                    f"p-values of {_title(metric)}, as table {number} of the paper. ANOVA: its test, one-way. "
                    "Adjusted: a paired or Welch test, after Holm. Difference: the second mean less the first. "
                    f"{hints_in_words(rows['hint'])}".rstrip(),
                    table,
                    ("{}", "{:g}", "{:+" + metric.form[2:], "{:.2e}", "{:.2e}", "{}"),
                )


def claim_tables(answered: pd.DataFrame) -> Iterator[Table]:
    """A row a claim, with the answer; none where no claim could be tested."""
    if is_tested(answered):
        table = shown(answered)
        caption = " ".join(
            filter(None, ("What is claimed, and what came out.", hints_in_words(answered["hint"]), RULE))
        )
        yield Table("claims", caption, table, ("{}",) * table.shape[1])


def to_csv(frame: pd.DataFrame) -> str:
    """In full precision; what was not measured is an empty cell."""
    return frame.to_csv(index=False, lineterminator="\n")


def to_markdown(table: Table) -> str:
    """A caption, then a table in pipes."""
    rows = [[_markdown_escaped(cell) for cell in row] for row in _cells(table)]
    widths = [max(3, *(len(cell) for cell in column)) for column in zip(*rows, strict=True)]
    left = [form == "{}" for form in table.forms]
    shapes = list(zip(widths, left, strict=True))
    lines = [
        " | ".join(
            cell.ljust(width) if to_left else cell.rjust(width)
            for cell, (width, to_left) in zip(row, shapes, strict=True)
        )
        for row in rows
    ]
    rule = " | ".join(":" + "-" * (width - 1) if to_left else "-" * (width - 1) + ":" for width, to_left in shapes)
    return "\n".join(
        [_markdown_escaped(table.caption), "", *(f"| {line} |" for line in (lines[0], rule, *lines[1:])), ""]
    )


def to_latex(table: Table) -> str:
    r"""A floating table for `\usepackage{booktabs}`; one of more than eight columns is set small."""
    head, *body = (" & ".join(map(latex_escaped, row)) + r" \\" for row in _cells(table))
    return "\n".join([
        r"\begin{table}",
        r"  \centering",
        *([r"  \small"] if len(table.forms) > 8 else []),
        rf"  \caption{{{latex_escaped(table.caption)}}}",
        rf"  \label{{tab:{table.name}}}",
        rf"  \begin{{tabular}}{{{''.join('l' if form == '{}' else 'r' for form in table.forms)}}}",
        r"    \toprule",
        f"    {head}",
        r"    \midrule",
        *(f"    {row}" for row in body),
        r"    \bottomrule",
        r"  \end{tabular}",
        r"\end{table}",
        "",
    ])  # fmt: skip


def latex_escaped(text: object) -> str:
    r"""Text as LaTeX shows it: `50 %` becomes `50 \%`. A line end would end a paragraph, so it becomes a space."""
    return "".join(_ESCAPED.get(character, character) for character in " ".join(str(text).split()))


def _markdown_escaped(text: str) -> str:
    """On one line, without tags: what shows Markdown shows HTML too."""
    return " ".join(text.split()).replace("|", r"\|").replace("<", r"\<")


def _cells(table: Table) -> Iterator[list[str]]:
    """The heads, then every row, as they are shown."""
    yield [str(column) for column in table.frame.columns]
    for row in table.frame.itertuples(index=False):
        yield [ABSENT if pd.isna(value) else form.format(value) for value, form in zip(row, table.forms, strict=True)]


def _title(metric: Metric) -> str:
    return f"{metric.label}, {metric.unit}" if metric.unit else metric.label
