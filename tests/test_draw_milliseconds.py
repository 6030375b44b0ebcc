"""AP against milliseconds: runs that take one time stand together, and differences are paired by seed."""

import dataclasses
import re

import numpy as np
import pytest

from publish.draw_milliseconds import Point, draw, groups, no_table, point_of, table
from tests.reports.example import example_record
from tests.reports.tables.test_compaction import completed


def point(kind: str, ratio: float, seed: int, milliseconds: float, ap: float) -> Point:
    return Point(kind, ratio, seed, ratio, milliseconds, 10 / milliseconds, {"clean": 2 * ap, "attacked": ap})


POINTS = [
    *(point("learned by time", 0.5, seed, 4.0, 0.20 + seed / 100) for seed in range(3)),
    *(point("uniform by time", 0.5, seed, 4.1, 0.10 + seed / 100 + seed % 2 / 1000) for seed in range(3)),
    *(point("learned by weights", 0.9, seed, 3.9 + seed / 10, 0.22) for seed in range(3)),
    *(point("learned by time", 0.8, seed, 2.0, 0.1) for seed in range(3)),
    *(point("learned by weights", 0.97, seed, 2.2, 0.1) for seed in range(3)),
]


def test_what_takes_one_time_stands_together():
    assert groups(POINTS) == [
        [("uniform by time", 0.5), ("learned by time", 0.5), ("learned by weights", 0.9)],
        [("learned by time", 0.8), ("learned by weights", 0.97)],
    ]


def test_the_table_pairs_by_seed():
    lines = [re.split(r"\s*\|\s*", line)[1:-1] for line in table(POINTS)]
    uniform, learned = lines[2], lines[3]
    assert uniform[:6] == ["uniform by time", "0.5", "50.0%", "4.10", "2.44", "0.221 ± 0.020"]
    assert uniform[7] == "0.110 ± 0.010"
    assert uniform[8].startswith("+0.100 [+0.098, +0.101]"), "the learned ones have 0.100, 0.099 and 0.100 more"
    assert "hint" in uniform[8], "three seeds allow no small p"
    assert learned[6] == learned[8] == "", "it is what the others are compared with"
    assert {line[0] for line in lines[2:]} == {"uniform by time", "learned by time", "learned by weights"}


def test_a_run_is_compared_with_the_dense_network_at_its_fastest():
    found = point_of(completed(sparse=True))  # dense: 200 ms in openvino at best; compact in sparse: 50 ms
    assert (found.kind, found.milliseconds, found.times) == ("uniform by weights", 50.0, 4.0)
    assert found.ap == {"clean": 0.304, "attacked": 0.245}


def test_what_makes_no_table_is_said_in_one_line():
    timed = completed(sparse=True)
    latency = {**timed.sparsity, "budget": "latency", "allocation": "learned"}
    good = dataclasses.replace(timed, sparsity=latency)
    assert no_table([good]) is None
    assert "expected a run that compact.py has timed in sparse, got ['openvino', 'torch']" in str(
        no_table([completed()])
    )
    assert "timed in sparse, got none" in str(no_table([example_record()]))
    assert "expected shares that are uniform by time, " in str(no_table([good, timed]))
    assert "got two; leave one folder out" in str(no_table([good, good]))
    uniform = dataclasses.replace(timed, sparsity={**latency, "allocation": "uniform"})
    assert no_table([uniform]) == "expected runs whose shares are learned by time, got none"


def test_every_kind_has_its_line():
    left, right = draw(POINTS).axes
    for axis, factor in ((left, 2), (right, 1)):
        lines = {line.get_label(): line for line in axis.lines if not str(line.get_label()).startswith("_")}
        assert lines.keys() == {"uniform by time", "learned by time", "learned by weights"}
        assert np.asarray(lines["learned by weights"].get_xdata()) == pytest.approx([4.0, 2.2])
        assert np.asarray(lines["learned by weights"].get_ydata()) == pytest.approx([factor * 0.22, factor * 0.1])
