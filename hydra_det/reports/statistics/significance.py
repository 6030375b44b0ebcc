"""Whether two cells of an experiment differ, by how much, and how sure that is.

A cell is a configuration at a pruning ratio; its values are those of its runs. `one_way_anova` is what the paper did;
the rest is what its tables leave out: unequal variances, pairs of runs with one seed, many tests at once, the size of
an effect, and how large one must be to be found with so few runs.
"""

import functools
import math
import warnings
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import optimize, stats

LEVEL = 0.05  # of significance
POWER = 0.8  # of a test: the share of real effects of a size that it finds


class Interval(NamedTuple):
    """A confidence interval."""

    low: float
    high: float


def one_way_anova(first: ArrayLike, second: ArrayLike) -> float:
    """The p-value of the paper's test; of two groups it is that of Student's t test. NaN where nothing varies."""
    one, two = _values(first), _values(second)
    return float("nan") if _constant(one) and _constant(two) else float(stats.f_oneway(one, two).pvalue)


def welch(first: ArrayLike, second: ArrayLike) -> float:
    """The p-value of Welch's t test, which lets the two variances differ. NaN where nothing varies."""
    one, two = _values(first), _values(second)
    if _constant(one) and _constant(two):
        return float("nan")
    return float(_welch(one, two).pvalue)


def welch_interval(first: ArrayLike, second: ArrayLike, *, level: float = 1 - LEVEL) -> Interval:
    """Of the difference of the means, `second - first`, after Welch."""
    found = _welch(_values(second), _values(first)).confidence_interval(level)
    return Interval(float(found.low), float(found.high))


def paired(first: ArrayLike, second: ArrayLike) -> float:
    """The p-value of the t test of pairs: value k of both comes from the same seed. NaN where differences are equal."""
    one, two = _pairs(first, second)
    return float("nan") if _constant(two - one, one, two) else float(stats.ttest_rel(one, two).pvalue)


def paired_interval(first: ArrayLike, second: ArrayLike, *, level: float = 1 - LEVEL) -> Interval:
    """Of the mean difference of pairs, `second - first`."""
    one, two = _pairs(first, second)
    found = stats.ttest_rel(two, one).confidence_interval(level)
    return Interval(float(found.low), float(found.high))


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values of a family of tests, adjusted so that the chance of any false finding stays the level (Holm 1979).

    NaN, a test that could not be made, stays NaN and does not count.

    Example:
        >>> holm([0.01, 0.04, 0.03])
        [0.03, 0.06, 0.06]
    """
    adjusted, largest = [float("nan")] * len(p_values), 0.0
    order = sorted((p, index) for index, p in enumerate(p_values) if not math.isnan(p))
    for rank, (p, index) in enumerate(order):
        largest = max(largest, min(1.0, (len(order) - rank) * p))
        adjusted[index] = largest
    return adjusted


def least_p_of_pairs(pairs: int) -> float:
    """The least p of an exact test of pairs, which flips the signs of their differences: that where all agree.

    Example:
        >>> [least_p_of_pairs(pairs) for pairs in (3, 5, 6)]
        [0.25, 0.0625, 0.03125]
    """
    return min(1.0, 2 / 2**pairs)


def least_p_of_groups(first: int, second: int) -> float:
    """The same of two groups, whose values a permutation test deals out anew: where the groups lie apart.

    Example:
        >>> [least_p_of_groups(*sizes) for sizes in ((3, 3), (2, 3))]
        [0.1, 0.1]
    """
    return min(1.0, (2 if first == second else 1) / math.comb(first + second, first))


def hedges_g(first: ArrayLike, second: ArrayLike) -> float:
    """The difference of the means, `second - first`, in pooled standard deviations, corrected for few runs (Hedges).

    NaN where nothing varies.
    """
    one, two = _values(first), _values(second)
    return _correction(len(one) + len(two) - 2) * _cohens_d(one, two)


def hedges_interval(first: ArrayLike, second: ArrayLike, *, level: float = 1 - LEVEL) -> Interval:
    """Of Hedges' g: by the effects under which the observed t is as extreme as the level allows (noncentral t)."""
    one, two = _values(first), _values(second)
    freedom, d = len(one) + len(two) - 2, _cohens_d(one, two)
    if math.isnan(d):
        return Interval(float("nan"), float("nan"))
    scale = math.sqrt(1 / len(one) + 1 / len(two))  # of d to t
    shifts = _shifts(abs(d / scale), freedom, (1 - level) / 2)
    low, high = (_correction(freedom) * scale * shift for shift in shifts)
    return Interval(low, high) if d > 0 else Interval(-high, -low)


def paired_effect(first: ArrayLike, second: ArrayLike) -> float:
    """The mean difference of pairs, `second - first`, in standard deviations of the differences (Cohen's d_z).

    NaN where differences are equal.
    """
    one, two = _pairs(first, second)
    if _constant(two - one, one, two):
        return float("nan")
    return float((two - one).mean() / (two - one).std(ddof=1))


def paired_effect_interval(first: ArrayLike, second: ArrayLike, *, level: float = 1 - LEVEL) -> Interval:
    """Of d_z, as `hedges_interval` is of g."""
    effect, scale = paired_effect(first, second), math.sqrt(len(_values(first)))
    if math.isnan(effect):
        return Interval(float("nan"), float("nan"))
    low, high = (shift / scale for shift in _shifts(abs(effect) * scale, round(scale**2) - 1, (1 - level) / 2))
    return Interval(low, high) if effect > 0 else Interval(-high, -low)


@functools.cache
def detectable_effect(runs: int, *, level: float = LEVEL, power: float = POWER) -> float:
    """The least difference of two means, in standard deviations, that a two-sided t test of so many runs a cell finds.

    Example:
        >>> [round(detectable_effect(runs), 2) for runs in (10, 5, 3)]
        [1.33, 2.02, 3.07]
    """
    return float("inf") if runs < 2 else _detectable(2 * runs - 2, math.sqrt(runs / 2), level, power)


@functools.cache
def detectable_paired_effect(pairs: int, *, level: float = LEVEL, power: float = POWER) -> float:
    """The least d_z that a two-sided t test of so many pairs finds.

    Example:
        >>> [round(detectable_paired_effect(pairs), 2) for pairs in (10, 5, 3)]
        [1.0, 1.68, 3.26]
    """
    return float("inf") if pairs < 2 else _detectable(pairs - 1, math.sqrt(pairs), level, power)


def _detectable(freedom: int, scale: float, level: float, power: float) -> float:
    """The effect that a t test finds with a power; `scale` takes an effect to the shift of its t."""
    limit = float(stats.t.ppf(1 - level / 2, freedom))

    def missing(effect: float) -> float:
        shift = effect * scale
        above, below = float(stats.nct.sf(limit, freedom, shift)), float(stats.nct.cdf(-limit, freedom, shift))
        return above + (0.0 if math.isnan(below) else below) - power  # scipy has NaN for some chances below 1e-15

    return _solve(missing, 1.0)


def _welch(one: NDArray[np.float64], two: NDArray[np.float64]) -> Any:
    with warnings.catch_warnings():
        # Of a cell in which nothing varies, which is fine as long as the other one does.
        warnings.filterwarnings("ignore", "Precision loss", RuntimeWarning)
        return stats.ttest_ind(one, two, equal_var=False)


def _cohens_d(one: NDArray[np.float64], two: NDArray[np.float64]) -> float:
    freedom = len(one) + len(two) - 2
    if _constant(one) and _constant(two):
        return float("nan")
    pooled = math.sqrt(((len(one) - 1) * one.var(ddof=1) + (len(two) - 1) * two.var(ddof=1)) / freedom)
    return float(two.mean() - one.mean()) / pooled


def _correction(freedom: int) -> float:
    """By which the standardised difference of small samples is too large, exactly."""
    return math.exp(math.lgamma(freedom / 2) - math.lgamma((freedom - 1) / 2)) / math.sqrt(freedom / 2)


def _shifts(t: float, freedom: int, tail: float) -> tuple[float, float]:
    """The shifts under which a noncentral t is above, or below, a t of 0 or more with the chance `tail`.

    T = (Z + shift) / S is below t where shift is below tS - Z, with Z normal and S a scaled chi: the shifts are
    quantiles of that difference, whose distribution also far from 0 is easy, other than that of T.
    """
    if t < 10:  # here the corner of the distribution of S at 0 is near
        low = _solve(lambda shift: float(stats.nct.sf(t, freedom, shift)) - tail, t)
        return low, _solve(lambda shift: tail - float(stats.nct.cdf(t, freedom, shift)), t)
    nodes, weights = np.polynomial.hermite_e.hermegauss(101)
    weights = weights / weights.sum()

    def below(shift: float) -> float:
        squares = freedom * np.maximum(0, (shift + nodes) / t) ** 2
        return float(weights @ stats.chi2.cdf(squares, freedom))

    ends = t * np.sqrt(stats.chi2.ppf([tail / 2, 1 - tail / 2], freedom) / freedom) + [-9, 9]
    low, high = (optimize.brentq(lambda shift, p=p: below(shift) - p, *ends) for p in (tail, 1 - tail))
    return float(low), float(high)


def _solve(rising: Callable[[float], float], near: float) -> float:
    """The root of a rising function."""
    low, high = near, near
    while rising(low) > 0:
        low -= 0.5
    while rising(high) < 0:
        high += 0.5
    return float(optimize.brentq(rising, low, high)) if high > low else near


def _values(given: ArrayLike) -> NDArray[np.float64]:
    found = np.asarray(given, dtype=np.float64)
    if found.ndim != 1 or len(found) < 2:
        raise ValueError(f"expected two values or more, one a run, got {found.size}")
    return found


def _pairs(first: ArrayLike, second: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    one, two = _values(first), _values(second)
    if len(one) != len(two):
        raise ValueError(f"expected pairs of runs, got {len(one)} and {len(two)}")
    return one, two


def _constant(values: NDArray[np.float64], *origins: NDArray[np.float64]) -> bool:
    """Whether values are equal but for rounding: of themselves, or of what they are differences of."""
    scale = max(float(np.abs(origin).max()) for origin in (values, *origins))
    return float(np.ptp(values)) <= 1e-12 * scale
