"""Every comparison of two configurations at one ratio: how much they differ, and how sure that is."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from hydra_det.records.record import Record
from hydra_det.reports.late_decisions import LateDecision, rests_on_one
from hydra_det.reports.statistics import significance
from hydra_det.reports.statistics.cells import seed_values
from hydra_det.reports.statistics.hints import hint_of_groups, hint_of_pairs
from hydra_det.reports.statistics.pairs import choose_pairs, differ_in_pruning_only
from hydra_det.reports.statistics.significance import LEVEL

# What is compared; all else of `METRICS` is described only. A longer list would be more chances of a false finding.
COMPARED = ("map_attacked", "map_clean", "map_50_paper_attacked", "total_ms_masked", "total_ms_compact", "speed_up")
# Those of which records may hold the AP of resampled test images: the condition they are of.
RESAMPLED = {"map_attacked": "attacked", "map_clean": "clean"}
_TESTED = (
    *("p_anova", "p_welch", "welch_low", "welch_high", "p_paired", "paired_low", "paired_high"),
    *("hedges_g", "hedges_low", "hedges_high"),
)
# Seeds in both cells and in one of them; differences are second - first.
COMPARISON_COLUMNS = (
    *("metric", "comparison", "first", "second", "ratio", "n_first", "n_second", "n_pairs"),
    *("mean_first", "mean_second", "difference", *_TESTED),
    *("test", "p", "p_holm", "hint", "detectable_effect", "bootstrap_low", "bootstrap_high", "control", "note"),
)


class Finding(NamedTuple):
    """Two methods that differ where nothing is pruned, so something else than pruning makes them differ."""

    metric: str
    comparison: str
    difference: float  # second - first, in the unit of the metric
    p_holm: float


def compare(records: Mapping[str, Record], frame: pd.DataFrame, *, late: Sequence[LateDecision] = ()) -> pd.DataFrame:
    """A row for every metric of `COMPARED`, pair of configurations and ratio, with `COMPARISON_COLUMNS`.

    Intervals are of 95 %. `test` names the test behind `p`: `paired` by seed where every seed of the smaller cell is
    in the other one too, else `welch`; it does not depend on what the tests say. `p_holm` is `p`, adjusted over its
    family: all pairs and ratios of one metric. The controls, comparisons of methods that must not differ because
    nothing is pruned (`control` is true), are a family of their own. `detectable_effect` is in standard deviations,
    for the smaller cell and a test without pairs. The bootstrap is over test images: how far the difference of the
    mean AP depends on which images happen to be in the test set, all runs as they are.

    What could not be tested is NaN, and `note` says why. `hint` says why a `p_holm` below the level is a hint only.

    Args:
        records: by folder of the run.
        frame: `records_frame` of them.
        late: what was decided on after looking at results.
    """
    pairs, rows = choose_pairs(frame).chosen, []
    for metric in COMPARED:
        values = seed_values(frame, metric)
        for comparison, (first, second) in pairs.items():
            ratios = frame.loc[frame["configuration"].isin([first, second]), "ratio"]
            for ratio in sorted(ratios.unique()):
                runs = [_runs(records, frame, name, ratio) for name in (first, second)]
                row = {"metric": metric, "comparison": comparison, "first": first, "second": second, "ratio": ratio}
                row |= _test(*(_cell(values, name, ratio) for name in (first, second)))
                notes = [row.pop("note"), *_data_notes(*runs)]
                if metric in RESAMPLED:
                    interval, note = _bootstrap(*runs, condition=RESAMPLED[metric])
                    row |= {"bootstrap_low": interval[0], "bootstrap_high": interval[1]}
                    notes.append(note)
                row["control"] = ratio == 0 and all(runs) and differ_in_pruning_only(runs[0][0], runs[1][0])
                rows.append(row | {"note": "; ".join(filter(None, notes))})
    table = pd.DataFrame(rows, columns=list(COMPARISON_COLUMNS))
    for _, family in table.groupby(["metric", "control"]):
        table.loc[family.index, "p_holm"] = significance.holm(family["p"].tolist())
    table["hint"] = [_hint(row, late) for row in table.to_dict("records")]
    return table


def control(comparisons: pd.DataFrame) -> list[Finding]:
    """The controls that failed: what differs at ratio 0, where methods must not, after correction for many tests."""
    failed = comparisons[comparisons["control"].astype(bool) & (comparisons["p_holm"] < LEVEL)]
    return [
        Finding(row["metric"], row["comparison"], row["difference"], row["p_holm"]) for row in failed.to_dict("records")
    ]


def _hint(row: Mapping[Any, Any], late: Sequence[LateDecision]) -> str:
    if not row["p_holm"] < LEVEL:
        return ""
    is_late = rests_on_one(late, [row["ratio"]])
    if row["test"] == "paired":
        return hint_of_pairs(row["n_pairs"], late=is_late)
    return hint_of_groups(row["n_first"], row["n_second"], late=is_late)


def _cell(values: pd.Series, configuration: str, ratio: float) -> pd.Series:
    """The values of a cell by seed; empty where there is no such cell."""
    keys = values.index
    here = (keys.get_level_values("configuration") == configuration) & (keys.get_level_values("ratio") == ratio)
    return values[here].droplevel(["configuration", "ratio"])


def _runs(records: Mapping[str, Record], frame: pd.DataFrame, configuration: str, ratio: float) -> list[Record]:
    folders = frame.loc[(frame["configuration"] == configuration) & (frame["ratio"] == ratio), "folder"]
    return [records[folder] for folder in folders]


def _test(one: pd.Series, two: pd.Series) -> dict[str, Any]:
    """All numbers of two cells but the bootstrap; what cannot be is NaN, with a note."""
    shared = one.index.intersection(two.index)
    fewer = min(len(one), len(two))
    row: dict[str, Any] = dict.fromkeys(_TESTED, math.nan) | {
        "n_first": len(one),
        "n_second": len(two),
        "n_pairs": len(shared),
        "mean_first": one.mean(),
        "mean_second": two.mean(),
        "difference": two.mean() - one.mean(),
        "test": "",
        "p": math.nan,
        "detectable_effect": significance.detectable_effect(fewer),
    }
    if fewer < 2:
        return row | {"note": f"no test: {_few(len(one), 'first')}{_few(len(two), 'second')}two or more are needed"}
    notes = []
    first, second = one.to_numpy(), two.to_numpy()
    row |= {"p_anova": significance.one_way_anova(first, second), "p_welch": significance.welch(first, second)}
    if math.isnan(row["p_welch"]):
        notes.append("nothing varies within either cell, so there is no test without pairs")
    else:
        row["welch_low"], row["welch_high"] = significance.welch_interval(first, second)
        row["hedges_g"] = significance.hedges_g(first, second)
        row["hedges_low"], row["hedges_high"] = significance.hedges_interval(first, second)
    if len(shared) >= 2:
        pairs = one[shared].to_numpy(), two[shared].to_numpy()
        row["p_paired"] = significance.paired(*pairs)
        if math.isnan(row["p_paired"]):
            notes.append(f"every seed differs by the same {(pairs[1] - pairs[0]).mean():.3g}: no test of pairs")
        else:
            row["paired_low"], row["paired_high"] = significance.paired_interval(*pairs)
    row["test"] = "paired" if len(shared) == fewer else "welch"
    if row["test"] == "paired" and len(shared) < max(len(one), len(two)):  # what is tested is what is shown
        means = one[shared].mean(), two[shared].mean()
        row |= {"mean_first": means[0], "mean_second": means[1], "difference": means[1] - means[0]}
    row["p"] = row[f"p_{row['test']}"]
    if len(shared) < max(len(one), len(two)):
        shown = ", which the means are of" if row["test"] == "paired" else ""
        notes.append(f"unequal seeds: {len(one)} and {len(two)}, {len(shared)} in both{shown}")
    return row | {"note": "; ".join(notes)}


def _few(count: int, place: str) -> str:
    return f"{count or 'no'} {'seed' if count == 1 else 'seeds'} of the {place}, " if count < 2 else ""


def _data_notes(one: Sequence[Record], two: Sequence[Record]) -> Iterator[str]:
    if len({record.dataset["fingerprint"] for record in (*one, *two)}) > 1:
        yield "not on the same images, so the difference is also one of the data"
    if any(len({record.seed for record in runs}) < len(runs) for runs in (one, two)):
        yield "a seed was run more than once: its runs count as one, by their mean"


def _bootstrap(one: Sequence[Record], two: Sequence[Record], *, condition: str) -> tuple[tuple[float, float], str]:
    """The interval of the difference of the mean AP over resampled images; NaN and the reason where there is none."""
    none = (math.nan, math.nan)
    if not one or not two:
        return none, ""
    if len({record.dataset["fingerprint"] for record in (*one, *two)}) > 1:
        return none, "no bootstrap: resamples of different images do not compare"
    found = [[_resampled(record, condition) for record in runs] for runs in (one, two)]
    counts = {len(values) for values in (*found[0], *found[1])}
    if 0 in counts:
        return none, "no bootstrap: not every run has resampled AP (evaluation.bootstrap)"
    if len(counts) > 1:
        return none, "no bootstrap: runs have different numbers of resamples"
    first, second = (_mean_of_seeds(runs, values) for runs, values in zip((one, two), found, strict=True))
    low, high = np.percentile(second - first, [100 * LEVEL / 2, 100 * (1 - LEVEL / 2)])
    return (float(low), float(high)), ""


def _resampled(record: Record, condition: str) -> list[float]:
    """AP of every resample of the pruned network; empty where there are none."""
    metrics = record.metrics["pruned"]
    protocols = metrics["attacked"] if condition == "attacked" else metrics["clean"]
    return protocols.get("bootstrap", []) if protocols else []


def _mean_of_seeds(runs: Sequence[Record], values: Sequence[Sequence[float]]) -> NDArray[np.float64]:
    """The mean over seeds, each the mean of its runs, resample by resample. [count]"""
    seeds = np.array([record.seed for record in runs])
    return np.mean([np.asarray(values)[seeds == seed].mean(axis=0) for seed in np.unique(seeds)], axis=0)
