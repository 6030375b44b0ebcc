"""The figure that a report begins with: AP on clean images beside AP under attack, and that of the dense networks."""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import matplotlib
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hydra_det.reports.figures.curves import draw_means, ratio_axis
from hydra_det.reports.figures.style import GREY, SETTINGS, Look, add_legend, wrapped
from hydra_det.reports.statistics.cells import cell_table

NAME = "headline"
CONDITIONS = {"map_clean": "on clean images", "map_attacked": "under attack"}
SIZE = (6.6, 4.4)  # inches
BESIDE = 26  # letters of a name beside a bar


class Bar(NamedTuple):
    """One network, or the mean of the networks of a cell."""

    label: str
    value: float
    sd: float  # NaN of one seed
    colour: str


def headline_figure(frame: pd.DataFrame, look: Mapping[str, Look]) -> dict[str, Figure]:
    """AP over the ratio, clean and attacked on one scale; of one ratio alone, bars. Nothing where there is no AP.

    Args:
        frame: `records_frame`.
        look: of every configuration.
    """
    cells = cell_table(frame)
    shown = [metric for metric in CONDITIONS if cells.loc[cells["metric"] == metric, "n"].any()]
    if not shown:
        return {}
    curves = frame["ratio"].nunique() > 1
    height = SIZE[1] if curves else 2.4 + 0.4 * (1 + sum(wrapped(name, BESIDE).count("\n") + 1 for name in look))
    with matplotlib.rc_context(SETTINGS):
        figure = Figure(figsize=(SIZE[0], height), layout="constrained")
        panels = figure.subplots(1, len(shown), squeeze=False, sharey=True, sharex=not curves)[0]
    for axes, metric in zip(panels, shown, strict=True):
        draw = _curves if curves else _bars
        draw(axes, frame, cells[cells["metric"] == metric], look)
        axes.set_title(f"AP {CONDITIONS[metric]}", fontsize=10, loc="left")
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelsize=8)
    if curves:
        panels[0].set_ylabel("AP")
        panels[0].set_ylim(bottom=0)
        add_legend(figure, panels[0])
    else:
        panels[0].invert_yaxis()
        panels[0].set_xlim(0, 1.3 * max(axes.dataLim.x1 for axes in panels) or 1)
    return {NAME: figure}


def dense_of(frame: pd.DataFrame, metric: str) -> float:
    """AP of the dense networks, the median over configurations, as a few may start from others; NaN of none.

    Args:
        frame: `records_frame`.
        metric: of `CONDITIONS`.
    """
    return float(frame.groupby("configuration")[f"{metric}_dense"].mean().median())


def _curves(axes: Axes, frame: pd.DataFrame, cells: pd.DataFrame, look: Mapping[str, Look]) -> None:
    draw_means(axes, cells, look)
    ratio_axis(axes, sorted(cells.loc[cells["n"] > 0, "ratio"].unique()), room=0.07)  # of half a figure
    dense = dense_of(frame, str(cells["metric"].iloc[0]))
    if not math.isnan(dense):
        axes.axhline(dense, color=GREY, lw=1, ls="--", zorder=0, label="dense networks")


def _bars(axes: Axes, frame: pd.DataFrame, cells: pd.DataFrame, look: Mapping[str, Look]) -> None:
    dense = dense_of(frame, str(cells["metric"].iloc[0]))
    found = {row["configuration"]: row for row in cells.to_dict("records") if row["n"]}
    ratio = f"{100 * frame['ratio'].iloc[0]:g} % removed"
    bars = [] if math.isnan(dense) else [Bar("dense", dense, math.nan, GREY)]
    for name, row in found.items():
        label = ratio if len(found) == 1 else wrapped(name, BESIDE)
        bars.append(Bar(label, row["mean"], row["sd"], look[name].colour))
    _draw_bars(axes, bars)


def _draw_bars(axes: Axes, bars: Sequence[Bar]) -> None:
    places = range(len(bars))
    axes.barh(places, [bar.value for bar in bars], 0.5, color=[bar.colour for bar in bars])
    for place, bar in enumerate(bars):
        spread = 0.0 if math.isnan(bar.sd) else bar.sd
        if spread:
            axes.errorbar(bar.value, place, xerr=spread, color=GREY, lw=1.2, capsize=2)
        axes.annotate(f"{bar.value:.3f}", (bar.value + spread, place), xytext=(5, 0), textcoords="offset points",
                      va="center", fontsize=9)  # fmt: skip
    axes.set_yticks(places, [bar.label for bar in bars])
    axes.set_xlabel("AP")
