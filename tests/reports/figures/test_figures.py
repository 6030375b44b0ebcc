"""Figures: what lies on their axes is what the records hold."""

import dataclasses
import warnings

import numpy as np
import pandas as pd
import pytest
from matplotlib.patches import Rectangle

from hydra_det.records.table import records_frame
from hydra_det.reports.figures.captions import CAPTIONS, SECTIONS, common_caption, in_section
from hydra_det.reports.figures.curves import CURVES, curve_figures, paper_figures, trade_figures
from hydra_det.reports.figures.forest import forest_figures
from hydra_det.reports.figures.headline import headline_figure
from hydra_det.reports.figures.layers import layer_figures, layer_table
from hydra_det.reports.figures.learning import SHARED, learning_figures, trainings
from hydra_det.reports.figures.style import GREY, looks, rendered
from hydra_det.reports.file_names import file_names
from hydra_det.reports.paper import paper_results
from hydra_det.reports.statistics.cells import METRICS
from hydra_det.reports.statistics.comparisons import compare
from tests.reports.example import GRID, example_record, grid, grid_record, network

TWO = ("deeplift_paper, weight", "scaled, kernel")


def drawn(records):
    frame = records_frame(records)
    return curve_figures(frame, looks(frame["configuration"])), frame


def points(axes, number):
    """The points of the n-th configuration of a curve, without their shift to the side."""
    line = [line for line in axes.lines if line.get_label() == "_points"][number]
    return sorted(zip(np.round(line.get_xdata()), line.get_ydata(), strict=True))


def xs(line):
    return np.asarray(line.get_xdata()).tolist()


def ys(line):
    return np.asarray(line.get_ydata()).tolist()


def bars(axes):
    """Mean and sd of every configuration at every ratio."""
    found = {}
    for container in axes.containers:
        line, _, (ranges,) = container
        ends = np.array(ranges.get_segments())[:, :, 1]
        found[container.get_label()] = list(zip(line.get_ydata(), (ends[:, 1] - ends[:, 0]) / 2, strict=True))
    return found


@pytest.mark.parametrize("name", CURVES)
def test_a_curve_holds_every_run_and_the_mean_and_sd_of_every_cell(name):
    figures, frame = drawn(grid(TWO, seeds=range(3)))
    (axes,) = figures[name].axes
    columns = {
        "ap_clean": frame["map_clean_pruned"],
        "ap_attacked": frame["map_attacked_pruned"],
        "speed_up_forward": frame["forward_ms_dense"] / frame["forward_ms_compact"],
        "speed_up": frame["total_ms_dense"] / frame["total_ms_compact"],
        "time_compact": frame["total_ms_compact"],
        "time_masked": frame["total_ms_pruned"],
        "size": frame["megabytes_compact"],
    }
    assert all(y <= max(axes.get_ylim()) for line in axes.lines for y in ys(line)), "all of it is seen"
    for number, configuration in enumerate(TWO):
        own = frame["configuration"] == configuration
        expected = sorted(zip(100 * frame.loc[own, "ratio"], columns[name][own], strict=True))
        assert np.allclose(points(axes, number), expected)
        cells = columns[name][own].groupby(frame["ratio"]).agg(["mean", "std"])
        assert np.allclose(bars(axes)[configuration], cells.to_numpy(), atol=1e-9)
    assert axes.get_ylabel().startswith(METRICS[CURVES[name]].label)


def test_the_high_part_is_drawn_where_there_is_one():
    figures, _ = drawn(grid(TWO, seeds=[0]))
    assert "ap_attacked_high" not in figures
    figures, _ = drawn(grid(TWO, ratios=(0, 0.9, 0.95), seeds=[0]))
    assert {x for x, _ in points(figures["ap_attacked_high"].axes[0], 0)} == {90, 95}


def test_one_run_is_a_point_without_a_spread():
    figures, frame = drawn({"a": grid_record("scaled, weight", 0.5, 0)})
    ((mean, sd),) = bars(figures["ap_attacked"].axes[0])["scaled, weight"]
    assert (mean, sd) == (frame["map_attacked_pruned"][0], 0)
    (dense,) = (ys(line) for line in figures["size"].axes[0].lines if line.get_linestyle() == ":")
    assert dense[0] == pytest.approx(frame["megabytes_dense"][0])
    assert dense[0] < figures["size"].axes[0].get_ylim()[1], "the line of the dense network is on the figure"
    assert trade_figures(frame, looks(frame["configuration"])) == {}


def test_what_was_not_measured_is_not_drawn():
    bare = {
        folder: dataclasses.replace(
            record, metrics={"dense": network(0.4, None), "pruned": network(0.3, None)}, latency={}, sizes={}
        )
        for folder, record in grid(TWO, seeds=[0]).items()
    }
    figures, frame = drawn(bare)
    assert set(figures) == {"ap_clean"}
    assert trade_figures(frame, looks(frame["configuration"])) == {}


def test_the_trade_off_is_over_clean_ap_where_nothing_was_attacked():
    records = {
        folder: dataclasses.replace(record, metrics={"dense": network(0.4, None), "pruned": network(0.3, None)})
        for folder, record in grid(TWO, seeds=[0]).items()
    }
    frame = records_frame(records)
    figures = trade_figures(frame, looks(frame["configuration"]))
    assert {figure.axes[0].get_ylabel() for figure in figures.values()} == {"AP clean"}
    line = figures["trade_size"].axes[0].lines[0]
    assert sorted(xs(line)) == sorted(frame.loc[frame["configuration"] == TWO[0], "megabytes_compact"])


def test_the_paper_has_axes_of_its_own():
    frame = records_frame(grid(TWO, seeds=[0]))
    results = paper_results()
    own = results[(results["granularity"] == "kernel") & (results["init"] == "scaled")]
    figures = paper_figures(frame)
    found = bars(figures["paper_map"].axes[0])["scaled, kernel"]
    assert np.allclose(found, own.groupby("prune_ratio")["map_attacked"].agg(["mean", "std"]).to_numpy())
    assert all(len(figure.axes) == 1 for figure in figures.values())
    assert "not COCO" in figures["paper_map"].axes[0].get_ylabel()
    (line,) = (line for line in figures["paper_map"].axes[0].containers if line.get_label() == "scaled, kernel")
    assert line[0].get_color() == looks(TWO)["scaled, kernel"].colour


def test_a_configuration_looks_the_same_whatever_else_there_is():
    every, few = looks(GRID), looks(["scaled, kernel"])
    assert every["scaled, kernel"] == few["scaled, kernel"]
    many = looks([*GRID, *(f"other {k}" for k in range(30))])
    assert len(many) == len(set(many.values())) == 35
    assert {name: many[name] for name in GRID} == dict(every)


@pytest.mark.parametrize(("seeds", "colour"), [(4, GREY), (6, "black")])
def test_differences_lie_where_the_comparisons_say(seeds, colour):
    """Those of too few seeds are hints, and grey."""
    records = grid((*TWO[:1], "scaled, weight"), seeds=range(seeds), resamples=50)
    comparisons = compare(records, records_frame(records))
    (axes,) = forest_figures(comparisons)["difference_map_attacked"].axes
    lines = {line.get_label(): line for line in axes.lines}
    for row in comparisons[comparisons["metric"] == "map_attacked"].to_dict("records"):
        name = f"{row['comparison']} {row['ratio']:g}"
        assert xs(lines[name]) == [row["difference"]]
        assert lines[name].get_markerfacecolor() == (colour if row["p_holm"] < 0.05 else "white")
        for kind in ("welch", "paired", "bootstrap"):
            assert xs(lines[f"{name} {kind}"]) == [row[f"{kind}_low"], row[f"{kind}_high"]]


def trained(record, *histories):
    """The record with stages of these names, fingerprints and histories."""
    stages = [
        {**record.stages[0], "name": name, "fingerprint": key, **({"facts": facts} if facts is not None else {})}
        for name, key, facts in histories
    ]
    return dataclasses.replace(record, stages=stages)


def test_a_shared_stage_is_one_line():
    first = {"epoch": 1, "loss": 3.0, "map": 0.02}
    history = {"history": [first, {"epoch": 2, "loss": 2.0, "map": 0.1, "map_attacked": 0.05}]}
    single = {"history": [{"epoch": 1, "loss": 1.0, "map": 0.2}]}
    records = {
        name: trained(grid_record(name, 0.5, 0), ("pretrain", "same", history), ("finetune", name, single))
        for name in TWO
    }
    records["old"] = trained(grid_record(TWO[0], 0.9, 0), ("pretrain", "other", None), ("prune", "x", {"units": 3}))
    frame = records_frame(records)
    found = trainings(records, frame)
    assert [(one.stage, one.fingerprint) for one in found] == [
        ("pretrain", "same"),
        ("finetune", TWO[0]),
        ("finetune", TWO[1]),
    ]
    assert found[0].configurations == tuple(sorted(TWO))
    figures = learning_figures(found, looks(frame["configuration"]))
    assert set(figures) == {"learning_pretrain_loss", "learning_pretrain_ap"}, "of one epoch there is nothing to see"
    (line,) = figures["learning_pretrain_loss"].axes[0].lines
    assert (xs(line), ys(line)) == ([1, 2], [3.0, 2.0])
    assert line.get_label() == f"{SHARED}: loss"
    clean, attacked = figures["learning_pretrain_ap"].axes[0].lines
    assert (clean.get_label(), attacked.get_label()) == (f"{SHARED}: map", f"{SHARED}: map_attacked")
    assert (xs(attacked), ys(attacked)) == ([2], [0.05])


@pytest.fixture
def kept():
    """A run at one ratio, a second one of another seed that keeps more of its first layer, and one at another ratio."""
    other = example_record(sparsity=example_record().sparsity | {"ratio_asked": 0.5})
    records = {"a": example_record(), "b": example_record(seed=8), "c": other}
    stem = records["b"].sparsity["layers"][0]
    stem["kept"], stem["pruned"] = 180, 720
    return layer_table(records, records_frame(records))


def test_the_heat_map_holds_the_share_that_stays(kept):
    assert kept.loc[kept["single"], "layer"].unique().tolist() == ["head"]
    (figure,) = layer_figures(kept).values()
    shares = np.asarray(figure.axes[0].images[0].get_array())
    assert np.allclose(shares, [[0.1, (90 + 180) / 1800], [1010 / 10100, 1010 / 10100]])
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["stem", "head  1 x 1"]


def test_at_one_ratio_bars_hold_the_share_that_stays(kept):
    (figure,) = layer_figures(kept[kept["ratio"] == 0.9]).values()
    axes = figure.axes[0]
    assert np.allclose(
        [bar.get_width() for bar in axes.patches if isinstance(bar, Rectangle)], [(90 + 180) / 1800, 1010 / 10100]
    )
    assert [label.get_text() for label in axes.get_yticklabels()] == ["stem", "head  1 x 1"]
    assert xs(axes.lines[0]) == [pytest.approx(0.1)] * 2, "what was asked for"


def test_the_headline_has_both_conditions_and_the_dense_networks():
    frame = records_frame(grid(TWO, seeds=range(3)))
    (figure,) = headline_figure(frame, looks(frame["configuration"])).values()
    for axes, kind in zip(figure.axes, ("clean", "attacked"), strict=True):
        for configuration in TWO:
            own = frame[frame["configuration"] == configuration]
            cells = own.groupby("ratio")[f"map_{kind}_pruned"].agg(["mean", "std"])
            assert np.allclose(bars(axes)[configuration], cells.to_numpy(), atol=1e-9)
        (dense,) = (line for line in axes.lines if line.get_label() == "dense networks")
        by_configuration = [frame.loc[frame["configuration"] == name, f"map_{kind}_dense"].mean() for name in TWO]
        assert ys(dense) == [pytest.approx(sum(by_configuration) / 2)] * 2
    assert figure.axes[0].get_ylim() == figure.axes[1].get_ylim()


def test_one_configuration_that_starts_from_others_does_not_move_the_line_of_the_dense_networks():
    three = ("deeplift_paper, weight", "scaled, weight", "scaled, kernel")
    frame = records_frame(grid(three, seeds=[0]))
    frame.loc[frame["configuration"] == three[0], "map_clean_dense"] = 0.9
    frame.loc[frame["configuration"] == three[1], "map_clean_dense"] = 0.5
    frame.loc[frame["configuration"] == three[2], "map_clean_dense"] = 0.4
    (figure,) = headline_figure(frame, looks(frame["configuration"])).values()
    (dense,) = (line for line in figure.axes[0].lines if line.get_label() == "dense networks")
    assert ys(dense) == [0.5, 0.5]


def test_the_headline_of_one_run_is_bars():
    frame = records_frame({"a": example_record()})
    (figure,) = headline_figure(frame, looks(frame["configuration"])).values()
    widths = [[bar.get_width() for bar in axes.patches if isinstance(bar, Rectangle)] for axes in figure.axes]
    assert widths == [[0.412, 0.304], [0.313, 0.245]]
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["dense", "90 % removed"]
    assert figure.axes[0].get_xlim() == figure.axes[1].get_xlim()
    left, _ = figure.axes[0].get_xlim()
    assert left == 0, "the length of a bar is its number"
    bare = example_record(metrics={"dense": network(0.4, None), "pruned": network(0.3, None)})
    (figure,) = headline_figure(records_frame({"a": bare}), looks(frame["configuration"])).values()
    assert len(figure.axes) == 1, "what was not attacked has no such panel"


def test_figures_as_files_are_the_same_every_time():
    figures, _ = drawn(grid(TWO[:1], seeds=[0], ratios=[0.5]))
    once, twice = (rendered({"ap_clean": figures["ap_clean"]}) for _ in range(2))
    assert list(once) == ["ap_clean.png", "ap_clean.svg"]
    assert once == twice
    assert once["ap_clean.png"].startswith(b"\x89PNG")


def test_every_figure_has_a_caption_and_a_place():
    records = grid(TWO, ratios=(0, 0.9, 0.95), seeds=range(2))
    frame = records_frame(records)
    look = looks(frame["configuration"])
    names = {
        **curve_figures(frame, look),
        **paper_figures(frame),
        **trade_figures(frame, look),
        **forest_figures(compare(records, frame)),
        **layer_figures(layer_table(records, frame)),
        **headline_figure(frame, look),
        "compaction": None,
    }
    placed = [name for section in SECTIONS for name in in_section(names, section)]
    assert sorted(placed) == sorted(names)
    for section in SECTIONS:
        for name in in_section(names, section):
            assert name in CAPTIONS or common_caption(section)


def test_names_of_files():
    names = ["DeepLIFT, kernel: <b>/..", "/?", "deeplift kernel b", "x" * 99]
    assert list(file_names(names).values()) == ["deeplift_kernel_b", "unnamed", "deeplift_kernel_b_2", "x" * 80]


@pytest.mark.parametrize("name", ["word" * 60, "a name of many words, " * 14], ids=["one word", "many"])
def test_names_of_any_length_leave_room_for_the_axes(name):
    records = {
        f"{place}_{seed}": grid_record("scaled, weight", ratio, seed)
        for place, ratio in enumerate((0.5, 0.9))
        for seed in (0, 1)
    }
    plain, frame = records_frame(records), records_frame(records)
    several = pd.concat([frame.assign(configuration=f"{name}{place}") for place in range(12)], ignore_index=True)
    look = looks(several["configuration"])
    kinds = ("ap_attacked", "speed_up")  # of curves: without and with a baseline; each takes a second to draw
    curves, usual = curve_figures(several, look), curve_figures(plain, looks(plain["configuration"]))
    figures = {kind: curves[kind] for kind in kinds}
    figures |= {**headline_figure(several, look), **trade_figures(several, look)}
    figures |= {"bars": headline_figure(several[several["ratio"] == 0.5], look)["headline"]}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        rendered(figures)
        rendered({kind: usual[kind] for kind in kinds})
    for figure in figures.values():
        width, height = figure.get_size_inches() * figure.dpi
        for legend in figure.legends:
            box = legend.get_window_extent()
            assert 0 <= box.x0 < box.x1 <= width, "cut off at a side"
            assert 0 <= box.y0 < box.y1 <= height
        assert figure.axes[0].get_window_extent().height > 100


def test_labels_of_ratios_have_room_where_a_panel_is_half_a_figure():
    frame = records_frame(grid(TWO, ratios=(0, 0.75, 0.9, 0.95, 0.99), seeds=range(2)))
    figure = headline_figure(frame, looks(frame["configuration"]))["headline"]
    for axes in figure.axes:
        assert [label.get_text() for label in axes.get_xticklabels()] == ["0", "75", "90", "", "99"]
