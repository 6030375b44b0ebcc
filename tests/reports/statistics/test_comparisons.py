"""Comparisons: against the paper's printed p-values, scipy called otherwise, slow loops, and what cannot be tested."""

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from hydra_det.records.record import Record
from hydra_det.records.table import records_frame
from hydra_det.reports.paper import COMPARISONS, CONFIGURATIONS, paper_results, printed_name
from hydra_det.reports.statistics.comparisons import COMPARED, COMPARISON_COLUMNS, compare, control
from hydra_det.reports.statistics.pairs import MAX_PAIRS, choose_pairs, differ_in_pruning_only
from hydra_det.reports.statistics.paper_cells import paper_p_values
from tests.reports.example import grid, grid_record, latency, network

WEIGHT, KERNEL = "deeplift_paper, weight", "deeplift_paper, kernel"
PAIR = "deeplift_paper, weight vs. deeplift_paper, kernel"


def compared(records):
    return compare(records, records_frame(records))


def row_of(table, metric="map_attacked", ratio=0.5, comparison=PAIR):
    found = table[(table["metric"] == metric) & (table["ratio"] == ratio) & (table["comparison"] == comparison)]
    (row,) = found.to_dict("records")
    return row


def attacked(records, name, ratio=0.5):
    """AP under attack by seed, read from the records."""
    granularity = name.split(", ")[1]
    return {
        record.seed: record.metrics["pruned"]["attacked"]["coco"]["map"]
        for record in records.values()
        if record.sparsity["granularity"] == granularity and record.sparsity["ratio_asked"] == ratio
    }


@pytest.fixture(scope="module")
def pair():
    """Two cells of four seeds at ratios 0 and 0.5."""
    return grid([WEIGHT, KERNEL], ratios=(0.0, 0.5), seeds=range(4), resamples=300)


@pytest.fixture(scope="module")
def table(pair):
    return compared(pair)


def test_p_values_of_the_paper_from_records_with_its_results():
    cells = CONFIGURATIONS.values()
    names = {tuple(cell): f"{cell.init}, {cell.granularity}{', greyscale' * cell.greyscale}" for cell in cells}
    records: dict[str, Record] = {}
    for row in paper_results().query("prune_ratio in (0, 0.75)").to_dict("records"):
        name = names[(row["granularity"], row["init"], row["greyscale"])]
        times = {"pruned": latency(row["time_ms"] - 5.75)}
        metrics = {"dense": network(0.5, 0.4), "pruned": network(0.5, row["map_attacked"])}
        records[str(len(records))] = grid_record(name, row["prune_ratio"], row["run"], metrics=metrics, latency=times)
    found = compared(records)
    called = {f"{first} vs. {second}" for first, second in COMPARISONS.values()}
    assert set(found["comparison"]) == called
    assert {printed_name(*pair) for pair in zip(found["first"], found["second"], strict=True)} == set(COMPARISONS)
    expected = paper_p_values().query("prune_ratio in (0, 0.75)")
    assert len(expected) == 20
    ours = {"map_attacked": "map_attacked", "time_ms": "total_ms_masked"}
    for row in expected.to_dict("records"):
        came = row_of(found, ours[row["metric"]], row["prune_ratio"], " vs. ".join(COMPARISONS[row["comparison"]]))
        assert came["p_anova"] == pytest.approx(row["p_value"], rel=0.011), row
    failed = {(finding.metric, finding.comparison) for finding in control(found)}
    assert ("total_ms_masked", "deeplift_paper, weight vs. scaled, weight") in failed, (
        "printed 1.28e-05 where nothing is pruned"
    )
    assert not any("greyscale" in comparison for _, comparison in failed), "a colour may differ"


def test_a_comparison_of_the_paper_is_known_whatever_else_both_have():
    assert printed_name(f"{WEIGHT}, free", f"{KERNEL}, free") == "Unstructured vs. Structured (DeepLIFT)"
    assert printed_name(f"{WEIGHT}, greyscale", WEIGHT) == "Greyscale vs Colour (Unstructured DeepLIFT)"
    for pair in ((WEIGHT, f"{KERNEL}, free"), (KERNEL, WEIGHT), ("a", "b"), (f"{WEIGHT}s", f"{KERNEL}s")):
        assert printed_name(*pair) is None


def test_a_comparison_against_scipy(pair, table):
    assert tuple(table.columns) == COMPARISON_COLUMNS
    assert len(table) == len(COMPARED) * 2
    one, two = (np.array(list(attacked(pair, name).values())) for name in (WEIGHT, KERNEL))
    row = row_of(table)
    assert (row["n_first"], row["n_second"], row["n_pairs"]) == (4, 4, 4)
    assert row["difference"] == pytest.approx(two.mean() - one.mean())
    assert row["p_anova"] == pytest.approx(stats.ttest_ind(one, two).pvalue)
    assert row["p_welch"] == pytest.approx(stats.ttest_ind_from_stats(
        one.mean(), one.std(ddof=1), 4, two.mean(), two.std(ddof=1), 4, equal_var=False).pvalue)  # fmt: skip
    once = stats.ttest_1samp(two - one, 0)
    assert row["p_paired"] == row["p"] == pytest.approx(once.pvalue)
    assert (row["paired_low"], row["paired_high"]) == pytest.approx(tuple(once.confidence_interval(0.95)))
    assert row["test"] == "paired"
    assert row["detectable_effect"] == pytest.approx(2.38, abs=0.01)  # power tables, two groups of 4
    assert row["welch_low"] < row["difference"] < row["welch_high"]
    assert row["hedges_low"] < row["hedges_g"] < row["hedges_high"] < 0
    assert row["note"] == ""


def test_seeds_are_paired_by_number_not_by_place(pair):
    turned = dict(reversed(pair.items()))
    first = {folder: record for folder, record in pair.items() if "weight" in folder}
    mixed = first | {folder: record for folder, record in turned.items() if "kernel" in folder}
    assert row_of(compared(mixed))["p_paired"] == pytest.approx(row_of(compared(pair))["p_paired"])


def test_the_bootstrap_against_a_slow_loop(pair, table):
    differences = []
    for k in range(300):
        means = []
        for granularity in ("weight", "kernel"):
            values = [
                record.metrics["pruned"]["attacked"]["bootstrap"][k]
                for record in pair.values()
                if record.sparsity["granularity"] == granularity and record.sparsity["ratio_asked"] == 0.5
            ]
            means.append(sum(values) / len(values))
        differences.append(means[1] - means[0])
    row = row_of(table)
    ends = (row["bootstrap_low"], row["bootstrap_high"])
    assert ends == pytest.approx(tuple(np.quantile(differences, [0.025, 0.975])))
    assert ends[1] - ends[0] < 0.01, "the same images in both: their share of the spread is gone"
    assert math.isnan(row_of(table, "speed_up")["bootstrap_low"])


def test_the_family_is_a_metric_without_its_controls():
    records = grid(ratios=(0.0, 0.5), seeds=range(3))
    found = compared(records)
    for metric in COMPARED:
        rows = found[found["metric"] == metric]
        controls = rows["control"].astype(bool)
        assert set(rows.loc[controls, "ratio"]) == {0.0}
        assert controls.sum() == 4, "not greyscale against colour"
        for family in (rows[controls], rows[~controls]):
            p = sorted(family["p"])
            assert family["p_holm"].min() == pytest.approx(min(1.0, p[0] * len(p)))
            assert (family["p_holm"] >= family["p"]).all()


def test_a_control_that_fails_is_found(pair):
    assert control(compared(pair)) == []
    shifted = {
        folder: replace(record, metrics={**record.metrics, "pruned": network(0.2, 0.1 + record.seed / 1000)})
        if "kernel_0.0" in folder
        else record
        for folder, record in pair.items()
    }
    findings = control(compared(shifted))
    assert {finding.metric for finding in findings} == {"map_attacked", "map_clean", "map_50_paper_attacked"}
    assert all(finding.difference < 0 and finding.p_holm < 0.05 for finding in findings)


def test_one_run_is_no_test_but_a_row():
    row = row_of(compared(grid([WEIGHT, KERNEL], ratios=[0.5], seeds=[0])))
    assert (row["n_first"], row["n_second"]) == (1, 1)
    assert row["difference"] == row["mean_second"] - row["mean_first"]
    assert all(math.isnan(row[key]) for key in ("p_anova", "p_welch", "p_paired", "hedges_g", "p", "p_holm"))
    assert row["test"] == ""
    assert row["detectable_effect"] == math.inf
    assert "no test: 1 seed of the first, 1 seed of the second" in row["note"]


def test_a_cell_that_is_missing_is_a_row():
    records = grid([WEIGHT], ratios=[0.5, 0.9], seeds=[0, 1]) | grid([KERNEL], ratios=[0.5], seeds=[0, 1])
    row = row_of(compared(records), ratio=0.9)
    assert (row["n_first"], row["n_second"]) == (2, 0)
    assert math.isnan(row["mean_second"])
    assert "no seeds of the second" in row["note"]
    assert not row["control"]


def test_equal_runs_are_said_to_be_equal():
    """At ratio 0 a network may be the very same for all methods."""
    metrics = {seed: {"dense": network(0.5, 0.4), "pruned": network(0.4 + seed / 100, 0.3)} for seed in range(3)}
    records = {f"{n}{s}": grid_record(n, 0.0, s, metrics=metrics[s]) for n in (WEIGHT, KERNEL) for s in range(3)}
    found = compared(records)
    clean, attacked = (row_of(found, metric, ratio=0.0) for metric in ("map_clean", "map_attacked"))
    assert clean["difference"] == attacked["difference"] == 0
    assert clean["p_welch"] == 1
    assert math.isnan(clean["p"])
    assert "every seed differs by the same 0: no test of pairs" in clean["note"]
    assert math.isnan(attacked["p_welch"])
    assert "nothing varies" in attacked["note"]
    assert control(found) == []


def test_unequal_seeds(pair):
    fewer = {folder: record for folder, record in pair.items() if "kernel" not in folder or record.seed < 3}
    row = row_of(compared(fewer))
    one, two = attacked(fewer, WEIGHT), attacked(fewer, KERNEL)
    assert row["test"] == "paired", "all seeds of the smaller cell are in the other one"
    assert row["p"] == pytest.approx(stats.ttest_1samp([two[seed] - one[seed] for seed in range(3)], 0).pvalue)
    assert row["difference"] == pytest.approx(np.mean([two[seed] - one[seed] for seed in range(3)]))
    assert row["mean_first"] == pytest.approx(np.mean([one[seed] for seed in range(3)]))
    assert "unequal seeds: 4 and 3, 3 in both, which the means are of" in row["note"]
    others = grid([WEIGHT], ratios=[0.5], seeds=[0, 1, 2]) | grid([KERNEL], ratios=[0.5], seeds=[2, 3, 4])
    row = row_of(compared(others))
    assert (row["test"], row["n_pairs"]) == ("welch", 1)
    assert row["p"] == row["p_welch"]
    assert math.isnan(row["p_paired"])


@pytest.mark.parametrize(
    ("spoil", "note"),
    [
        (lambda record, last: last and strip(record), "not every run has resampled AP"),
        (lambda record, last: strip(record), "not every run has resampled AP"),
        (lambda record, last: last and strip(record, 100), "different numbers of resamples"),
        (
            lambda record, last: last and replace(record, dataset={**record.dataset, "fingerprint": "else"}),
            "resamples of different images do not compare",
        ),
    ],
)
def test_without_like_resamples_there_is_no_bootstrap(pair, spoil, note):
    last = list(pair)[-1]
    row = row_of(compared({folder: spoil(record, folder == last) or record for folder, record in pair.items()}))
    assert math.isnan(row["bootstrap_low"])
    assert note in row["note"]
    assert not math.isnan(row["p"])
    if "images" in note:
        assert "not on the same images" in row["note"]


def strip(record, count=0):
    """The record with fewer resamples, or with none."""
    protocols = dict(record.metrics["pruned"]["attacked"])
    protocols["bootstrap"] = protocols["bootstrap"][:count]
    if not count:
        del protocols["bootstrap"]
    pruned = {**record.metrics["pruned"], "attacked": protocols}
    return replace(record, metrics={**record.metrics, "pruned": pruned})


def test_pairs_of_the_paper_and_of_others():
    frame = records_frame(grid(seeds=[0], ratios=[0.5]))
    assert choose_pairs(frame).chosen == {
        "deeplift_paper, weight vs. scaled, weight": (WEIGHT, "scaled, weight"),
        "deeplift_paper, kernel vs. scaled, kernel": (KERNEL, "scaled, kernel"),
        PAIR: (WEIGHT, KERNEL),
        "scaled, weight vs. scaled, kernel": ("scaled, weight", "scaled, kernel"),
        "deeplift_paper, weight, greyscale vs. deeplift_paper, weight": ("deeplift_paper, weight, greyscale", WEIGHT),
    }
    other = frame[:1].assign(configuration="snip, weight", init="snip")
    chosen = choose_pairs(pd.concat([frame[frame["configuration"] == WEIGHT], other])).chosen
    assert chosen == {"deeplift_paper, weight vs. snip, weight": (WEIGHT, "snip, weight")}
    both = choose_pairs(pd.concat([frame, other]))
    assert len(both.chosen) == 10
    assert sum("snip" in name for name in both.chosen) == 5
    assert both.left_out == []


def test_too_many_pairs_are_cut_and_named():
    frame = records_frame(grid([WEIGHT], seeds=range(8), ratios=[0.5]))
    frame["configuration"] = [f"random, weight, x={k}" for k in range(8)]
    frame["init"] = "random"
    found = choose_pairs(frame)
    assert len(found.chosen) == MAX_PAIRS
    assert len(found.left_out) == 28 - MAX_PAIRS
    assert not set(found.chosen.values()) & set(found.left_out)


def test_of_several_variants_the_plain_one_is_the_papers():
    frame = records_frame(grid([WEIGHT, KERNEL], seeds=[0], ratios=[0.5]))
    variant = frame[frame["configuration"] == WEIGHT].assign(configuration="deeplift_paper, weight, lamp")
    chosen = choose_pairs(pd.concat([frame, variant])).chosen
    assert chosen[PAIR] == (WEIGHT, KERNEL)
    assert len(chosen) == 3
    two = variant.assign(configuration="deeplift_paper, weight, erk")
    assert PAIR not in choose_pairs(pd.concat([frame[frame["configuration"] == KERNEL], variant, two])).chosen


@pytest.mark.parametrize(
    ("change", "alike"),
    [
        ({"init": {"target": "loss"}}, True),
        ({"prune": {"allocation": "lamp"}}, True),
        ({"seed": 9}, True),
        ({"stage": {"train_scores": {"epochs": 9}, "finetune": {"epochs": 1}}}, True),
        ({"stage": {"train_scores": {"epochs": 9}, "finetune": {"epochs": 2}}}, False),
        ({"attack": {"epsilon": 0.1}}, False),
    ],
)
def test_what_must_come_to_the_same_where_nothing_is_pruned(change, alike):
    config = {"choices": {"init": "a"}, "prune": {}, "stage": {"finetune": {"epochs": 1}}, "attack": {"epsilon": 0.05}}
    one, two = (grid_record(WEIGHT, 0.0, 0, config=given) for given in (config, config | change))
    assert differ_in_pruning_only(one, two) == alike
    assert not differ_in_pruning_only(one, replace(two, dataset={**two.dataset, "fingerprint": "else"}))


def test_no_runs_give_an_empty_table():
    found = compared({})
    assert tuple(found.columns) == COMPARISON_COLUMNS
    assert found.empty
    assert control(found) == []
