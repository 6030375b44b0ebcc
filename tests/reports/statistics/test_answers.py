"""Answers to claims: numbers worked out by hand for three seeds, whose t is above 4.303 in one of twenty cases."""

import dataclasses
import math

import pytest
from scipy import stats

from hydra_det.records.table import records_frame
from hydra_det.reports.runs import failed_runs
from hydra_det.reports.statistics.answers import (
    ANSWER_COLUMNS,
    AS_ABOVE,
    NO,
    NOT_TESTED,
    TIMES,
    UNDECIDED,
    YES,
    answers,
    is_tested,
    shown,
)
from hydra_det.reports.statistics.claims import BEST, IMPROVEMENTS, Claim
from tests.reports.example import grid, grid_record, latency
from tests.reports.statistics.test_claims import SCALED, WEIGHT, frame_of, variant

DEEPLIFT = Claim("DeepLIFT is ahead", "map_attacked", {"init": "deeplift_paper"}, {"init": "scaled"})
PAIR = f"{WEIGHT} against {SCALED}"


def both(differences, ratio=0.5, level=0.2):
    """A run of both configurations a seed, that far apart."""
    return [
        record
        for seed, difference in enumerate(differences)
        for record in (
            variant(SCALED, seed, ratio, ap=level + seed / 100),
            variant(WEIGHT, seed, ratio, ap=level + seed / 100 + difference),
        )
    ]


def answer(frame, claim=DEEPLIFT, failures=()):
    (row,) = answers(frame, failures, claims=[claim]).to_dict("records")
    return row


@pytest.mark.parametrize(
    ("differences", "effect", "reach", "p", "expected"),
    [
        # mean ± 4.303 sd / sqrt(3); p = 1 - t / sqrt(t² + 2), Student's distribution of two degrees of freedom
        ((0.10, 0.11, 0.12), 0.11, 0.0248414, 0.0027435, YES),
        ((-0.10, -0.11, -0.12), -0.11, 0.0248414, 0.0027435, NO),
        ((0.000, 0.001, -0.001), 0.0, 0.0024841, 1.0, NO),  # nothing, for certain
        ((0.05, -0.03, 0.04), 0.02, 0.1082808, 0.5101021, UNDECIDED),
        ((0.002, 0.003, 0.004), 0.003, 0.0024841, 0.0350987, YES),  # it is there, and too small to matter
    ],
)
def test_an_answer_by_hand(differences, effect, reach, p, expected):
    row = answer(frame_of(*both(differences)))
    assert tuple(row) == ANSWER_COLUMNS
    assert row["n"] == 3
    assert row["effect"] == pytest.approx(effect, abs=1e-9)
    assert row["low"] == pytest.approx(effect - reach, abs=1e-6)
    assert row["high"] == pytest.approx(effect + reach, abs=1e-6)
    assert row["p"] == row["p_holm"] == pytest.approx(p, abs=1e-6)
    assert row["d_z"] == pytest.approx(effect / (reach * math.sqrt(3) / 4.30265), abs=1e-3)
    assert row["answer"] == expected
    small = -0.01 < effect - reach < effect + reach < 0.01
    assert ("interval below what matters, +0.010" in row["note"]) == small
    assert (row["mean_ahead"], row["mean_behind"]) == (pytest.approx(0.21 + effect), pytest.approx(0.21))
    assert (row["comparisons"], row["ratios"], row["failed"]) == (PAIR, "50 %", 0)


def test_what_the_seeds_could_have_found_against_the_power_of_the_test():
    row = answer(frame_of(*both((0.10, 0.11, 0.12))))
    shift = row["detectable"] / 0.01 * math.sqrt(3)
    limit = stats.t.ppf(0.975, 2)
    assert stats.nct.sf(limit, 2, shift) + stats.nct.cdf(-limit, 2, shift) == pytest.approx(0.8, abs=1e-6)


def test_a_seed_is_the_mean_over_comparisons_and_ratios():
    """Two ratios whose differences of a seed are 0.1 ± 0.05: the means nearly are alike."""
    frame = frame_of(*both((0.15, 0.05, 0.151)), *both((0.05, 0.15, 0.051), ratio=0.75))
    row = answer(frame)
    assert row["effect"] == pytest.approx((0.1 + 0.1 + 0.101) / 3)
    assert row["high"] - row["low"] == pytest.approx(2 * 4.30265 * 0.000577350 / math.sqrt(3), rel=1e-4)
    assert row["ratios"] == "50 %, 75 %"
    only = answer(frame, DEEPLIFT._replace(ratios=(0.6, 0.9)))
    assert (only["ratios"], only["effect"]) == ("75 %", pytest.approx(0.251 / 3))


def test_one_seed_is_no_test():
    row = answer(frame_of(*both((0.1,))))
    assert (row["answer"], row["n"], row["effect"]) == (NOT_TESTED, 1, pytest.approx(0.1))
    assert row["note"] == "one seed: a test needs two or more"
    assert math.isnan(row["p"])
    assert math.isnan(row["p_holm"])


def test_no_spread_is_no_test():
    row = answer(frame_of(*both((0.1, 0.1, 0.1))))
    assert (row["answer"], row["note"]) == (NOT_TESTED, "every seed differs by the same: no test")


def test_nothing_to_compare_is_not_tested():
    row = answer(frame_of(variant(WEIGHT), variant(WEIGHT, 1)))
    assert (row["answer"], row["n"], row["comparisons"]) == (NOT_TESTED, 0, "")
    assert row["note"] == "no runs with init scaled"
    row = answer(frame_of(variant(WEIGHT), variant(SCALED, hardening="fast")))
    assert row["note"] == "no two runs that are alike but for init deeplift_paper and init scaled"
    row = answer(frame_of())
    assert row["note"] == "no runs with init deeplift_paper and none with init scaled"
    row = answer(frame_of(variant(WEIGHT), variant(SCALED)), DEEPLIFT._replace(both={"hardening": ("fast", "free")}))
    assert row["note"] == "no runs with init deeplift_paper among those with hardening fast or free"
    row = answer(frame_of(variant(WEIGHT, 0), variant(SCALED, 1)))
    assert (row["answer"], row["note"]) == (NOT_TESTED, "no seed has AP attacked of both")


def test_a_ratio_that_lacks_a_seed_is_left_out_for_all():
    whole, part = both((0.10, 0.11, 0.12)), both((0.9, 0.9, 0.8), ratio=0.75)
    row = answer(frame_of(*whole, *part[:-1]))  # deeplift of seed 2 is missing
    assert (row["n"], row["ratios"], row["effect"]) == (3, "50 %", pytest.approx(0.11))
    assert row["note"] == "left out for want of a seed: 75 %"


def test_where_no_ratio_has_every_seed_the_rarest_seed_goes():
    first, second = both((0.10, 0.11, 0.12)), both((0.20, 0.21, 0.22, 0.23), ratio=0.75)
    row = answer(frame_of(*first, *second[:4], *second[6:]))  # at 75 % seeds 0, 1 and 3, at 50 % seeds 0, 1 and 2
    assert (row["n"], row["ratios"]) == (3, "50 %")
    assert row["note"] == "seed 3 left out; left out for want of a seed: 75 %"


def test_a_seed_that_has_only_begun_costs_the_others_no_ratio():
    whole = [both((0.10, 0.11, 0.12), ratio=ratio) for ratio in (0.5, 0.75)]
    row = answer(frame_of(*whole[0], *whole[1], *both((0.1, 0.1, 0.1, 0.9), ratio=0.9)))
    assert (row["n"], row["ratios"], row["note"]) == (3, "50 %, 75 %, 90 %", "seed 3 left out")


def test_what_is_said_of_every_pair_is_answered_for_each():
    """Ahead by 0.11 with weights, behind by as much with kernels: the mean of both is no answer."""
    pairs = {name: [f"deeplift_paper, {name}", f"scaled, {name}"] for name in ("weight", "kernel")}
    records = [
        variant(configuration, seed, 0.5, ap=0.3 + seed / 100 + ahead)
        for name, sign in (("weight", 1), ("kernel", -1))
        for seed in range(3)
        for configuration, ahead in zip(pairs[name], (sign * (0.10 + seed / 100), 0.0), strict=True)
    ]
    assert answer(frame_of(*records))["effect"] == pytest.approx(0, abs=1e-9)
    found = answers(frame_of(*records), claims=[DEEPLIFT._replace(each=True)])
    assert dict(zip(found["comparisons"], found["answer"], strict=True)) == {
        "deeplift_paper, weight against scaled, weight": YES,
        "deeplift_paper, kernel against scaled, kernel": NO,
    }


def test_holm_by_hand():
    """p of 0.0027 and 0.0351 of a family of two: 0.0055 and 0.0351; the third, not tested, does not count."""
    frame = frame_of(*both((0.10, 0.11, 0.12)), *both((0.002, 0.003, 0.004), ratio=0.75))
    claims = [
        DEEPLIFT._replace(ratios=(0.5, 0.5)),
        DEEPLIFT._replace(ratios=(0.75, 0.75)),
        DEEPLIFT._replace(ratios=(0.9, 0.9)),
        DEEPLIFT._replace(ratios=(0.75, 0.75), family=IMPROVEMENTS),
    ]
    found = answers(frame, claims=claims)
    assert found["p_holm"].tolist()[:2] == pytest.approx([2 * 0.0027435, 0.0350987], abs=2e-6)
    assert math.isnan(found["p_holm"][2])
    assert found["p_holm"][3] == pytest.approx(0.0350987, abs=2e-6), "a family of its own"
    two = answers(frame, claims=[claims[1], claims[1]._replace(beyond=-1e-9)])
    assert two["answer"].tolist() == [NO, NO], "0.07 after Holm, and too small to matter"
    assert answers(frame, claims=[claims[1]])["answer"].tolist() == [YES]


def test_no_worse_by_more_than_a_margin():
    """Differences of -0.001, -0.002 and -0.003 are 0.008 above the margin, 13.86 standard errors: p 0.0052."""
    claim = DEEPLIFT._replace(beyond=-0.01, smallest=0.0)
    row = answer(frame_of(*both((-0.001, -0.002, -0.003))), claim)
    assert row["effect"] == pytest.approx(-0.002)
    assert row["p"] == pytest.approx(0.0051680, abs=2e-6)
    assert row["answer"] == YES
    assert answer(frame_of(*both((-0.101, -0.102, -0.103))), claim)["answer"] == NO
    assert answer(frame_of(*both((-0.001, -0.012, -0.02))), claim)["answer"] == UNDECIDED


def test_networks_that_find_nothing_answer_nothing():
    """The same differences, at an AP of 0.21 and of 0.01: what has nothing cannot lose."""
    nothing, margin = (0.000, 0.001, -0.001), DEEPLIFT._replace(beyond=-0.01, smallest=0.0)
    assert answer(frame_of(*both(nothing)))["answer"] == NO
    assert answer(frame_of(*both(nothing)), margin)["answer"] == YES
    for claim in (DEEPLIFT, margin):
        row = answer(frame_of(*both(nothing, level=0.0)), claim)
        assert (row["answer"], row["note"]) == (UNDECIDED, "the AP of both is near 0: too little for an answer")
        assert row["mean_ahead"] == pytest.approx(0.01)
    # a difference all the same
    row = answer(frame_of(*both((0.0030, 0.0031, 0.0032), level=0.0)))
    assert (row["answer"], row["note"]) == (YES, "the AP of both is near 0; interval below what matters, +0.010")


def test_a_ratio_at_which_neither_side_finds_anything_is_left_out():
    """Else its difference of 0 would make that of another ratio look small: here -0.02 at 50 %, in the mean -0.01."""
    less, nothing = (-0.019, -0.02, -0.021), (0.0, 0.0, 0.0)
    at_the_floor = [
        dataclasses.replace(record, metrics=variant(WEIGHT, ap=0.001).metrics) for record in both(nothing, ratio=0.95)
    ]
    row = answer(frame_of(*both(less), *at_the_floor))
    assert (row["ratios"], row["effect"]) == ("50 %", pytest.approx(-0.02))
    assert row["note"] == "left out, as both find nearly nothing: 95 %"
    kept = answer(frame_of(*both(less), *both(nothing, ratio=0.95)))
    assert (kept["ratios"], kept["note"]) == ("50 %, 95 %", "")
    speed = answer(frame_of(*both(less), *at_the_floor), DEEPLIFT._replace(metric="speed_up", relative=True))
    assert speed["ratios"] == "50 %, 95 %", "time is what it is"


def test_faster_than_another_and_slower_than_the_dense_network():
    def timed(name, seed, milliseconds):
        times = {"dense": latency(100.0), "compact": latency(milliseconds + seed), "pruned": latency(1.0)}
        return dataclasses.replace(variant(name, seed), latency=times)

    claim = DEEPLIFT._replace(metric="speed_up", relative=True, smallest=math.log(1.05))
    for level, note in ((150.0, "both are slower than the dense network"), (50.0, "")):
        runs = [timed(name, seed, level * by) for seed in range(3) for name, by in ((WEIGHT, 1.0), (SCALED, 1.5))]
        row = answer(frame_of(*runs), claim)
        assert (row["answer"], row["note"]) == (YES, note)


def test_a_quotient_is_of_geometric_means():
    """Speed-ups of 4, 2 and 2 over 2, 2 and 1: quotients 2, 1 and 2, whose logarithms have the mean 2/3 ln 2."""
    times = [(SCALED, 0, 2.0), (SCALED, 1, 2.0), (SCALED, 2, 1.0), (WEIGHT, 0, 4.0), (WEIGHT, 1, 2.0), (WEIGHT, 2, 2.0)]
    records = [
        dataclasses.replace(
            variant(name, seed),
            latency={"dense": latency(100 - 5.75), "compact": latency(100 / factor - 5.75), "pruned": latency(1.0)},
        )
        for name, seed, factor in times
    ]
    claim = DEEPLIFT._replace(metric="speed_up", relative=True, smallest=math.log(1.05))
    row = answer(frame_of(*records), claim)
    assert row["effect"] == pytest.approx(2 ** (2 / 3))
    assert (row["mean_ahead"], row["mean_behind"]) == pytest.approx((2 ** (4 / 3), 2 ** (2 / 3)))
    assert row["high"] == pytest.approx(2 ** (2 / 3 + 4.30265 / 3), rel=1e-5)
    assert (row["smallest"], row["answer"]) == (pytest.approx(1.05), UNDECIDED)
    assert shown(answers(frame_of(*records), claims=[claim]))["effect [95 %]"][0].startswith(
        f"{TIMES}1.59 [{TIMES}0.59, {TIMES}4.29]"
    )
    less = answer(frame_of(*records), claim._replace(lower=True))
    assert less["effect"] == pytest.approx(2 ** (-2 / 3)), "the smaller value is ahead"


def test_failed_runs_of_a_claim_are_counted():
    records = grid([WEIGHT, SCALED], ratios=[0.5], seeds=range(3))
    failures = {
        "shapes_scaled_weight_0.9_seed0": 1,  # its finished runs have other folders
        "scaled_weight_0.9_seed1": 1,
        "7_scaled_weight_0.95_seed2": 1,
        "scaled_weight_0_seed2": 1,  # nothing was pruned, so not of the claim
        "deeplift_paper_kernel_0.9_seed0": 1,
        "scaled_weight_0.5_seed0": 1,  # an earlier start; its record is there
    }
    row = answer(records_frame(records), failures=failures)
    assert row["failed"] == 2
    assert row["note"].endswith("failed runs of these configurations, which are in no mean: 2, at 90 %, 95 %")


def test_failed_runs_are_told_by_the_sweep_they_lie_in():
    """Sweeps call their folders alike whatever else was typed, so the one of a failed run says most."""
    records = {"a/weight_0.5_seed0": variant(WEIGHT), "b/weight_0.5_seed0": variant(WEIGHT, allocation="learned")}
    frame = records_frame(records)
    learned = f"{WEIGHT}, learned"
    assert failed_runs(frame, ["b/3_weight_0.9_seed1"]) == {learned: [0.9]}
    assert failed_runs(frame, ["c/weight_0.9_seed1"]) == {"": [0.9]}, "it may be of either"
    assert failed_runs(frame, ["a/weight_0.5_seed0"]) == {}, "it was run again"
    (unknown,) = failed_runs(frame, ["a/something"])[""]
    assert math.isnan(unknown)


def test_runs_that_answer_two_claims_count_once():
    frame = frame_of(*both((0.10, 0.11, 0.12)))
    claims = [DEEPLIFT, DEEPLIFT._replace(words="again"), DEEPLIFT._replace(words="other", ratios=(0.9, 0.9))]
    found = answers(frame, claims=claims)
    assert found["answer"].tolist() == [YES, AS_ABOVE, NOT_TESTED]
    assert found["note"][1] == "the same runs as of: DeepLIFT is ahead"
    assert found["p_holm"][0] == found["p"][0], "a family of one test"
    text = shown(found).loc[1]
    assert (text["effect [95 %]"], text["p"], text["means"], text["seeds"]) == ("", "", "", "3")
    assert not is_tested(found.iloc[1:])
    assert len(answers(frame, claims=[*claims[1:], claims[2]])) == 3, "claims without runs stand for themselves"


def test_a_p_that_rounding_would_put_on_the_level_shows_on_which_side_it_is():
    rows = answers(frame_of(*both((0.10, 0.11, 0.12))), claims=[DEEPLIFT])
    values = (0.0496, 0.05, 0.0504, 0.04999996, 0.0449, 1.0, 1e-9)
    texts = [shown(rows.assign(p=value))["p"][0] for value in values]
    assert texts == ["0.0496", "0.05", "0.05", "0.04999996", "0.045", "1", "1e-09"]


def test_sides_that_differ_in_more_are_named():
    records = both((0.10, 0.11, 0.12))
    assert answer(frame_of(*records))["note"] == ""
    for record in records:
        if record.config["choices"]["init"] == "scaled":
            record.config["model"] = {"width": 0.5}
    found = answer(frame_of(*records))
    assert found["note"] == f"compared although their configs differ in more: {WEIGHT} and {SCALED}"
    assert found["answer"] == YES


def test_ours_have_a_row_a_configuration():
    claim = Claim(
        "ours", "map_attacked", {"allocation": "learned"}, {"allocation": "uniform", "init": "deeplift_paper"}
    )
    runs = [variant(WEIGHT), variant(WEIGHT, allocation="learned"), variant(SCALED, allocation="learned")]
    names = [f"{WEIGHT}, learned against {WEIGHT}", f"{SCALED}, learned against {WEIGHT}"]
    assert answers(frame_of(*runs), claims=[claim])["comparisons"].tolist() == ["; ".join(names)]
    found = answers(frame_of(*runs), claims=[claim._replace(family=IMPROVEMENTS)])
    assert found["comparisons"].tolist() == names


def test_the_papers_claims_in_runs_made_to_bear_some_of_them_out():
    """In `grid` weights are 0.03 or more ahead of kernels, colour 0.08 of grey; masks save no time."""
    found = answers(records_frame(grid(seeds=range(5))))
    rows = {(row["claim"].split()[0], row["metric"]): row for row in found.to_dict("records")}
    assert rows["Adversarial", "map_attacked"]["answer"] == NOT_TESTED
    assert rows["Unstructured", "map_attacked"]["answer"] == YES
    assert rows["Unstructured", "map_attacked"]["effect"] == pytest.approx(0.035, abs=0.006)
    assert rows["Structured", "speed_up_masked"]["answer"] == NO
    assert rows["Structured", "speed_up"]["answer"] == YES
    assert rows["Structured", "speed_up"]["ratios"] == "50 %, 90 %"
    assert rows["Models", "map_attacked"]["answer"] == YES
    assert rows["Models", "map_attacked"]["ratios"] == "0 %, 50 %, 90 %"
    assert rows["DeepLIFT", "map_attacked"]["ratios"] == "50 %"
    assert set(found.loc[found["family"] == IMPROVEMENTS, "answer"]) == {NOT_TESTED}
    assert is_tested(found)


@pytest.mark.parametrize("records", [{}, {"a": grid_record(WEIGHT, 0.5, 0)}])
def test_too_few_runs_test_nothing(records):
    found = answers(records_frame(records))
    assert not is_tested(found)
    assert set(shown(found)["answer"]) == {NOT_TESTED}
    assert set(shown(found)["p"]) == {""}


def test_the_best_of_the_papers_was_chosen_by_these_seeds_so_to_be_behind_it_is_no_proof():
    behind = both((-0.10, -0.11, -0.12))
    claim = DEEPLIFT._replace(behind=BEST)
    row = answer(frame_of(*behind), claim)
    assert (row["comparisons"], row["answer"]) == (PAIR, UNDECIDED)
    assert answer(frame_of(*behind))["answer"] == NO
