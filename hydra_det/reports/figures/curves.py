"""Curves over the pruning ratio, as in the paper's figures 4, 5 and 7, and what one gives up for what.

A figure has one pair of axes, so that it is read on a telephone too; a figure of numbers that no run has is left out.
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator

from hydra_det.reports.figures.style import GREY, Look, add_legend, looks, new_axes
from hydra_det.reports.paper import CONFIGURATIONS, WORDS
from hydra_det.reports.statistics.cells import CELL, METRICS, cell_table, seed_values
from hydra_det.reports.statistics.pairs import paper_configurations
from hydra_det.reports.statistics.paper_cells import paper_cells

HIGH = 0.85  # figure 7 is the part of figure 4 from here on
DODGE = 0.006  # of the axis, between the points of two configurations, so that they do not hide one another
# What is drawn over the ratio, by the name of its file.
CURVES = {
    "ap_clean": "map_clean",
    "ap_attacked": "map_attacked",
    "speed_up_forward": "forward_speed_up",
    "speed_up": "speed_up",
    "time_compact": "total_ms_compact",
    "time_masked": "total_ms_masked",
    "size": "megabytes_compact",
}
PAPER_CURVES = {
    "paper_map": ("map_attacked", "the paper's \"mAP\", attacked (not COCO's AP)"),
    "paper_speed_up": ("speed_up", "the paper's speed-up over its ratio 0"),
    "paper_time": ("total_ms_masked", "the paper's time an image, ms, on its machine"),
}
TRADES = {"trade_size": "megabytes_compact", "trade_time": "total_ms_compact"}


def curve_figures(frame: pd.DataFrame, look: Mapping[str, Look]) -> dict[str, Figure]:
    """Every metric of `CURVES` over the ratio: the points of all seeds, their mean, and their sd where there are two.

    Args:
        frame: `records_frame`.
        look: of every configuration.
    """
    cells, figures = cell_table(frame), {}
    for name, metric in CURVES.items():
        values = seed_values(frame, metric).rename("value").reset_index()
        if len(values):
            label = METRICS[metric].label + (f", {METRICS[metric].unit}" if METRICS[metric].unit else "")
            figures[name] = _curves(values, cells[cells["metric"] == metric], look, label)
            if metric == "map_attacked" and values.loc[values["ratio"] >= HIGH, "ratio"].nunique() > 1:
                high = cells[(cells["metric"] == metric) & (cells["ratio"] >= HIGH)]
                figures["ap_attacked_high"] = _curves(values[values["ratio"] >= HIGH], high, look, label)
    for name, baseline in (("speed_up_forward", 1.0), ("speed_up", 1.0), ("size", frame["megabytes_dense"].mean())):
        if name in figures and not np.isnan(baseline):
            axes = figures[name].axes[0]
            axes.axhline(baseline, color=GREY, lw=1, ls=":", zorder=0)
            axes.set_ylim(top=max(axes.get_ylim()[1], 1.05 * baseline))
            axes.annotate("dense", (1, baseline), xycoords=("axes fraction", "data"), ha="right", va="bottom",
                          fontsize=8, color=GREY)  # fmt: skip
    return figures


def paper_figures(frame: pd.DataFrame) -> dict[str, Figure]:
    """The paper's own curves, mean and sd of its ten runs, on axes of their own: its AP is not COCO's.

    A configuration that is ours too looks as it does in our figures.
    """
    cells, ours = paper_cells(), paper_configurations(frame)
    mine = looks(set(frame["configuration"]))
    plain = looks(CONFIGURATIONS)
    look = {name: mine[ours[name]] if name in ours else plain[name] for name in CONFIGURATIONS}
    figures = {}
    for name, (metric, label) in PAPER_CURVES.items():
        found = cells[cells["metric"] == metric]
        figures[name] = _curves(found.rename(columns={"mean": "value"}).iloc[:0], found, look, label)
        figures[name].axes[0].set_title(f"the paper's own; {WORDS}", fontsize=8, loc="left")
    return figures


def trade_figures(frame: pd.DataFrame, look: Mapping[str, Look]) -> dict[str, Figure]:
    """AP, under attack if there is any, over the size and the time of the compact network; a point a cell."""
    cells = cell_table(frame).pivot(index=CELL, columns="metric", values="mean")
    kept = "map_attacked" if cells["map_attacked"].notna().any() else "map_clean"
    figures = {}
    for name, cost in TRADES.items():
        found = cells[[kept, cost]].dropna().reset_index()
        if found["ratio"].nunique() < 2:
            continue
        figure, axes = new_axes()
        for configuration, style in look.items():
            line = found[found["configuration"] == configuration]
            axes.plot(line[cost], line[kept], style.line, color=style.colour, marker=style.mark, ms=5, lw=1,
                      label=configuration)  # fmt: skip
            for row in line.iloc[[0, -1]].to_dict("records") if len(line) else ():
                axes.annotate(f"{100 * row['ratio']:g} %", (row[cost], row[kept]), xytext=(4, 4),
                              textcoords="offset points", fontsize=6.5, color=style.colour)  # fmt: skip
        axes.set_xlabel(f"{METRICS[cost].label}, {METRICS[cost].unit}")
        axes.set_ylabel(METRICS[kept].label)
        axes.set_ylim(bottom=0)
        axes.set_xlim(left=0)
        add_legend(figure, axes)
        figures[name] = figure
    return figures


def _curves(values: pd.DataFrame, cells: pd.DataFrame, look: Mapping[str, Look], label: str) -> Figure:
    """Points and means over the ratio in percent.

    Args:
        values: configuration, ratio, value; a row a point.
        cells: configuration, ratio, n, mean, sd.
        look: of every configuration, in the order of the legend.
        label: of the axis.
    """
    figure, axes = new_axes()
    draw_means(axes, cells, look, points=values)
    axes.set_ylabel(label)
    axes.set_ylim(bottom=0)
    ratio_axis(axes, sorted(cells.loc[cells["n"] > 0, "ratio"].unique()))
    add_legend(figure, axes)
    return figure


def draw_means(
    axes: Axes, cells: pd.DataFrame, look: Mapping[str, Look], *, points: pd.DataFrame | None = None
) -> None:
    """Means with their sd over the ratio in percent, and small points of what they are means of.

    Args:
        axes: where.
        cells: configuration, ratio, n, mean, sd.
        look: of every configuration, in the order of the legend.
        points: configuration, ratio, value; a row a point.
    """
    cells = cells[cells["n"] > 0]
    shown = [name for name in look if (cells["configuration"] == name).any()]
    dodge = DODGE * 100 * (cells["ratio"].max() - cells["ratio"].min() or 1)
    for place, name in enumerate(shown):
        style, shift = look[name], dodge * (place - (len(shown) - 1) / 2)
        means = cells[cells["configuration"] == name].sort_values("ratio")
        if points is not None:
            own = points[points["configuration"] == name]
            axes.plot(100 * own["ratio"] + shift, own["value"], style.mark, color=style.colour, ms=3.5, alpha=0.35,
                      mew=0, label="_points")  # fmt: skip
        axes.errorbar(100 * means["ratio"] + shift, means["mean"], means["sd"].where(means["n"] > 1, 0),
                      color=style.colour, marker=style.mark, ls=style.line, ms=4.5, lw=1.3, elinewidth=1, capsize=2,
                      label=name)  # fmt: skip


def ratio_axis(axes: Axes, ratios: list[float], *, room: float = 0.035) -> None:
    """Ticks where there are numbers; a label that would run into the one before is left out.

    Args:
        axes: where.
        ratios: removed, ascending.
        room: that a label needs, as a share of the axis.
    """
    percents = [100 * ratio for ratio in ratios]
    span = max(percents) - min(percents) or 1
    labels, last = [], -np.inf
    for percent in percents:
        wide = percent - last >= room * span
        labels.append(f"{percent:g}" if wide else "")
        last = percent if wide else last
    axes.xaxis.set_major_locator(FixedLocator(percents))
    axes.set_xticks(percents, labels)
    axes.set_xlabel("pruning ratio: weights removed, %")
