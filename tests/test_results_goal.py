"""How far the goal was reached: shares, differences and intervals worked out by hand for three seeds.

The reach of an interval of three seeds is 4.303 standard deviations over the root of 3.
"""

import dataclasses
from typing import Any

import pytest

from hydra_det.records.record import Record
from hydra_det.records.table import records_frame
from publish.results_goal import goal_lines
from publish.results_readme import small_table, speed_shown
from tests.reports.example import network
from tests.reports.statistics.test_claims import SCALED, WEIGHT, variant
from tests.reports.tables.test_compaction import completed

LEARNED: dict[str, Any] = {"allocation": "learned"}


def learned(aps: tuple[float, ...], ratio: float = 0.9) -> list[Record]:
    """Of dense networks with an AP of 0.4 under attack."""
    return [variant(SCALED, seed, ratio, ap=ap, **LEARNED) for seed, ap in enumerate(aps)]


def said(*records: Record) -> dict[str, list[str]]:
    """The rows of all tables, by their first cell."""
    text = "\n".join(goal_lines(records_frame({str(place): one for place, one in enumerate(records)})))
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:1] == "|"]
    return {line[0]: line[1:] for line in lines}


@pytest.mark.parametrize(
    ("aps", "expected"),
    [
        ((0.399, 0.400, 0.401), "100% [99%, 101%]: reached"),
        ((0.390, 0.400, 0.410), "100% [94%, 106%]: open"),
        ((0.300, 0.301, 0.302), "75% [75%, 76%]: not reached"),
        ((0.400,), "100%: open"),
    ],
)
def test_what_is_kept_of_the_dense_network(aps: tuple[float, ...], expected: str) -> None:
    assert said(*learned(aps))["scaled, weight, learned"] == [expected, "-", "-"]


def test_it_is_also_kept_of_the_network_that_trained_on_with_nothing_removed() -> None:
    control = [variant(SCALED, seed, 0.0, ap=0.5) for seed in range(3)]
    found = said(*learned((0.399, 0.400, 0.401)), *control)
    assert found["scaled, weight, learned, of the one trained on"] == ["80% [80%, 80%]: not reached", "-", "-"]


def test_it_is_ahead_of_the_best_of_the_papers_at_each_ratio() -> None:
    weak = [variant(WEIGHT, seed, ratio, ap=0.1) for seed in range(3) for ratio in (0.75, 0.9)]
    strong = [variant(SCALED, seed, ratio, ap=0.37) for seed in range(3) for ratio in (0.75, 0.9)]
    runs = [*learned((0.399, 0.400, 0.401)), *learned((0.38, 0.37, 0.375), ratio=0.75), *weak, *strong]
    lines = list(goal_lines(records_frame({str(place): one for place, one in enumerate(runs)})))
    table = next(line for line in lines if "against" in line)
    assert f"75 % removed, against {SCALED}" in table
    assert "| +0.005 [-0.007, +0.017]: not reached | +0.030 [+0.028, +0.032]: reached |" in " ".join(table.split())


def test_the_speed_is_that_of_each_network_in_its_fastest_engine() -> None:
    timed = completed(sparse=True).compaction
    runs = [dataclasses.replace(one, compaction=timed) for one in learned((0.4, 0.41, 0.42))]
    lines = list(goal_lines(records_frame({str(place): one for place, one in enumerate(runs)})))
    assert "3.69: open" in lines[-1], "205.75 by 55.75 ms, and every seed says so"
    frame = records_frame({str(place): one for place, one in enumerate([*runs, variant(SCALED, ap=0.3)])})
    assert speed_shown(frame) == "speed_up_fastest"
    row = next(line for line in small_table(frame).splitlines() if "90 %" in line)
    assert row.endswith("| 3.69 ± 0.00 |")
    assert speed_shown(records_frame({"0": variant(SCALED, ap=0.3)})) == "speed_up"


def test_of_a_dense_network_without_ap_nothing_is_kept() -> None:
    runs = learned((0.1, 0.2, 0.3))
    for record in runs:
        record.metrics["dense"] = network(0.5, 0.0)
    control = [variant(SCALED, seed, 0.0, ap=0.0) for seed in range(3)]
    assert list(said(*runs, *control)) == []


def test_without_our_runs_there_is_no_section() -> None:
    assert list(goal_lines(records_frame({"0": variant(SCALED, ap=0.3)}))) == []
