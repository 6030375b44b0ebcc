"""A report on the terminal: the AP of every cell, and the warnings."""

from collections.abc import Sequence

import pandas as pd
from rich.console import Group
from rich.table import Table
from rich.text import Text

from hydra_det.reports.statistics.cautions import Caution
from hydra_det.reports.statistics.cells import METRICS
from hydra_det.reports.tables.terminal import ABSENT, new_table

SHOWN = ("map_attacked", "map_clean", "speed_up")


def report_table(cells: pd.DataFrame, cautions: Sequence[Caution]) -> Group:
    """Means of what counts, configurations down and ratios across; then the warnings.

    Args:
        cells: `cell_table`.
        cautions: `cautions_of`.
    """
    warnings = [Text(f"{caution.kind}: {caution.text}", style="yellow") for caution in cautions]
    return Group(*(_means(cells, metric) for metric in SHOWN), *warnings)


def _means(cells: pd.DataFrame, metric: str) -> Table:
    found = cells[(cells["metric"] == metric) & (cells["n"] > 0)]
    table = new_table(f"{METRICS[metric].label}, mean" if len(found) else f"{METRICS[metric].label}: not measured")
    means = found.pivot(index="configuration", columns="ratio", values="mean")
    table.add_column("", overflow="fold")
    for ratio in means.columns:
        table.add_column(f"{100 * ratio:g} %", justify="right", no_wrap=True)
    for name, values in means.iterrows():
        shown = (ABSENT if pd.isna(value) else METRICS[metric].form.format(value) for value in values)
        table.add_row(Text(str(name)), *shown)
    return table
