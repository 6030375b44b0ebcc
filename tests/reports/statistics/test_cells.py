"""Cells: numbers worked out by hand, and what is not there."""

import math
import statistics as standard
from dataclasses import replace

import pandas as pd
import pytest

from hydra_det.records.table import records_frame
from hydra_det.reports.statistics.cells import CELL_COLUMNS, METRICS, cell_table, metric_values, seed_values
from tests.reports.example import example_record, grid, grid_record, network
from tests.reports.tables.test_compaction import completed

NAME = "scaled, kernel"


def row_of(table, ratio, metric, configuration=NAME):
    found = table[(table["configuration"] == configuration) & (table["ratio"] == ratio) & (table["metric"] == metric)]
    (row,) = found.to_dict("records")
    return row


def ap(record, condition):
    return record.metrics["pruned"][condition]["coco"]["map"]


def test_every_metric_of_a_run_by_hand():
    frame = records_frame({".": completed(sparse=True)})
    expected = {
        "map_clean": 0.304,
        "map_attacked": 0.245,
        "map_attacked_dense": 0.313,
        "map_50_clean": 0.504,
        "map_50_attacked": 0.445,
        "map_50_paper_attacked": 0.435,
        "total_ms_masked": 422.75,
        "total_ms_compact": 306.75,
        "forward_ms_compact": 301.0,
        "speed_up": 431.75 / 306.75,
        "speed_up_fastest": 205.75 / 55.75,  # 200 ms in openvino and 50 ms in sparse, decode and NMS 5.75 ms
        "speed_up_masked": 431.75 / 422.75,
        "forward_speed_up": 426 / 301,
        "megabytes_compact": 0.028,
        "parameters_share": 7 / 11,
        "weights_kept": 0.1,
        "training_seconds": 7_384 + 3.5 + 125 + 0.25 + 600,
        "retention_clean": 0.304 / 0.412,
        "retention_attacked": 0.245 / 0.313,
    }
    assert {name: metric_values(frame, name)[0] for name in METRICS} == pytest.approx(expected)


def test_a_cell_against_the_standard_library():
    records = grid([NAME, "scaled, weight"], ratios=(0.5, 0.9), seeds=range(4))
    table = cell_table(records_frame(records))
    assert tuple(table.columns) == CELL_COLUMNS
    assert len(table) == 4 * len(METRICS)
    assert list(table["metric"][: len(METRICS)]) == list(METRICS)
    values = [
        ap(record, "attacked")
        for record in records.values()
        if record.sparsity["granularity"] == "kernel" and record.sparsity["ratio_asked"] == 0.9
    ]
    row = row_of(table, 0.9, "map_attacked")
    assert row["n"] == 4
    assert row["mean"] == pytest.approx(standard.mean(values))
    assert row["sd"] == pytest.approx(standard.stdev(values))
    assert (row["min"], row["max"]) == (min(values), max(values))


def test_a_cell_of_one_run_has_no_spread():
    row = row_of(cell_table(records_frame(grid([NAME], ratios=[0.5], seeds=[3]))), 0.5, "map_clean")
    assert row["n"] == 1
    assert row["mean"] == row["min"] == row["max"]
    assert math.isnan(row["sd"])


def test_a_seed_that_was_run_twice_counts_once():
    records = grid([NAME], ratios=[0.5], seeds=[0, 1])
    again = replace(records[next(iter(records))], metrics={"dense": network(0.4, 0.3), "pruned": network(0.4, 0.3)})
    first, second = (ap(record, "clean") for record in records.values())
    row = row_of(cell_table(records_frame(records | {"again": again})), 0.5, "map_clean")
    assert row["n"] == 2
    assert row["mean"] == pytest.approx(((first + 0.4) / 2 + second) / 2)


def test_what_was_not_measured_stays_there_empty():
    bare = {"dense": network(0.4, None), "pruned": network(0.3, None)}
    records = grid([NAME], ratios=[0.5], seeds=[0, 1])
    records["c"] = grid_record(NAME, 0.5, 2, metrics=bare, latency={})
    records["d"] = grid_record(NAME, 0.9, 0, metrics=bare, latency={})
    table = cell_table(records_frame(records))
    assert row_of(table, 0.5, "map_attacked")["n"] == 2
    assert row_of(table, 0.5, "map_clean")["n"] == 3
    for metric in ("map_attacked", "total_ms_masked", "speed_up", "retention_attacked"):
        row = row_of(table, 0.9, metric)
        assert row["n"] == 0
        assert all(math.isnan(row[key]) for key in ("mean", "sd", "min", "max")), metric


def test_nothing_keeps_no_share_of_nothing():
    dead = {"dense": network(0.0, 0.0), "pruned": network(0.1, 0.0)}
    frame = records_frame({".": example_record(metrics=dead)})
    assert metric_values(frame, "retention_clean").isna().all()


def test_no_runs_give_an_empty_table():
    frame = records_frame({})
    assert tuple(cell_table(frame).columns) == CELL_COLUMNS
    assert cell_table(frame).empty
    assert isinstance(seed_values(frame, "map_clean"), pd.Series)
