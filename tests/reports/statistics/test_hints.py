"""What a hint is: against exact tests by brute force, which try every sign and every way to deal out the values."""

import itertools
import re

import numpy as np
import pytest

from hydra_det.reports.late_decisions import LateDecision
from hydra_det.reports.statistics.answers import NO, UNDECIDED, YES, answers, shown
from hydra_det.reports.statistics.claims import BEST, Claim
from hydra_det.reports.statistics.comparisons import compare
from hydra_det.reports.statistics.hints import LATE, hint_of_groups, hint_of_pairs, hints_in_words, marked
from publish.draw_allocation import _cell
from tests.reports.statistics.test_answers import DEEPLIFT, both
from tests.reports.statistics.test_claims import frame_of

AGREEING = (0.10, 0.11, 0.12, 0.13, 0.11, 0.12, 0.10)  # differences, a seed each
LATE_RUNS = [LateDecision("They came after a look.", ratios=(0.5,))]


def by_signs(differences):
    """The p of the exact test of pairs: how many ways to choose the signs give as large a mean."""
    signs = itertools.product((1, -1), repeat=len(differences))
    means = [abs(np.mean(np.multiply(chosen, differences))) for chosen in signs]
    return np.mean([mean >= abs(np.mean(differences)) - 1e-12 for mean in means])


def by_dealing(first, second):
    """The p of the exact test of two groups: how many ways to deal out the values set them as far apart."""
    every, count = [*first, *second], len(first)
    apart = []
    for chosen in itertools.combinations(range(len(every)), count):
        one = [every[place] for place in chosen]
        two = [value for place, value in enumerate(every) if place not in chosen]
        apart.append(abs(np.mean(one) - np.mean(two)))
    return np.mean([value >= abs(np.mean(first) - np.mean(second)) - 1e-12 for value in apart])


def answered(seeds, sign=1, claim=DEEPLIFT, late=()):
    table = answers(frame_of(*both([sign * value for value in AGREEING[:seeds]])), claims=[claim], late=late)
    return table.iloc[0], shown(table).iloc[0]


@pytest.mark.parametrize("seeds", range(2, 8))
def test_so_few_pairs_that_no_exact_test_finds_anything_are_a_hint(seeds):
    least = by_signs(AGREEING[:seeds])
    words = hint_of_pairs(seeds, late=False)
    assert words == (f"with {seeds} seeds no exact p below {least:.3g} is possible" if least >= 0.05 else "")


@pytest.mark.parametrize(("first", "second"), [(2, 2), (2, 3), (3, 3), (2, 5), (3, 4), (4, 4)])
def test_so_few_in_two_groups_are_a_hint(first, second):
    least = by_dealing(np.linspace(0, 0.1, first), np.linspace(5, 5.1, second))
    words = hint_of_groups(first, second, late=False)
    said = f"with {first} and {second} seeds no exact p below {least:.3g} is possible"
    assert words == (said if least >= 0.05 else "")


@pytest.mark.parametrize(("sign", "found"), [(1, YES), (-1, NO)])
def test_five_seeds_that_agree_are_a_hint_and_six_are_none(sign, found):
    row, text = answered(5, sign)
    assert (row["answer"], text["answer"]) == (found, f"{found} (hint)")
    assert row["hint"] == "with 5 seeds no exact p below 0.0625 is possible"
    row, text = answered(6, sign)
    assert (row["answer"], row["hint"], text["answer"], row["note"]) == (found, "", found, "")


def test_what_was_decided_on_late_is_a_hint_with_any_number_of_seeds():
    row, text = answered(7, late=LATE_RUNS)
    assert (row["hint"], text["answer"], text["note"]) == (LATE, "yes (hint)", LATE)
    row, _ = answered(5, late=LATE_RUNS)
    assert row["hint"] == f"{LATE}; with 5 seeds no exact p below 0.0625 is possible"
    for late in (
        [LateDecision("Another ratio.", ratios=(0.9,))],
        [LateDecision("Another claim.", claims=("Something else",))],
        [LateDecision("This claim at another ratio.", ratios=(0.9,), claims=(DEEPLIFT.words,))],
    ):
        assert answered(7, late=late)[0]["hint"] == ""
    for late in (
        [LateDecision("All of it.")],
        [LateDecision("This claim.", claims=("Something else", DEEPLIFT.words))],
        [LateDecision("Another ratio.", ratios=(0.9,)), *LATE_RUNS],
    ):
        assert answered(7, late=late)[0]["hint"] == LATE


def test_what_is_undecided_is_no_hint_yet_says_that_it_was_decided_on_late():
    row, text = answered(5, -1, DEEPLIFT._replace(behind=BEST), LATE_RUNS)
    assert (row["answer"], row["hint"], text["answer"]) == (UNDECIDED, "", UNDECIDED)
    assert row["note"].startswith(LATE)


def test_a_claim_that_rests_on_one_late_ratio_among_others_is_late():
    records = [*both(AGREEING), *both(AGREEING[::-1], ratio=0.75)]
    claim: Claim = DEEPLIFT._replace(ratios=(0.1, 0.9))
    (row,) = answers(frame_of(*records), claims=[claim], late=LATE_RUNS).to_dict("records")
    assert (row["ratios"], row["hint"]) == ("50 %, 75 %", LATE)


@pytest.mark.parametrize("seeds", [5, 6])
def test_a_difference_at_a_ratio_is_a_hint_too(seeds):
    found = both(AGREEING[:seeds])
    records = {str(place): record for place, record in enumerate(found)}
    frame = frame_of(*found)
    table = compare(records, frame.assign(folder=list(records))).set_index("metric")
    row = table.loc["map_attacked"]
    assert row["p_holm"] < 0.05
    assert row["hint"] == ("with 5 seeds no exact p below 0.0625 is possible" if seeds == 5 else "")
    assert table.loc["total_ms_masked", "hint"] == "", "nothing differs, so there is nothing to hint at"
    late = compare(records, frame.assign(folder=list(records)), late=LATE_RUNS).set_index("metric")
    assert str(late.loc["map_attacked", "hint"]).startswith(LATE)
    claims = [LateDecision("A claim, so no comparison.", claims=(DEEPLIFT.words,))]
    assert compare(records, frame.assign(folder=list(records)), late=claims)["hint"].tolist() == table["hint"].tolist()


@pytest.mark.parametrize(("seeds", "mark"), [(5, " (hint)"), (6, "")])
def test_the_table_of_allocations_marks_its_cells(seeds, mark):
    uniform = {seed: 0.2 + seed / 50 for seed in range(seeds)}
    cells = {("uniform", 0.9): uniform}
    cells["erk", 0.9] = {seed: value + AGREEING[seed] for seed, value in uniform.items()}
    cells["learned", 0.9] = {seed: value + (-1) ** seed / 10 for seed, value in uniform.items()}
    assert re.fullmatch(r"\+0\.11\d \[\+.*\]" + re.escape(mark), _cell(cells, "erk", 0.9)[1])
    assert _cell(cells, "learned", 0.9)[1].endswith("]"), "its interval holds 0"


def test_the_sentence_under_a_table():
    five, three = (hint_of_pairs(seeds, late=seeds == 3) for seeds in (5, 3))
    assert hints_in_words(["", five, three, five]) == (
        "A hint: decided on after looking, or with 5 seeds no exact p below 0.0625 is possible, or with 3 seeds no "
        "exact p below 0.25 is possible."
    )
    assert hints_in_words(["", ""]) == ""
    assert (marked("no", five), marked("no", "")) == ("no (hint)", "no")
