"""Tables as the paper has them: read back from the files and compared with the records."""

import csv
import io
import math
import re
import statistics as standard

import pandas as pd
import pytest

from hydra_det.records.table import records_frame
from hydra_det.reports.paper import CONFIGURATIONS
from hydra_det.reports.statistics.answers import answers
from hydra_det.reports.statistics.cells import CELL_COLUMNS, METRICS, cell_table
from hydra_det.reports.statistics.comparisons import compare
from hydra_det.reports.statistics.paper_cells import paper_cells
from hydra_det.reports.tables.paper_tables import (
    Table,
    latex_escaped,
    p_value_tables,
    result_tables,
    to_csv,
    to_latex,
    to_markdown,
    write_tables,
)
from tests.reports.example import grid, grid_record, network

SMALL = Table(
    "small",
    "50 % of A_b",
    pd.DataFrame({"what|ever": ["a & b", "c|d"], "ratio": [0.25, 1.0], "p": [0.000123456, math.nan]}),
    ("{}", "{:g}", "{:.2e}"),
)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """All files of a grid with three seeds, one of which lacks a run; by name, with the records."""
    folder = tmp_path_factory.mktemp("report")
    records = grid(ratios=(0.0, 0.5), seeds=range(3))
    del records["scaled_kernel_0.5_seed1"]
    frame = records_frame(records)
    paths = write_tables(folder, frame, cell_table(frame), compare(records, frame), answers(frame))
    assert sorted(paths) == sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_text(encoding="utf-8") for path in paths}, records


def test_every_table_in_every_form(written):
    files, _ = written
    names = {name.rpartition(".")[0] for name in files if name.startswith("tables/")}
    results = {
        f"tables/{metric}_{configuration}"
        for metric in ("map_attacked", "total_ms_masked", "total_ms_compact")
        for configuration in (
            *("deeplift_paper_weight", "deeplift_paper_kernel", "scaled_weight", "scaled_kernel"),
            "deeplift_paper_weight_greyscale",
        )
    }
    times = {f"tables/p_{number}_total_ms_{network}" for number in ("II", "IV") for network in ("masked", "compact")}
    assert names == results | times | {
        f"tables/{name}" for name in ("p_I_map_attacked", "p_III_map_attacked", "claims")
    }
    assert {f"{name}.{suffix}" for name in names for suffix in ("md", "tex", "csv")} | {
        "runs.csv",
        "cells.csv",
        "comparisons.csv",
        "claims.csv",
    } == set(files)


def test_a_table_of_results_against_the_records(written):
    files, records = written
    rows = list(csv.DictReader(io.StringIO(files["tables/map_attacked_scaled_kernel.csv"])))
    assert [row["ratio"] for row in rows] == ["0.0", "0.5"]
    assert list(rows[0]) == ["ratio", "seed 0", "seed 1", "seed 2", "mean", "sd"]
    assert rows[1]["seed 1"] == "", "no such run"
    for row in rows:
        values = []
        for seed in range(3):
            if record := records.get(f"scaled_kernel_{row['ratio']}_seed{seed}"):
                protocols = record.metrics["pruned"]["attacked"]
                assert protocols is not None
                assert protocols["coco"]["map"] is not None
                values.append(protocols["coco"]["map"])
                assert float(row[f"seed {seed}"]) == values[-1]
        assert float(row["mean"]) == pytest.approx(standard.mean(values))
        assert float(row["sd"]) == pytest.approx(standard.stdev(values))
    line = files["tables/map_attacked_scaled_kernel.md"].splitlines()[-1]
    shown = [cell.strip() for cell in line.strip("|").split("|")]
    assert shown == ["0.5", *(f"{float(value):.3f}" if value else "-" for value in list(rows[1].values())[1:])]


def test_a_table_of_p_values_against_the_comparisons(written):
    files, _ = written
    comparisons = pd.read_csv(io.StringIO(files["comparisons.csv"]))
    lines = files["tables/p_III_map_attacked.md"].splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]
    assert rows[0] == ["comparison", "ratio", "difference", "p, ANOVA", "p, adjusted", "hint"]
    assert len(rows) == 4
    for row in rows[2:]:
        (found,) = comparisons[
            (comparisons["comparison"] == row[0])
            & (comparisons["ratio"] == float(row[1]))
            & (comparisons["metric"] == "map_attacked")
        ].to_dict("records")
        assert re.fullmatch(r"\d\.\d\de[+-]\d\d", row[3])
        assert float(row[3]) == pytest.approx(found["p_anova"], rel=0.01)
        assert float(row[4]) == pytest.approx(found["p_holm"], rel=0.01)
        assert row[5] == ("hint" if found["p_holm"] < 0.05 else ""), "of so few seeds"
        assert float(row[2]) == pytest.approx(found["mean_second"] - found["mean_first"], abs=0.0006)
    assert len(files["tables/p_I_map_attacked.csv"].splitlines()) == 1 + 4 * 2
    assert "greyscale" not in files["tables/p_II_total_ms_compact.csv"]


def test_all_runs_are_in_the_table_of_runs(written):
    files, records = written
    runs = pd.read_csv(io.StringIO(files["runs.csv"]))
    assert set(runs["folder"]) == set(records)
    assert len(pd.read_csv(io.StringIO(files["cells.csv"]))) == 5 * 2 * len(METRICS)


def test_markdown_by_hand():
    assert to_markdown(SMALL).splitlines() == [
        "50 % of A_b",
        "",
        r"| what\|ever | ratio |        p |",
        "| :--------- | ----: | -------: |",
        "| a & b      |  0.25 | 1.23e-04 |",
        r"| c\|d       |     1 |        - |",
    ]


def test_latex_by_hand():
    assert to_latex(SMALL) == (
        "\\begin{table}\n  \\centering\n  \\caption{50 \\% of A\\_b}\n  \\label{tab:small}\n"
        "  \\begin{tabular}{lrr}\n    \\toprule\n    what|ever & ratio & p \\\\\n    \\midrule\n"
        "    a \\& b & 0.25 & 1.23e-04 \\\\\n    c|d & 1 & - \\\\\n    \\bottomrule\n  \\end{tabular}\n\\end{table}\n"
    )
    assert latex_escaped(r"a\b~^{x}#$ ≥") == r"a\textbackslash{}b\textasciitilde{}\textasciicircum{}\{x\}\#\$ $\geq$"
    wide = Table("wide", "", pd.DataFrame([range(9)]), ("{}",) * 9)
    assert r"\small" in to_latex(wide)


def test_csv_by_hand():
    assert to_csv(SMALL.frame) == "what|ever,ratio,p\na & b,0.25,0.000123456\nc|d,1.0,\n"


def test_what_was_not_measured_is_a_dash():
    bare = {"dense": network(0.4, None), "pruned": network(0.3, None)}
    frame = records_frame({"a": grid_record("scaled, weight", 0.5, 0, metrics=bare, latency={})})
    tables = list(result_tables(frame, cell_table(frame)))
    assert len(tables) == 3
    assert to_markdown(tables[0]).splitlines()[2:] == [
        "| ratio | mean |  sd |",
        "| ----: | ---: | --: |",
        "|   0.5 |    - |   - |",
    ]


def test_a_ratio_without_values_keeps_its_row():
    bare = {"dense": network(0.4, None), "pruned": network(0.3, None)}
    records = grid(["scaled, weight"], ratios=[0.5], seeds=[0])
    records["bare"] = grid_record("scaled, weight", 0.9, 0, metrics=bare)
    frame = records_frame(records)
    (table, *_) = result_tables(frame, cell_table(frame))
    lines = to_markdown(table).splitlines()
    assert [line.split("|")[1].strip() for line in lines[4:]] == ["0.5", "0.9"]
    assert lines[-1].count(" - ") == 3, "of the seed, the mean and the sd"


def test_names_of_files_are_short_and_different():
    records = grid(["scaled, weight"], ratios=[0.5], seeds=[0, 1])
    frame = records_frame(records)
    names = ["a, b", "A b", "c d", "c, D", "x" * 300, "x" * 299 + "y", "///"]
    frame = pd.concat([frame.assign(configuration=name) for name in names])
    tables = list(result_tables(frame, cell_table(frame)))
    files = {table.name.lower() for table in tables}
    assert len(files) == len(tables) == 3 * len(names)
    assert all(len(name) < 120 and "/" not in name for name in files)


def test_comparisons_of_others_go_with_the_first_tables():
    records = grid(["scaled, weight", "deeplift_paper, kernel"], ratios=[0.5], seeds=range(3))
    names = [table.name for table in p_value_tables(compare(records, records_frame(records)))]
    assert names == ["p_I_map_attacked", "p_II_total_ms_masked", "p_II_total_ms_compact"]


def test_no_runs_give_no_tables_but_the_files_of_all(tmp_path):
    frame = records_frame({})
    paths = write_tables(tmp_path / "new", frame, cell_table(frame), compare({}, frame), answers(frame))
    assert [path.name for path in paths] == ["runs.csv", "cells.csv", "comparisons.csv"]


def test_the_papers_cells_by_hand():
    cells = paper_cells()
    assert tuple(cells.columns) == CELL_COLUMNS
    assert len(cells) == 5 * 9 * 3
    assert (cells["n"] == 10).all()
    assert set(cells["configuration"]) == set(CONFIGURATIONS)
    assert set(cells["metric"]) <= set(METRICS)

    def mean(metric, ratio, configuration="deeplift_paper, kernel"):
        here = (cells["configuration"] == configuration) & (cells["ratio"] == ratio) & (cells["metric"] == metric)
        return cells.loc[here, "mean"].item()

    assert mean("map_attacked", 0) == pytest.approx(0.4099)  # as it is printed
    assert mean("speed_up", 0) == 1
    assert mean("total_ms_masked", 0.99) == pytest.approx(22.01)
    assert mean("speed_up", 0.99) == pytest.approx(119.4 / 22.01, rel=0.01)
