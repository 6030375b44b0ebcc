"""Tables and picture of a compaction: numbers that are worked out by hand from the record."""

import re

import pytest
from matplotlib.image import imread

from hydra_det.records.record import read_record, write_record
from hydra_det.reports.figures.compaction import compaction_figure
from hydra_det.reports.figures.drawings import draw_figures
from hydra_det.reports.runs import read_runs
from hydra_det.reports.statistics.comparisons import compare
from hydra_det.reports.statistics.gains import fewer_operations, gain
from hydra_det.reports.tables.compaction import compaction_tables, draw_compaction
from tests.reports.example import example_record, latency, network
from tests.reports.tables.test_tables import render

SIZE = {"parameters": 8_000, "flops": 6_000_000_000, "file_bytes": 4 * 2**20, "peak_bytes": 2**21}
SMALL = {"parameters": 2_000, "flops": 1_500_000_000, "file_bytes": 2**20, "peak_bytes": None}


def completed(sparse=False, **times):
    """A record whose networks take the given ms in torch and, half of it, in openvino.

    With `sparse`, an engine that is slow for the dense network and fast for the compact one.
    """
    times = {"dense": 400.0, "masked": 410.0, "compact": 160.0} | times
    timed = [(name, engine, factor * times[name]) for engine, factor in (("torch", 1.0), ("openvino", 0.5))
             for name in times]  # fmt: skip
    if sparse:
        timed += [("dense", "sparse", 800.0), ("masked", "sparse", 55.0), ("compact", "sparse", 50.0)]
    return example_record(
        compaction={
            "created": "2030-01-02T03:04:05+00:00",
            "commit": None,
            "versions": {"torch": "2.11.0", "openvino": None},
            "multiple": 1,
            "differences": {"float64": 2e-16, "float32": 3e-7},
            "sizes": {"dense": SIZE, "masked": SIZE, "compact": SMALL},
            "engines": [
                {"engine": "torch", "file_bytes": None, "difference": 0.0, "metrics": network(0.304, 0.245)},
                {"engine": "openvino", "file_bytes": 3 * 2**19, "difference": 4e-7, "metrics": None},
            ],
            "latency": [
                {"network": name, "engine": engine, "latency": latency(milliseconds)}
                for name, engine, milliseconds in timed
            ],
        }
    )


def test_ratios_by_hand():
    compaction = completed().compaction
    assert fewer_operations(compaction) == 4.0
    for engine in ("torch", "openvino"):
        assert gain(compaction, "compact", engine, 1) == pytest.approx(2.5)
        assert gain(compaction, "masked", engine, 1) == pytest.approx(400 / 410)


def test_tables_show_what_was_measured():
    text = render(compaction_tables(completed()))
    (parameters,) = (line for line in text.splitlines() if line.strip().startswith("parameters"))
    assert parameters.split()[1:] == ["8,000", "8,000", "2,000", "4.00"]
    (memory,) = (line for line in text.splitlines() if line.strip().startswith("memory"))
    assert memory.split()[-3:] == ["2.0", "-", "-"]
    (rest,) = (line for line in text.splitlines() if "3.2 / 3.2" in line and "torch" in line)
    # Decode; NMS from 0.5 and from 0.001 on; 405.75 ms of the dense network by 165.75 ms of the compact one.
    assert re.split(r"\s{2,}", rest.strip()) == ["torch", "1", "3.2 / 3.2", "2.5 / 2.5", "9.5 / 9.5", "2.45"]
    assert "(4.00 times fewer operations)" in text
    torch_row, openvino_row = (line for line in text.splitlines() if line.split()[-1:] == ["2.50"])
    assert torch_row.split()[0] == "torch"
    assert openvino_row.split()[0] == "openvino"
    precision = [line for line in text.splitlines() if "0.304" in line]
    assert len(precision) == 2, "the masked network, and the compact one in torch"
    assert "1.50" in text
    assert "2.0e-16 in float64" in " ".join(text.split())


@pytest.mark.parametrize(
    ("times", "masks", "compaction"),
    [
        ({}, True, False),
        ({"masked": 300.0}, False, False),
        ({"compact": 395.0}, True, True),
    ],
)
def test_what_brings_nothing_is_said_in_words(times, masks, compaction):
    text = " ".join(render(compaction_tables(completed(**times))).split())
    assert ("Masks alone bring nothing" in text) == masks
    assert ("Nor does compaction" in text) == compaction


def test_the_fastest_engine_of_each_is_named_where_they_differ():
    record = completed()
    assert "Fastest in float32" not in " ".join(render(compaction_tables(record)).split())
    times = {"torch": (400.0, 100.0), "openvino": (200.0, 160.0)}
    for entry in record.compaction["latency"]:
        dense, small = times[entry["engine"]]
        entry["latency"]["forward"] = {
            **entry["latency"]["forward"],
            "median_ms": small if entry["network"] == "compact" else dense,
        }
    said = " ".join(render(compaction_tables(record)).split())
    assert (
        "batches of 1: the dense network in openvino, 200.0 ms, the compact one in torch, 100.0 ms: 2.00 times" in said
    )
    for entry in record.compaction["latency"]:
        entry["engine"] = "torch_bf16" if entry["engine"] == "torch" else entry["engine"]
    assert "Fastest in float32" not in " ".join(render(compaction_tables(record)).split()), "which rounds"


def test_a_busy_machine_is_named():
    record = completed()
    said = "The machine was busy when these times were taken (3.5 processes a core)"
    assert said not in " ".join(render(compaction_tables(record)).split())
    record.compaction["latency"][-1]["latency"]["load"] = 3.5
    assert said in " ".join(render(compaction_tables(record)).split())


def test_tables_fit_a_terminal_of_80_columns():
    record = completed(dense=1_234.5, masked=1_234.5, compact=1_000.0)
    for engine in record.compaction["engines"]:
        engine["engine"] = "torch_export" if engine["engine"] == "torch" else "onnxruntime"
    for entry in record.compaction["latency"]:
        entry["engine"] = "torch_export" if entry["engine"] == "torch" else "onnxruntime"
    wide = render(compaction_tables(record), width=200)
    narrow = render(compaction_tables(record), width=80)
    body = [line.rstrip() for line in wide.splitlines() if re.match(r" [a-z].*\s\s", line)]
    assert len(body) > 10
    assert set(body) <= {line.rstrip() for line in narrow.splitlines()}, "no row is wrapped or cut"


def test_the_picture_is_drawn(tmp_path):
    draw_compaction(completed(), tmp_path / "speed.png")
    picture = imread(tmp_path / "speed.png")
    assert picture.shape[0] > 200
    assert picture.std() > 0.05


def test_a_completed_record_reads_back(tmp_path):
    write_record(tmp_path / "record.json", completed())
    assert read_record(tmp_path / "record.json") == completed()


def test_a_record_without_compaction_has_no_tables():
    with pytest.raises(ValueError, match=r"compact\.py"):
        compaction_tables(example_record())


def test_no_whisker_goes_below_no_time():
    bars = compaction_figure(completed(compact=0.5)).axes[0].containers  # 0.5 ms in torch, spread by 1.5
    ends = [
        end for bar in bars if hasattr(bar, "lines") for segment in bar.lines[2][0].get_segments() for end in segment
    ]
    assert len(ends) == 12, "both ends of three networks in two engines"
    assert min(height for _, height in ends) == 0
    assert max(height for _, height in ends) == pytest.approx(410 + 0.75)


def test_a_network_that_was_not_timed_has_the_other_tables(tmp_path):
    record = completed()
    record.compaction["latency"] = []
    text = " ".join(render(compaction_tables(record)).split())
    assert "AP of the compact network" in text
    assert "Nothing was timed" in text
    draw_compaction(record, tmp_path / "speed.png")
    assert not (tmp_path / "speed.png").exists()
    write_record(tmp_path / "run" / "record.json", record)
    assert "compaction" not in draw_figures(read_runs(tmp_path), compare({}, read_runs(tmp_path).frame), paper=False)


def test_the_picture_compares_with_the_dense_network_at_its_fastest_too():
    same, fastest = compaction_figure(completed(sparse=True)).axes[1].containers
    assert [bar.get_width() for bar in same] == pytest.approx([2.5, 2.5, 16.0])
    assert [bar.get_width() for bar in fastest] == pytest.approx([200 / 160, 2.5, 4.0])  # 200 ms in openvino
    assert fastest.get_label() == "dense in openvino, its fastest"
