"""The paper's own results in the form of ours: as cells, and its p-values computed again from them."""

import pandas as pd

from hydra_det.reports.paper import COMPARISONS, CONFIGURATIONS, Cell, paper_results, printed_p_values
from hydra_det.reports.statistics.cells import CELL, CELL_COLUMNS
from hydra_det.reports.statistics.significance import one_way_anova

# Its columns that are ours, for curves beside ours. Its AP is not COCO's, see paper/SOURCE.md: shapes compare, heights
# do not. Its speed-up is of the masked network.
PAPER_METRICS = {"map_attacked": "map_attacked", "time_ms": "total_ms_masked", "speed_up": "speed_up"}


def paper_cells() -> pd.DataFrame:
    """The paper's own results in the form of `cell_table`: `CELL_COLUMNS`, with `PAPER_METRICS` as metrics.

    `configuration` is one of the names in `paper.CONFIGURATIONS`. `speed_up` is the time of a run at ratio 0 over that
    of the run of the same number at the ratio.
    """
    results = paper_results()
    keys = zip(results["granularity"], results["init"], results["greyscale"], strict=True)
    results = results.assign(
        configuration=[Cell(*key).configuration for key in keys], ratio=results["prune_ratio"].astype(float)
    )
    whole = results[results["ratio"] == 0].set_index(["configuration", "run"])["time_ms"]
    results["speed_up"] = results.join(whole.rename("whole"), on=["configuration", "run"]).eval("whole / time_ms")
    parts = []
    for place, (column, metric) in enumerate(PAPER_METRICS.items()):
        found = results.groupby(CELL)[column].agg(["count", "mean", "std", "min", "max"]).reset_index()
        parts.append(found.rename(columns={"count": "n", "std": "sd"}).assign(metric=metric, place=place))
    return pd.concat(parts).sort_values([*CELL, "place"], ignore_index=True)[list(CELL_COLUMNS)]


def paper_p_values() -> pd.DataFrame:
    """90 rows: table, metric, comparison, prune_ratio, p_value as printed, and `computed` from the results."""
    printed, results = printed_p_values(), paper_results()
    cells = results.groupby(["granularity", "init", "greyscale", "prune_ratio"])

    def values(name: str, ratio: float, metric: str) -> list[float]:
        return cells.get_group((*CONFIGURATIONS[name], ratio))[metric].tolist()

    printed["computed"] = [
        one_way_anova(*(values(name, row["prune_ratio"], row["metric"]) for name in COMPARISONS[row["comparison"]]))
        for row in printed.to_dict("records")
    ]
    return printed
