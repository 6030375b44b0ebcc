"""Sentences: against numbers chosen so that each says one thing."""

import dataclasses

import pytest

from hydra_det.records.table import records_frame
from hydra_det.reports.page.summary import leaders, summary
from tests.reports.example import grid, grid_record, latency, network


def runs(values, *, ratio=0.5, dense=0.4, **changes):
    """Records whose AP under attack is given by configuration, a value a seed."""
    return {
        f"{name} {ratio} {seed}": dataclasses.replace(
            grid_record(name, ratio, seed),
            metrics={"dense": network(dense, dense), "pruned": network(value, value)},
            **changes,
        )
        for name, found in values.items()
        for seed, value in enumerate(found)
    }


def test_what_cannot_be_told_from_the_best_is_named():
    found = runs(
        {
            "deeplift_paper, weight": [0.30, 0.31, 0.32],
            "scaled, weight": [0.32, 0.28, 0.31],
            "scaled, kernel": [0.20, 0.21, 0.22],
            "deeplift_paper, kernel": [0.25],
        }
    )
    found["scaled, kernel 0.5 1"].metrics["pruned"]["attacked"]["coco"]["map"] = 0.2105
    (leader,) = leaders(records_frame(found), "map_attacked")
    assert leader.configuration == "deeplift_paper, weight"
    assert (leader.mean, leader.sd) == (pytest.approx(0.31), pytest.approx(0.01))
    assert leader.alike == ["scaled, weight"]
    assert leader.lower == ["scaled, kernel"]
    assert leader.untested == ["deeplift_paper, kernel"]
    (said,) = (line for line in summary(records_frame(found)) if "highest" in line)
    assert (
        "With 50 % of the weights removed, deeplift_paper, weight has the highest AP under attack, 0.310 ± 0.010"
        in said
    )
    assert "it keeps 77.5 % on clean images and 77.5 % under attack" in said
    assert "Not distinguishable from it: scaled, weight." in said
    assert "Lower: scaled, kernel (hint)." in said, "three seeds"
    assert "Too few seeds to tell it from deeplift_paper, kernel." in said


def test_networks_that_learned_nothing_keep_nothing():
    lines = summary(records_frame(runs({"scaled, weight": [0.01, 0.02]}, dense=0.02)))
    assert "learned next to nothing (AP on clean images 0.020 at the most)" in lines[0]
    assert not [line for line in lines if "keeps" in line]
    assert not [line for line in summary(records_frame(grid(seeds=[0]))) if "next to nothing" in line]


@pytest.mark.parametrize(
    ("masked", "compact", "said"),
    [
        (100.0, 25.0, ["the masked networks are not faster", "with decoding and NMS, up to 3.44 times as fast"]),
        (100.0, 25.0, ["in the forward pass, up to 4.00 times as fast as the dense ones"]),
        (
            100.0,
            99.0,
            ["the masked networks are not faster", "at 50 % are, with decoding and NMS, not faster than the dense"],
        ),
        (50.0, 50.0, ["the masked networks are faster", "up to 1.90 times as fast"]),
    ],
)
def test_what_got_faster(masked, compact, said):
    # Decoding and NMS take 5.75 ms in all of them.
    times = {"dense": latency(100.0), "pruned": latency(masked), "compact": latency(compact)}
    lines = summary(records_frame(runs({"scaled, weight": [0.3]}, latency=times)))
    for words in said:
        assert any(words in line for line in lines), (words, lines)


def test_of_next_to_nothing_both_numbers_are_said_and_no_share():
    records = {
        f"{seed}": grid_record(
            "scaled, weight", 0.5, seed, metrics={"dense": network(0.013, 0.011), "pruned": network(0.036, 0.03)}
        )
        for seed in range(2)
    }
    (said,) = [line for line in summary(records_frame(records)) if "has an AP" in line]
    assert "its dense network has 0.013 on clean images and 0.011 under attack." in said
    assert "284" not in said
    assert "of which it keeps" not in said
