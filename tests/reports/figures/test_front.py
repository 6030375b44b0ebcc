"""The Pareto front against a loop over all pairs, and the picture of it."""

import dataclasses

import numpy as np
import pandas as pd
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from hydra_det.records.objectives import OBJECTIVES
from hydra_det.records.table import records_frame
from hydra_det.reports.figures.front import COSTS, PRECISION, draw_front, on_front, pareto
from tests.reports.example import example_record, latency, network, size

# Few different values, so that ties and equal rows are common.
NUMBERS = st.one_of(st.integers(0, 3).map(float), st.just(float("nan")))


def beats(mine, other):
    """Whether a row with (gain, gain, loss) is nowhere worse than another one, and somewhere better."""
    pairs = [(mine[0], other[0]), (mine[1], other[1]), (-mine[2], -other[2])]
    return all(a >= b for a, b in pairs) and any(a > b for a, b in pairs)


@given(st.lists(st.tuples(NUMBERS, NUMBERS, NUMBERS), max_size=12))
def test_the_front_is_what_a_loop_over_all_pairs_leaves(rows):
    frame = pd.DataFrame(rows, columns=["gain", "more", "loss"], index=range(100, 100 + len(rows)), dtype=float)
    complete = [not any(np.isnan(row)) for row in rows]
    expected = [
        known and not any(beats(other, row) for other, there in zip(rows, complete, strict=True) if there)
        for row, known in zip(rows, complete, strict=True)
    ]
    front = pareto(frame, maximise=["gain", "more"], minimise=["loss"])
    assert front.tolist() == expected
    assert front.index.equals(frame.index)
    assert not any(complete) or any(expected)


def sweep(**changes):
    """Three runs: precise and slow, fast and poor, slow and poor."""
    runs = {"precise": (0.4, 100.0, 900), "fast": (0.2, 30.0, 300), "beaten": (0.1, 90.0, 800)}
    return {
        name: example_record(
            metrics={"dense": network(0.5, 0.4), "pruned": network(ap + 0.1, ap)},
            latency={"compact": latency(ms)},
            sizes={"dense": size(1000), "compact": size(parameters)},
            **changes,
        )
        for name, (ap, ms, parameters) in runs.items()
    }


def test_the_front_of_records_takes_what_was_measured():
    assert on_front(records_frame(sweep())).tolist() == [True, True, False]
    assert {objective.column for objective in OBJECTIVES.values()} == {*PRECISION, *COSTS}
    untimed = {
        name: dataclasses.replace(record, latency={}, metrics={**record.metrics, "pruned": network(ap, None)})
        for (name, record), ap in zip(sweep().items(), (0.3, 0.3, 0.31), strict=True)
    }
    # Neither time nor AP under attack is there: AP clean and size decide.
    assert on_front(records_frame(untimed)).tolist() == [False, True, True]
    assert on_front(records_frame({})).tolist() == []


def test_a_picture_of_any_sweep(tmp_path):
    draw_front(records_frame(sweep()), tmp_path / "both.png")
    sizes_only = {name: dataclasses.replace(record, latency={}) for name, record in sweep().items()}
    draw_front(records_frame(sizes_only), tmp_path / "one.png")
    with Image.open(tmp_path / "both.png") as both, Image.open(tmp_path / "one.png") as one:
        assert both.width == 2 * one.width
        colours = {colour for _, colour in both.convert("RGB").getcolors(1 << 24) or []}
        assert {(193, 102, 107), (42, 111, 151)} <= colours, "points under attack, and clean ones"
    draw_front(records_frame({}), tmp_path / "none.png")
    assert not (tmp_path / "none.png").exists()
