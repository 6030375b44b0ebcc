"""Cells of tables about several seeds: a mean, and the difference to another cell, paired by seed."""

import statistics
from collections.abc import Mapping

from scipy import stats

from hydra_det.reports.statistics.hints import hint_of_pairs, marked


def mean_of(values: Mapping[int, float]) -> str:
    """Mean and standard deviation over seeds, of values by seed."""
    mean = f"{statistics.mean(values.values()):.3f}"
    return f"{mean} ± {statistics.stdev(values.values()):.3f}" if len(values) > 1 else mean


def difference(values: Mapping[int, float], other: Mapping[int, float]) -> str:
    """Mean of the differences by seed and its 95 % interval from Student's t; empty for fewer than two pairs.

    One without 0 is a hint where so few seeds allow no exact p below 0.05.
    """
    seeds = sorted(values.keys() & other.keys())
    if len(seeds) < 2:
        return ""
    differences = [values[seed] - other[seed] for seed in seeds]
    low, high = stats.ttest_1samp(differences, 0.0).confidence_interval(0.95)
    text = f"{statistics.mean(differences):+.3f} [{low:+.3f}, {high:+.3f}]"
    return marked(text, hint_of_pairs(len(seeds), late=False) if low > 0 or high < 0 else "")
