"""The cells of an experiment, a configuration at a pruning ratio, and what was measured in them.

A cell has one value a seed. Should a seed have been run twice, its value is the mean of its runs: two runs of one seed
are no two independent ones.
"""

from collections.abc import Callable
from typing import NamedTuple

import pandas as pd

CELL = ["configuration", "ratio"]
CELL_COLUMNS = (*CELL, "metric", "n", "mean", "sd", "min", "max")


class Metric(NamedTuple):
    """Something measured of every run."""

    label: str  # for an axis or the head of a column
    unit: str  # empty: a plain number
    values: Callable[[pd.DataFrame], pd.Series]  # of `records_frame`, one value a run; NaN: not measured
    form: str  # of a value in a table


def _column(name: str) -> Callable[[pd.DataFrame], pd.Series]:
    return lambda frame: frame[name]


def _ratio(over: str, under: str) -> Callable[[pd.DataFrame], pd.Series]:
    """NaN, not infinity, where the divisor is 0: of nothing no share can be kept."""
    return lambda frame: frame[over] / frame[under].where(frame[under] > 0)


# Of the network that comes out of the run, unless the label says otherwise. All of its AP are those of the masked
# network, which answers as the compact one does.
METRICS = {
    "map_clean": Metric("AP clean", "", _column("map_clean_pruned"), "{:.3f}"),
    "map_attacked": Metric("AP attacked", "", _column("map_attacked_pruned"), "{:.3f}"),
    "map_attacked_dense": Metric("AP attacked, dense network", "", _column("map_attacked_dense"), "{:.3f}"),
    "map_50_clean": Metric("AP50 clean", "", _column("map_50_clean_pruned"), "{:.3f}"),
    "map_50_attacked": Metric("AP50 attacked", "", _column("map_50_attacked_pruned"), "{:.3f}"),
    "map_50_paper_attacked": Metric(
        "AP50 attacked, confidence ≥ 0.5", "", _column("map_50_paper_attacked_pruned"), "{:.3f}"
    ),
    "total_ms_masked": Metric("time, masked network", "ms", _column("total_ms_pruned"), "{:.2f}"),
    "total_ms_compact": Metric("time, compact network", "ms", _column("total_ms_compact"), "{:.2f}"),
    "forward_ms_compact": Metric("forward time, compact network", "ms", _column("forward_ms_compact"), "{:.2f}"),
    # Times that compare between runs: both networks were timed in turn, in the same minutes.
    "speed_up": Metric("speed-up of the compact network", "", _ratio("total_ms_dense", "total_ms_compact"), "{:.2f}"),
    "speed_up_masked": Metric(
        "speed-up of the masked network", "", _ratio("total_ms_dense", "total_ms_pruned"), "{:.2f}"
    ),
    "forward_speed_up": Metric(
        "speed-up of the forward pass, compact network", "", _ratio("forward_ms_dense", "forward_ms_compact"), "{:.2f}"
    ),
    # By compact.py: the engines one after the other, in each both networks in turn.
    "speed_up_fastest": Metric(
        "speed-up, each network in its fastest engine",
        "",
        _ratio("total_ms_dense_fastest", "total_ms_compact_fastest"),
        "{:.2f}",
    ),
    "megabytes_compact": Metric("size of the compact network", "MB", _column("megabytes_compact"), "{:.2f}"),
    "parameters_share": Metric(
        "parameters, compact / dense", "", _ratio("parameters_compact", "parameters_dense"), "{:.3f}"
    ),
    "weights_kept": Metric("weights kept by the masks", "", lambda frame: 1 - frame["sparsity"], "{:.3f}"),
    # Wall time, of stages that ran at different moments and perhaps beside others.
    "training_seconds": Metric("wall time of all stages", "s", _column("seconds_of_stages"), "{:.0f}"),
    "retention_clean": Metric("AP clean, pruned / dense", "", _ratio("map_clean_pruned", "map_clean_dense"), "{:.3f}"),
    "retention_attacked": Metric(
        "AP attacked, pruned / dense", "", _ratio("map_attacked_pruned", "map_attacked_dense"), "{:.3f}"
    ),
}


def metric_values(frame: pd.DataFrame, name: str) -> pd.Series:
    """One of `METRICS` of every run, a value a row of `records_frame` and with its index."""
    return METRICS[name].values(frame).astype(float).rename(name)


def seed_values(frame: pd.DataFrame, name: str) -> pd.Series:
    """What was measured of one of `METRICS`, by configuration, ratio and seed."""
    keys = [*CELL, "seed"]
    values = frame[keys].assign(value=metric_values(frame, name)).dropna(subset=["value"])
    return values.groupby(keys)["value"].mean().rename(name)


def cell_table(frame: pd.DataFrame) -> pd.DataFrame:
    """A row a cell and metric, with `CELL_COLUMNS`, in the order of `METRICS` within a cell.

    `n` counts seeds, `sd` divides by n - 1 and is NaN for one seed; a metric that no run of a cell has is there with
    n 0 and NaN.
    """
    cells = frame[CELL].drop_duplicates().sort_values(CELL, ignore_index=True)
    parts = []
    for place, name in enumerate(METRICS):
        found = seed_values(frame, name).groupby(CELL).agg(["count", "mean", "std", "min", "max"])
        found = found.rename(columns={"count": "n", "std": "sd"}).reset_index()
        parts.append(cells.merge(found, on=CELL, how="left").assign(metric=name, place=place))
    table = pd.concat(parts).sort_values([*CELL, "place"], ignore_index=True)
    return table.assign(n=table["n"].fillna(0).astype(int))[list(CELL_COLUMNS)]
