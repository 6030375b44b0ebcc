"""What nothing else beats: the Pareto front of runs between average precision and what a network costs."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

FRONT = "front.png"
PRECISION = {"map_attacked_pruned": ("under attack", "#c1666b"), "map_clean_pruned": ("clean", "#2a6f97")}
COSTS = {
    "total_ms_compact": "compact network, ms an image",
    "total_ms_sparse": "the same in sparse, ms",
    "megabytes_compact": "compact network, MB of weights",
}


def pareto(frame: pd.DataFrame, *, maximise: Sequence[str] = (), minimise: Sequence[str] = ()) -> "pd.Series[bool]":
    """Which rows no other row beats: none is as good in every column and better in one.

    Equal rows do not beat each other. A row that lacks a number is not on the front, and beats none.

    Args:
        frame: a row a run.
        maximise: columns where more is better.
        minimise: columns where less is better.
    """
    costs = np.concatenate([-frame[[*maximise]].to_numpy(float), frame[[*minimise]].to_numpy(float)], axis=1)  # [N, C]
    front = ~np.isnan(costs).any(axis=1)
    for row in np.flatnonzero(front):  # NaN is neither smaller nor equal, so a row with one beats none
        front[row] = not ((costs <= costs[row]).all(axis=1) & (costs < costs[row]).any(axis=1)).any()
    return pd.Series(front, index=frame.index)


def on_front(frame: pd.DataFrame) -> "pd.Series[bool]":
    """The front of AP clean, AP under attack, time and size; what no run measured does not count."""
    measured = [column for column in (*PRECISION, *COSTS) if frame[column].notna().any()]
    return pareto(
        frame,
        maximise=[column for column in measured if column in PRECISION],
        minimise=[column for column in measured if column in COSTS],
    )


def draw_front(frame: pd.DataFrame, path: Path) -> None:
    """A PNG: AP against time and against size; the points that nothing beats are full and joined.

    Args:
        frame: from `records_frame`; times compare if the runs were timed on the same machine.
        path: to write.
    """
    costs = [column for column in COSTS if frame[column].notna().any()]
    if not costs:
        return
    figure = Figure(figsize=(5.5 * len(costs), 4), layout="constrained")
    for axes, cost in zip(figure.subplots(1, len(costs), squeeze=False, sharey=True)[0], costs, strict=True):
        for precision, (label, colour) in PRECISION.items():
            if frame[precision].notna().any():
                _points(axes, frame, cost, precision, label=label, colour=colour)
        axes.set_xlabel(COSTS[cost])
        axes.set_ylim(bottom=0)
        axes.spines[["top", "right"]].set_visible(False)
    first = figure.axes[0]
    first.set_ylabel("AP of the pruned network")
    first.legend(frameon=False, fontsize=8, title="ratio at the points; full ones: nothing beats them",
                 title_fontsize=8, alignment="left")  # fmt: skip
    with matplotlib.rc_context({"savefig.dpi": 110}):
        figure.savefig(path)


def _points(axes: Axes, frame: pd.DataFrame, cost: str, precision: str, *, label: str, colour: str) -> None:
    front = pareto(frame, maximise=[precision], minimise=[cost])
    best = frame[front].sort_values([cost, precision])
    # Every point of a step holds: so much AP is to be had at this cost.
    axes.step(best[cost], best[precision], where="post", color=colour, linewidth=1)
    axes.scatter(best[cost], best[precision], color=colour, label=label, zorder=3)
    others = frame[~front]
    axes.scatter(others[cost], others[precision], facecolors="none", edgecolors=colour, zorder=3)
    for row in frame[[cost, precision, "ratio"]].dropna().itertuples(index=False):
        axes.annotate(f"{row[2]:g}", (row[0], row[1]), textcoords="offset points", xytext=(4, 4), fontsize=7,
                      color=colour)  # fmt: skip
