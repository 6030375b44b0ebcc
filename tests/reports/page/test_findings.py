"""The three findings of the first screen: against numbers chosen by hand."""

import dataclasses

import pytest

from hydra_det.records.record import Metrics
from hydra_det.records.table import records_frame
from hydra_det.reports.page.explanation import explanation
from hydra_det.reports.page.findings import chosen_cell, findings
from tests.reports.example import example_record, grid_record, latency, network, size
from tests.reports.tables.test_compaction import completed


def run(name, ratio, value, *, seed=0, dense=0.4, **changes):
    """A record whose AP is given, clean as under attack."""
    metrics: Metrics = {"dense": network(dense, dense), "pruned": network(value, value)}
    return dataclasses.replace(grid_record(name, ratio, seed), metrics=metrics, **changes)


def said(records):
    return {finding.about: finding.text for finding in findings(records, records_frame(records))}


WEIGHT, KERNEL = "scaled, weight", "scaled, kernel"


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        # Enough is left at 0.5 and 0.75: more is removed at 0.75.
        ({(WEIGHT, 0.5): 0.40, (WEIGHT, 0.75): 0.37, (WEIGHT, 0.9): 0.30}, (WEIGHT, 0.75)),
        # At 0.9 the other one still has enough.
        ({(WEIGHT, 0.75): 0.40, (WEIGHT, 0.9): 0.30, (KERNEL, 0.9): 0.37}, (KERNEL, 0.9)),
        # Nowhere enough: where most is left.
        ({(WEIGHT, 0.5): 0.30, (WEIGHT, 0.75): 0.32, (WEIGHT, 0.9): 0.10}, (WEIGHT, 0.75)),
        # A network of which nothing was removed keeps everything, and says nothing.
        ({(WEIGHT, 0.0): 0.40, (WEIGHT, 0.9): 0.10}, (WEIGHT, 0.9)),
        ({(WEIGHT, 0.0): 0.40}, (WEIGHT, 0.0)),
    ],
)
def test_the_first_screen_speaks_of_the_most_removed_with_enough_left(values, expected):
    records = {f"{name} {ratio}": run(name, ratio, value) for (name, ratio), value in values.items()}
    found = chosen_cell(records_frame(records))
    assert found is not None
    assert found[:2] == expected


def test_enough_must_be_left_clean_and_under_attack():
    robust: Metrics = {"dense": network(0.4, 0.2), "pruned": network(0.3, 0.2)}  # 75 % and 100 %
    records = {"a": run(WEIGHT, 0.5, 0.38), "b": dataclasses.replace(run(WEIGHT, 0.9, 0.0), metrics=robust)}
    found = chosen_cell(records_frame(records))
    assert found is not None
    assert (found.ratio, found.kept) == (0.5, pytest.approx(0.95))


def test_what_is_left_says_both_numbers():
    text = said({"a": example_record()})["What is left"]
    assert text.startswith("90 % of the weights are removed")
    assert "from 0.412 to 0.304 on clean images (74 %) and from 0.313 to 0.245 under attack (78 %)" in text
    assert text.endswith("(78 %)."), "there is nothing to choose from"


def test_it_says_whether_enough_is_left():
    few = {"a": run(WEIGHT, 0.5, 0.38), "b": run(WEIGHT, 0.9, 0.20)}
    assert "At no higher ratio does the best configuration keep 90 % of its AP." in said(few)["What is left"]
    every = {"a": run(WEIGHT, 0.5, 0.38), "b": run(WEIGHT, 0.9, 0.37)}
    assert "does the best configuration" not in said(every)["What is left"]
    little = {"a": run(WEIGHT, 0.5, 0.30), "b": run(WEIGHT, 0.9, 0.10)}
    assert "At no ratio does the best configuration keep 90 % of its AP." in said(little)["What is left"]
    two = {"a": run(WEIGHT, 0.5, 0.30), "b": run(KERNEL, 0.5, 0.10)}
    assert "Of 2 configurations at this ratio it has the highest AP under attack." in said(two)["What is left"]
    nothing = {"a": run(WEIGHT, 0.9, 0.02, dense=0.02)}
    assert "learned next to nothing" in said(nothing)["What is left"]


def test_of_several_runs_that_were_timed_by_engine_the_fastest_of_each_counts():
    timed = completed(sparse=True).compaction
    records = {str(seed): run(WEIGHT, 0.9, 0.38, seed=seed, compaction=timed) for seed in range(2)}
    assert "as compact.py timed them, it is 3.69 times as fast as the dense one." in said(records)["What it brings"]
    assert (
        "compact.py" not in said({"0": run(WEIGHT, 0.9, 0.38), "1": run(WEIGHT, 0.9, 0.38, seed=1)})["What it brings"]
    )


def test_what_it_brings():
    text = said({"a": example_record()})["What it brings"]
    # Parameters 7,000 of 11,000; forward 426 to 301 ms, and 5.75 ms of decoding and NMS beside both.
    assert "has 63.6 % of the parameters" in text
    assert "It is 1.41 times as fast, decoding and NMS included; the forward pass alone 1.42 times." in text
    assert pytest.approx(1.41, abs=0.005) == 431.75 / 306.75
    even = {"dense": latency(100.0), "compact": latency(99.0)}
    assert "It is not faster (1.01 times)" in said({"a": example_record(latency=even)})["What it brings"]
    masks = example_record(latency={"dense": latency(9.0), "pruned": latency(9.0)})
    assert "The compact network was not timed" in said({"a": masks})["What it brings"]
    assert "No run was timed" in said({"a": example_record(latency={})})["What it brings"]
    big = {"dense": size(25_000_000), "pruned": size(25_000_000), "compact": size(5_000_000)}
    assert "20 % of the parameters and takes 20.0 MB instead of 100.0 MB" in said(
        {"a": example_record(sizes=big)}
    )["What it brings"]  # fmt: skip


def test_gains_are_those_over_the_dense_network_in_its_own_fastest_engine():
    record = completed(sparse=True)  # dense: 400 ms in torch, 200 in openvino, 800 in sparse; compact there: 50
    text = said({"a": record})["What it brings"]
    assert "takes 50.0 ms in sparse for batches of 1, the dense network at best 200.0 ms, in openvino: 4.00" in text
    both = said({"a": completed()})["What it brings"]
    assert "takes 80.0 ms in openvino for batches of 1, the dense network at best 200.0 ms, in openvino: 2.50" in both
    assert "engine" not in said({"a": completed(compact=500.0)})["What it brings"], "it gains in none"


def test_how_sure():
    one = said({"a": example_record()})["How sure that is"]
    assert "One seed: no spread and no test" in one
    assert "Attacked: pgd, L-infinity, epsilon 0.05 (12.75/255)" in one
    assert one.endswith("The robust AP is at most that under this attack: a stronger one may find less.")
    assert any(
        "The robust AP is at most the AP under an attack" in words for _, words in explanation({"a": example_record()})
    )
    three = {str(seed): run(WEIGHT, 0.9, 0.3, seed=seed) for seed in range(3)}
    assert "3 seeds: a test finds differences of 3.1 standard deviations" in said(three)["How sure that is"]
    clean = example_record(metrics={"dense": network(0.4, None), "pruned": network(0.3, None)})
    text = said({"a": clean})
    assert "Not attacked: nothing here is about robustness." in text["How sure that is"]
    assert "under attack" not in text["What is left"]
    three["1"] = dataclasses.replace(three["1"], attack={"name": "fgsm", "epsilon": 0.05})
    assert "Attacked in 2 ways, which do not compare." in said(three)["How sure that is"]


def test_without_any_ap_it_says_so():
    bare = example_record(metrics={"dense": network(0.4, None), "pruned": network(0.3, None)})
    for found in (bare.metrics["dense"], bare.metrics["pruned"]):
        found["clean"]["coco"]["map"] = None
    (text,) = said({"a": bare}).values()
    assert text.startswith("AP is not defined: no object in the test images")
