"""Tests of cells: against the paper's printed figures, formulas written out, and simulated experiments."""

import math

import numpy as np
import pytest
from scipy import stats

from hydra_det.reports.paper import CONFIGURATIONS, paper_results
from hydra_det.reports.statistics import significance
from hydra_det.reports.statistics.paper_cells import paper_p_values

FIRST, SECOND = [0.30, 0.32, 0.31, 0.35, 0.29], [0.36, 0.37, 0.33, 0.41, 0.35]


def test_all_p_values_of_the_paper_to_the_printed_digits():
    found = paper_p_values()
    assert len(found) == 90
    assert found["table"].value_counts().to_dict() == {"I": 36, "II": 36, "III": 9, "IV": 9}
    for row in found.to_dict("records"):
        exponent = math.floor(math.log10(row["computed"]))
        digits = row["computed"] / 10**exponent * 100
        # Its tables of mAP are cut off, those of time are rounded.
        shown = math.floor(digits + 1e-9) if row["metric"] == "map_attacked" else round(digits)
        assert f"{shown * 10 ** (exponent - 2):.2e}" == f"{row['p_value']:.2e}", row


def test_the_paper_has_five_configurations_nine_ratios_and_ten_runs():
    found = paper_results()
    cells = found.groupby(["granularity", "init", "greyscale"])
    assert {tuple(name) for name, _ in cells} == {tuple(cell) for cell in CONFIGURATIONS.values()}
    for _, cell in cells:
        assert sorted(cell["prune_ratio"].unique()) == [0, 0.25, 0.5, 0.65, 0.75, 0.85, 0.9, 0.95, 0.99]
        assert (cell.groupby("prune_ratio").size() == 10).all()


def test_anova_of_two_groups_by_hand():
    one, two = np.array(FIRST), np.array(SECOND)
    grand = np.concatenate([one, two]).mean()
    between = 5 * ((one.mean() - grand) ** 2 + (two.mean() - grand) ** 2)
    within = (((one - one.mean()) ** 2).sum() + ((two - two.mean()) ** 2).sum()) / 8
    assert significance.one_way_anova(FIRST, SECOND) == pytest.approx(stats.f.sf(between / within, 1, 8))


def test_welch_by_hand():
    one, two = np.array(FIRST), np.array([0.5, 0.1, 0.9])
    error = np.array([one.var(ddof=1) / 5, two.var(ddof=1) / 3])
    freedom = error.sum() ** 2 / (error**2 / np.array([4, 2])).sum()
    difference = two.mean() - one.mean()
    p = 2 * stats.t.sf(abs(difference) / math.sqrt(error.sum()), freedom)
    assert significance.welch(one, two) == pytest.approx(p)
    reach = stats.t.ppf(0.975, freedom) * math.sqrt(error.sum())
    assert significance.welch_interval(one, two) == pytest.approx((difference - reach, difference + reach))


def test_pairs_by_hand():
    differences = np.array(SECOND) - np.array(FIRST)
    error = differences.std(ddof=1) / math.sqrt(5)
    p = 2 * stats.t.sf(differences.mean() / error, 4)
    assert significance.paired(FIRST, SECOND) == pytest.approx(p)
    assert significance.paired(FIRST, SECOND) < significance.welch(FIRST, SECOND), "the pairs vary together"
    reach = stats.t.ppf(0.975, 4) * error
    interval = significance.paired_interval(FIRST, SECOND)
    assert interval == pytest.approx((differences.mean() - reach, differences.mean() + reach))


def test_holm_by_hand():
    # Sorted 0.005 * 4, 0.01 * 3, 0.03 * 2, 0.04 * 1, and never less than the one before.
    assert significance.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert significance.holm([0.9, 0.8]) == [1.0, 1.0]
    adjusted = significance.holm([0.02, float("nan"), 0.03])
    assert adjusted[0] == 0.04, "a test that could not be made does not count"
    assert math.isnan(adjusted[1])
    assert significance.holm([]) == []


def test_holm_keeps_its_promise():
    """Of 1000 families of 9 tests in which nothing differs, about 5 % may hold a finding."""
    generator = np.random.default_rng(0)
    false = 0
    for _ in range(1000):
        one, two = generator.normal(size=(2, 9, 5))
        p = stats.ttest_ind(one, two, axis=1).pvalue
        false += min(significance.holm(p.tolist())) < 0.05
    assert 25 <= false <= 75


def test_hedges_g_by_hand():
    one, two = np.array(FIRST), np.array(SECOND)
    pooled = math.sqrt((one.var(ddof=1) + two.var(ddof=1)) / 2)
    d = (two.mean() - one.mean()) / pooled
    assert significance.hedges_g(FIRST, SECOND) == pytest.approx(d * (1 - 3 / (4 * 8 - 1)), rel=1e-3)
    assert significance.hedges_g(SECOND, FIRST) == pytest.approx(-significance.hedges_g(FIRST, SECOND))


def test_the_interval_of_an_effect_covers_it():
    generator, effect, hits = np.random.default_rng(1), 1.2, 0
    for _ in range(400):
        low, high = significance.hedges_interval(generator.normal(size=5), generator.normal(size=5) + effect, level=0.9)
        assert low < high
        hits += low <= effect <= high
    assert 0.85 <= hits / 400 <= 0.95
    low, high = significance.hedges_interval(FIRST, SECOND)
    assert low < significance.hedges_g(FIRST, SECOND) < high


@pytest.mark.parametrize("apart", [0.0, 0.02, 0.1, 0.5, 30.0, 1e6])
@pytest.mark.parametrize("runs", [2, 3, 10])
def test_the_interval_of_an_effect_is_that_of_simulated_experiments(apart, runs):
    """Also of times, which may be a thousand standard deviations apart, where the noncentral t breaks down."""
    one = np.resize([0.30, 0.32, 0.31], runs)
    two = one[::-1] + apart
    pooled, freedom = math.sqrt((one.var(ddof=1) + two.var(ddof=1)) / 2), 2 * runs - 2
    generator = np.random.default_rng(3)
    z, s = generator.normal(size=1_000_000), np.sqrt(generator.chisquare(freedom, 1_000_000) / freedom)
    # The effects that would show as this one: of what is seen, noise is taken away and the spread made out again.
    effects = (two.mean() - one.mean()) / pooled * s - z * math.sqrt(2 / runs)
    correction = significance.hedges_g(one, two) / ((two.mean() - one.mean()) / pooled) if apart else 1.0
    low, high = significance.hedges_interval(one, two)
    if apart:
        assert (low, high) == pytest.approx(correction * np.quantile(effects, [0.025, 0.975]), rel=0.02, abs=0.02)
    assert significance.hedges_interval(two, one) == pytest.approx((-high, -low), rel=1e-6)


@pytest.mark.parametrize("runs", [3, 5, 10])
def test_the_detectable_effect_is_found_in_four_of_five_experiments(runs):
    effect = significance.detectable_effect(runs)
    one, two = np.random.default_rng(runs).normal(size=(2, 20_000, runs))
    found = (stats.ttest_ind(one, two + effect, axis=1).pvalue < 0.05).mean()
    assert found == pytest.approx(0.8, abs=0.015)
    assert significance.detectable_effect(1) == float("inf")


def test_the_effect_of_pairs_by_hand():
    """Differences of 0.06, 0.05, 0.02, 0.06 and 0.06: mean 0.05, variance 0.0003."""
    assert significance.paired_effect(FIRST, SECOND) == pytest.approx(0.05 / math.sqrt(0.0003))
    low, high = significance.paired_effect_interval(FIRST, SECOND)
    t = 0.05 / math.sqrt(0.0003 / 5)
    # The effects of which the t that was found is the 97.5th and the 2.5th percentile.
    assert stats.nct.cdf(t, 4, low * math.sqrt(5)) == pytest.approx(0.975, abs=1e-4)
    assert stats.nct.cdf(t, 4, high * math.sqrt(5)) == pytest.approx(0.025, abs=1e-4)
    assert significance.paired_effect_interval(SECOND, FIRST) == pytest.approx((-high, -low))
    same = np.array(FIRST) + 0.05
    assert math.isnan(significance.paired_effect(FIRST, same))
    assert all(math.isnan(end) for end in significance.paired_effect_interval(FIRST, same))


@pytest.mark.parametrize("pairs", [2, 3, 5, 10])
def test_the_detectable_effect_of_pairs_is_found_in_four_of_five_experiments(pairs):
    effect = significance.detectable_paired_effect(pairs)
    differences = np.random.default_rng(pairs).normal(effect, 1, size=(20_000, pairs))
    assert (stats.ttest_1samp(differences, 0, axis=1).pvalue < 0.05).mean() == pytest.approx(0.8, abs=0.015)
    assert significance.detectable_paired_effect(1) == float("inf")


def test_where_nothing_varies_there_is_no_test():
    same = [0.5, 0.5, 0.5]
    for test in (significance.one_way_anova, significance.welch, significance.paired, significance.hedges_g):
        assert math.isnan(test(same, [0.6, 0.6, 0.6])), test.__name__
    assert all(math.isnan(end) for end in significance.hedges_interval(same, same))


@pytest.mark.filterwarnings("error")
def test_one_cell_may_be_constant():
    constant, other = [0.2, 0.2, 0.2, 0.2], [0.30, 0.32, 0.31]
    once = stats.ttest_1samp(other, 0.2)  # only the other one adds to the error
    assert significance.welch(constant, other) == pytest.approx(once.pvalue)
    assert significance.welch_interval(constant, other) == pytest.approx(
        np.subtract(once.confidence_interval(0.95), 0.2)
    )


def test_equal_differences_are_equal_also_where_they_are_rounded():
    one = np.array([0.1, 0.2, 0.7])
    two = one + 0.05
    assert len(set(two - one)) > 1, "for the last bit"
    assert math.isnan(significance.paired(one, two))


@pytest.mark.parametrize("few", [[], [0.5]])
def test_one_run_is_no_cell(few):
    with pytest.raises(ValueError, match="expected two values or more"):
        significance.welch(few, FIRST)
    with pytest.raises(ValueError, match="expected pairs of runs, got 5 and 2"):
        significance.paired(FIRST, [0.1, 0.2])
