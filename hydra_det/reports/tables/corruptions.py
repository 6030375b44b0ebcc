"""A network under common corruptions: AP by kind and severity, and their means."""

from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from rich.console import Group
from rich.table import Table
from rich.text import Text

from hydra_det.records.robustness import Robustness
from hydra_det.reports.tables.terminal import ABSENT, new_table


def corruption_frame(found: Robustness, metric: str = "map") -> pd.DataFrame:
    """AP by kind (rows) and severity (columns)."""
    rows = [
        (entry["attack"]["kind"], entry["attack"]["severity"], entry["metrics"]["coco"][metric])  # type: ignore[literal-required]
        for entry in found["attacks"]
    ]
    table = pd.DataFrame(rows, columns=["kind", "severity", metric]).astype({metric: float})
    return table.pivot(index="kind", columns="severity", values=metric).loc[list(dict.fromkeys(table["kind"]))]


def corruption_table(found: Robustness, *, title: str) -> Group:
    """AP by kind and severity; then the mean over kinds and severities, and its share of clean AP.

    The names are those of Michaelis et al. (2019, arXiv 1907.07484): mean and relative performance under corruption.
    """
    frame = corruption_frame(found)
    mean = float(np.nanmean(frame.to_numpy()))
    table: Table = new_table(f"{title} · AP under corruptions, {found['images']} images")
    table.add_column("", no_wrap=True)
    for severity in frame.columns:
        table.add_column(str(severity), justify="right")
    table.add_column("mean", justify="right")
    for kind, row in frame.iterrows():
        table.add_row(str(kind), *(_number(value) for value in row), _number(row.mean()))
    table.add_row(Text("mean", style="bold"), *(_number(value) for value in frame.mean()), _number(mean))
    clean = found["clean"]["coco"]["map"]
    share = f", {100 * mean / clean:.0f} % of it (rPC)" if clean else ""
    line = f"Clean AP {_number(clean)}; under {len(frame)} corruptions {_number(mean)} (mPC){share}."
    return Group(table, Text(line, style="bold"))


def draw_corruptions(found: Robustness, path: Path) -> None:
    """A PNG: AP50 of every kind against severity, clean at severity 0."""
    frame = corruption_frame(found, "map_50")
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.subplots()
    clean = found["clean"]["coco"]["map_50"] or 0.0
    for number, (kind, row) in enumerate(frame.iterrows()):
        style: dict[str, Any] = {
            "marker": "o",
            "markersize": 3,
            "linestyle": "--" if number >= 10 else "-",
            "color": f"C{number % 10}",
        }
        axes.plot([0, *frame.columns], [clean, *row], label=str(kind), **style)
    axes.plot([0, *frame.columns], [clean, *frame.mean()], color="black", linewidth=3, label="mean")
    axes.set_xlabel("severity")
    axes.set_ylabel("AP50")
    axes.set_ylim(bottom=0)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    with matplotlib.rc_context({"savefig.dpi": 110}):
        figure.savefig(path)


def _number(value: float | None) -> str:
    return ABSENT if value is None or pd.isna(value) else f"{value:.3f}"
