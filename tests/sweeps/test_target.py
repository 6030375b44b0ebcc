"""From a target to a ratio: the bisection against a scan, what is said of a search, and a real one that goes on."""

import csv
import json
import logging
from pathlib import Path

import pytest
from hydra.errors import HydraException
from hypothesis import given, settings
from hypothesis import strategies as st

from hydra_det.records.objectives import OBJECTIVES, read_search
from hydra_det.records.record import RecordError, read_record, write_record
from hydra_det.sweeps.bisection import bisect
from hydra_det.sweeps.check import check_search, has_target
from hydra_det.sweeps.search import objective_values, search
from hydra_det.sweeps.target import Target
from hydra_det.types import InputError, RatioError
from tests.pipeline.tiny import arguments, compose, unresolved
from tests.reports.example import example_record, latency, network, size
from train import train

GRID = [k / 1000 for k in range(991)]  # what a scan looks at


def walk(serves, *, start=0.0, end=0.99, tolerance=0.02, trials=20):
    """The result of a bisection, and the ratios in the order they were tried."""
    tried = []

    def noted(ratio):
        tried.append(ratio)
        return serves(ratio)

    found = bisect(noted, start=start, end=end, tolerance=tolerance, trials=trials)
    assert len(tried) == len(set(tried)) <= trials, "no ratio is run twice"
    assert all(0 <= ratio <= 0.99 for ratio in tried)
    return found, tried


@given(edge=st.floats(-0.1, 1.1), upwards=st.booleans(), tolerance=st.sampled_from([0.2, 0.02, 0.003]))
def test_on_a_monotone_curve_the_scan_finds_the_same(edge, upwards, tolerance):
    serves = (lambda ratio: ratio <= edge) if upwards else (lambda ratio: ratio >= edge)
    start, end = (0.0, 0.99) if upwards else (0.99, 0.0)
    found, tried = walk(serves, start=start, end=end, tolerance=tolerance)
    scanned = [ratio for ratio in GRID if serves(ratio)]
    if not scanned:
        assert found is None
        assert tried == [start], "a target that cannot be met costs one run"
        return
    last = max(scanned) if upwards else min(scanned)
    assert serves(found[0])
    assert abs(found[0] - last) <= tolerance + 0.001
    assert len(scanned) < len(GRID) or found == (end, end), "where all serve, the end is what is wanted"


@settings(max_examples=200)
@given(served=st.sets(st.sampled_from(GRID)), upwards=st.booleans(), trials=st.integers(2, 12))
def test_on_any_curve_the_found_ratio_was_tried_and_none_behind_it_serves(served, upwards, trials):
    start, end = (0.0, 0.99) if upwards else (0.99, 0.0)
    found, tried = walk(served.__contains__, start=start, end=end, trials=trials)
    good = [ratio for ratio in tried if ratio in served]
    assert (found is None) == (start not in served)
    if found is not None:
        assert found[0] == (max(good) if upwards else min(good))
        assert found[1] == end or found[1] in set(tried) - served


def test_runs_end_with_their_number_and_the_far_end_is_tried_only_where_all_others_serve():
    assert walk(lambda _: True, tolerance=0.3)[1] == [0.0, 0.495, 0.742, 0.99]
    assert walk(lambda ratio: ratio < 0.99, tolerance=0.3) == ((0.742, 0.99), [0.0, 0.495, 0.742, 0.99])
    assert walk(lambda ratio: ratio < 0.6, tolerance=0.3)[1] == [0.0, 0.495, 0.742]
    assert walk(lambda ratio: ratio < 0.6, tolerance=0.01, trials=3) == ((0.495, 0.742), [0.0, 0.495, 0.742])


def test_a_floor_wants_the_largest_ratio_and_a_ceiling_alone_the_smallest():
    assert Target(map_attacked=0.2, latency_ms=5.0).ends == (0, 0.99)
    assert Target(map_attacked=0.2, latency_ms=5.0).steering == {"map_attacked": 0.2}
    assert Target(latency_ms=5.0, lowest=0.3).ends == (0.99, 0.3)
    assert Target(latency_ms=5.0, megabytes=1.0).steering == {"latency_ms": 5.0, "megabytes": 1.0}


def made(tmp_path, *typed, precision=lambda ratio: 0.5 * (1 - ratio), refused=1.0, tried=None):
    """A search whose runs train nothing: AP and cost are functions of the ratio. The run found and the ratios tried."""
    tried = [] if tried is None else tried

    def fake(config, folder, words):
        ratio = config["prune"]["ratio"]
        for stage in ("train_scores", "prune"):  # the ratio reaches what refers to it
            assert json.dumps(config["stage"][stage]).count(f'"ratio": {ratio},') == 1
        assert words[-1] == f"prune.ratio={ratio}"
        assert not any(word.startswith("target.") for word in words)
        timed = {"dense": latency(100.0), "compact": latency(100 * (1 - ratio))}
        if config["evaluation"]["latency"]["sparse"]:
            assert "evaluation.latency.sparse=true" in words
            timed["sparse"] = latency(40 * (1 - ratio))
        tried.append(ratio)
        if ratio >= refused:
            raise RatioError(f"prune.ratio: expected less, got {ratio}")
        ap = precision(ratio)
        sparsity = {**example_record().sparsity, "ratio_asked": ratio}
        record = example_record(
            sparsity=sparsity,
            metrics={"dense": network(0.6, 0.5), "pruned": network(ap + 0.1, ap)},
            latency=timed,
            sizes={"dense": size(10_000_000), "compact": size(int(10_000_000 * (1 - ratio)))},
        )
        write_record(folder / "record.json", record)
        return record

    return search(fake, unresolved(arguments(tmp_path, *typed)), tmp_path / "search"), tried


def chosen(folder):
    found = read_search(folder / "search" / "target.json")
    assert found["chosen"] is not None
    return found["trials"][found["chosen"]]["ratio"]


def test_the_largest_ratio_that_keeps_ap_is_written_shown_and_linked(tmp_path, capsys, caplog):
    with caplog.at_level(logging.INFO):
        record, tried = made(tmp_path, "target.map_attacked=0.2", "target.tolerance=0.2")
    assert tried == [0, 0.495, 0.742, 0.619]
    found = read_search(tmp_path / "search" / "target.json")
    assert found["goals"] == {"map_attacked": 0.2}
    assert [trial["ratio"] for trial in found["trials"]] == tried
    assert [trial["meets"] for trial in found["trials"]] == [True, True, False, False]
    assert found["chosen"] == 1
    assert found["trials"][1]["values"]["map_attacked"] == pytest.approx(0.5 * 0.505)
    assert found["trials"][1]["values"]["megabytes"] == pytest.approx(4 * 5.05)
    assert found["trials"][1]["values"]["latency_ms"] == pytest.approx(50.5 + 5.75)
    assert found["dense"] == {
        "map_clean": 0.6, "map_attacked": 0.5, "latency_ms": 105.75, "sparse_latency_ms": None, "megabytes": 40.0,
    }  # fmt: skip
    assert found["notes"] == ["between ratio 0.495, which serves, and 0.619, which does not, nothing was tried"]
    assert read_record(tmp_path / "search" / "best" / "record.json") == record
    assert (tmp_path / "search" / "best").readlink() == Path("ratio_0.495")
    with (tmp_path / "search" / "summary.csv").open() as file:
        assert {float(row["ratio"]) for row in csv.DictReader(file)} == set(tried)
    assert (tmp_path / "search" / "front.png").stat().st_size > 1000
    shown = capsys.readouterr().out
    assert "ratio 0.495 (ratio_0.495)" in shown
    assert "AP of the test images chose the ratio" in shown
    assert f"ratio 0.495 gives AP attacked of at least 0.2; go on with python compact.py run={tmp_path}" in caplog.text


def test_a_ceiling_alone_is_reached_with_the_smallest_ratio(tmp_path):
    _, tried = made(tmp_path, "target.megabytes=20", "prune=filter_group", "target.tolerance=0.1", "target.lowest=0.2")
    assert tried == [0.99, 0.595, 0.397, 0.496]
    assert chosen(tmp_path) == 0.595


def test_a_ceiling_in_the_sparse_engine(tmp_path, caplog):
    """5.75 ms of decoding and NMS, and 40 ms times what is kept: 25.75 ms are reached with half of it."""
    _, tried = made(tmp_path, "target.sparse_latency_ms=25.75", "prune=weight", "target.tolerance=0.1")
    assert tried == [0.99, 0.495, 0.742, 0.619, 0.557]
    assert chosen(tmp_path) == 0.557
    assert "leave few channels" not in caplog.text, "single weights are what this engine is for"


BOTH = ("target.map_attacked=0.2", "prune=filter_group", "target.tolerance=0.2")


def test_with_both_the_largest_ratio_that_keeps_ap_must_reach_the_ceiling(tmp_path):
    record, _ = made(tmp_path, *BOTH, "target.latency_ms=60")
    assert record.sparsity["ratio_asked"] == 0.495


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (
            [*BOTH, "target.megabytes=12"],
            "target: expected a network with AP attacked of at least 0.2 and at most 12 MB, got none: ratio 0.495 is "
            "the largest that keeps AP, with AP attacked 0.253, 20.200 MB; at most 12 MB takes ratio 0.742 with AP "
            "attacked 0.129, 10.320 MB; the dense network has AP attacked 0.500, 40.000 MB",
        ),
        (
            [*BOTH, "target.latency_ms=2"],
            "got none: ratio 0.495 is the largest that keeps AP, with AP attacked 0.253, 56.25 ms; no ratio reaches at "
            "most 2 ms, the largest, 0.742, has AP attacked 0.129, 31.55 ms; the dense",
        ),
        (
            ["target.map_clean=0.7"],
            "target: expected a network with AP clean of at least 0.7, got AP clean 0.600 at ratio 0, the least that "
            "may be removed; the dense network has AP clean 0.600; ask for less, train longer, or change target.lowest",
        ),
        (
            ["target.latency_ms=2", "prune=filter_group"],
            "at most 2 ms, got 6.75 ms at ratio 0.99, the most that may be removed; the dense network has 105.75 ms",
        ),
    ],
    ids=["both", "nothing fast", "precise", "fast"],
)
def test_what_cannot_be_met_is_one_line_and_leaves_no_best(tmp_path, typed, said):
    made(tmp_path, "target.map_attacked=0.2", "target.tolerance=0.4")
    assert (tmp_path / "search" / "best").is_dir()
    with pytest.raises(InputError) as refused:
        made(tmp_path, *typed)
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)
    assert read_search(tmp_path / "search" / "target.json")["chosen"] is None
    assert not (tmp_path / "search" / "best").is_symlink()


def test_masks_that_seldom_empty_a_channel_are_warned_of(tmp_path, caplog):
    made(tmp_path, "target.megabytes=20", "target.tolerance=0.4")
    assert "target.megabytes: masks of weight leave few channels to remove; prune=filter_group does" in caplog.text
    caplog.clear()
    made(tmp_path, "target.megabytes=20", "target.tolerance=0.4", "prune=filter_group")
    assert not [record for record in caplog.records if record.levelname == "WARNING"]


def test_a_ratio_that_leaves_no_network_does_not_serve(tmp_path):
    _, tried = made(tmp_path, "target.map_attacked=0.01", "target.tolerance=0.1", refused=0.7)
    assert tried == [0, 0.495, 0.742, 0.619, 0.68]
    assert chosen(tmp_path) == 0.68
    assert (
        read_search(tmp_path / "search" / "target.json")["trials"][2]["refused"]
        == "prune.ratio: expected less, got 0.742"
    )
    tried.clear()
    with pytest.raises(RatioError, match=r"got 0\.99 \(ratio 0\.99 is where the search starts\)"):
        made(tmp_path, "target.megabytes=5", "prune=filter_group", refused=0.9, tried=tried)
    assert tried == [0.99]


def test_ap_that_rises_with_the_ratio_is_said(tmp_path):
    bumpy = lambda ratio: 0.4 if 0.4 < ratio < 0.6 else 0.3  # noqa: E731
    made(tmp_path, "target.map_attacked=0.25", "target.tolerance=0.3", precision=bumpy)
    assert read_search(tmp_path / "search" / "target.json")["notes"] == [
        "ratio 0.99 is the end of the range that was searched: target.lowest, target.highest",
        "the search assumes that more pruning does not raise AP attacked: here it rises from AP attacked 0.300 at "
        "ratio 0 to AP attacked 0.400 at 0.495",
    ]


def test_too_few_runs_are_said(tmp_path):
    made(tmp_path, "target.map_attacked=0.2", "target.trials=2")
    (note,) = read_search(tmp_path / "search" / "target.json")["notes"]
    assert note == (
        "between ratio 0.495, which serves, and 0.99, the end of the range, nothing was tried: 2 runs were not enough "
        "for target.tolerance=0.02"
    )


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (["target.map_attacked=1.5"], "target.map_attacked: expected an AP in (0, 1], got 1.5"),
        (["target.map_attacked=0"], "target.map_attacked: expected an AP in (0, 1], got 0"),
        (["target.map_clean=-0.1"], "target.map_clean: expected an AP in (0, 1], got -0.1"),
        (["target.map_clean=high"], "target.map_clean: expected an AP in (0, 1], got high"),
        (["target.map_clean=true"], "target.map_clean: expected an AP in (0, 1], got True"),
        (["target.latency_ms=-3"], "target.latency_ms: expected a number above 0, got -3"),
        (["target.megabytes=.inf"], "target.megabytes: expected a number above 0, got .inf"),
        (["target.megabytes=inf"], "target.megabytes: expected a number above 0, got inf"),
        (["target.tolerance=0"], "target.tolerance: expected a distance between ratios above 0 and below 0.99"),
        (["target.tolerance=1"], "target.tolerance: expected a distance between ratios above 0 and below 0.99"),
        (["target.trials=1"], "target.trials: expected a whole number of at least 2, got 1"),
        (["target.highest=1"], "target.highest: expected a ratio in [0, 1), got 1"),
        (["target.lowest=0.9", "target.highest=0.5"], "target.lowest: expected a ratio below target.highest=0.5"),
        (["+target.ms=3"], "Target: expected its own settings, got ms=3"),
        (["target.map_clean=0.1", "prune=nm"], "target: expected prune=weight, kernel, "),
        (["target.latency_ms=1", "prune=filter", "trainer.devices=2", "trainer.accelerator=cpu"], "one process, as"),
        (["objectives=[map]"], "expected a list of some of map_clean, map_attacked, latency_ms, sparse_latency_ms, m"),
        (["objectives=[sparse_latency_ms]"], "expected true for the objective sparse_latency_ms, got false; add evalu"),
        (["target.sparse_latency_ms=0"], "target.sparse_latency_ms: expected a number above 0, got 0"),
        (["objectives=[latency_ms]", "trainer.devices=2", "trainer.accelerator=cpu"], "one process for latency_ms"),
        (["objectives=megabytes"], "as in objectives=[map_attacked,megabytes], got megabytes"),
        (["objectives=[megabytes,megabytes]"], "objectives: expected a list of some of"),
        (["objectives=[megabytes]", "dry_run=true"], "dry_run: expected false beside objectives, got true"),
    ],
    ids=str,
)  # fmt: skip
def test_nonsense_is_refused_in_one_line(typed, said):
    with pytest.raises(InputError) as refused:
        check_search(compose(typed))
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("words", [["target.map_attacked=0.1"], ["objectives=[map_attacked]"]])
def test_ap_under_an_attack_needs_an_attack(words):
    with pytest.raises(InputError, match=r"expected an attack.*got none"):
        check_search(compose([*words, "attack=none"]))


def test_a_ratio_beside_a_target_is_refused(tmp_path):
    tried: list[float] = []
    with pytest.raises(InputError, match=r"prune\.ratio: expected none beside target\.map_clean, which finds it"):
        made(tmp_path, "target.map_clean=0.1", "prune.ratio=0.5", tried=tried)
    assert tried == []


def test_a_key_that_does_not_exist_is_refused():
    with pytest.raises(HydraException, match="map_atacked"):
        compose(["target.map_atacked=0.1"])


@pytest.mark.parametrize("typed", [[], ["target=null"], ["target.tolerance=0.1"]], ids=str)
def test_without_a_bound_there_is_no_search(typed):
    assert not has_target(unresolved(typed))
    assert has_target(unresolved(["target.megabytes=1"]))
    check_search(compose(typed))


def test_a_target_that_is_a_number_is_refused():
    with pytest.raises(InputError, match=r"target: expected a bound, as in target\.map_attacked=0\.25, got 0\.3"):
        has_target(unresolved(["target=0.3"]))


def test_the_folder_is_named_after_the_target():
    from hydra_det.pipeline.build import asked_ratio

    assert asked_ratio(0.75, compose([])["target"]) == asked_ratio(0.75, 0.3) == "0.75"
    assert asked_ratio(0.75, compose(["target.map_clean=0.2", "target.megabytes=3"])["target"]) == (
        "map_clean_0.2_megabytes_3"
    )


def test_objectives_of_a_run_in_their_order():
    record = example_record()
    assert objective_values(record, ["megabytes", "map_attacked"]) == [0.028, 0.245]
    assert objective_values(record, ["latency_ms", "map_clean"]) == [306.75, 0.304]
    record.latency["sparse"] = latency(20.0)
    assert objective_values(record, ["sparse_latency_ms"]) == 25.75
    assert objective_values(record, ["map_clean"]) == 0.304, "a study of one objective takes a number"
    assert objective_values(record, None) is objective_values(None, ["megabytes"]) is None
    with pytest.raises(InputError, match="latency_ms was not measured"):
        objective_values(example_record(latency={}), ["latency_ms"])
    assert {objective.direction for objective in OBJECTIVES.values()} == {"maximize", "minimize"}


def test_a_file_that_is_no_search_is_refused(tmp_path):
    for text in ("", "[]", '{"created": 1}', '{"created": "2030"}'):
        (tmp_path / "target.json").write_text(text)
        with pytest.raises(RecordError, match=r"target\.json"):
            read_search(tmp_path / "target.json")


@pytest.mark.slow
def test_an_interrupted_search_goes_on_and_a_dry_run_says_what_comes(finished, caplog, monkeypatch):
    typed = ["prune=filter_group", "target.megabytes=1", "target.tolerance=0.5", "stage.pretrain.epochs=3"]
    folder = finished / "search"

    def stopped(config, run, words):
        if run.name != "ratio_0.99":
            raise KeyboardInterrupt
        return train(config, run, words)

    with pytest.raises(KeyboardInterrupt):
        search(stopped, unresolved(arguments(finished, *typed)), folder)
    first = read_record(folder / "ratio_0.99" / "record.json")
    assert not (folder / "target.json").exists()
    with caplog.at_level(logging.INFO):
        assert search(train, unresolved(arguments(finished, *typed, "dry_run=true")), folder) is None
    assert "target: at most 10 runs; the first are of ratio 0.99, and if it serves 0.495" in caplog.text
    assert "filter_group_0.99_seed0: finished" in caplog.text
    assert "filter_group_0.495_seed0: to run: train_scores" in caplog.text
    assert not (folder / "ratio_0.495").exists()

    record = search(train, unresolved(arguments(finished, *typed)), folder)
    found = read_search(folder / "target.json")
    assert [trial["ratio"] for trial in found["trials"]] == [0.99, 0.495]
    assert read_record(folder / "ratio_0.99" / "record.json") == first, "it was found, not run again"
    assert first.overrides[-1] == "prune.ratio=0.99"
    assert not {"target", "objectives"} & set(first.config)
    assert record == read_record(folder / "best" / "record.json")
    assert [stage["reused"] for stage in record.stages[:2]] == [True, True], "pretraining and initialisation are shared"
    sizes = {trial["ratio"]: trial["values"]["megabytes"] or 0.0 for trial in found["trials"]}
    assert 0 < sizes[0.99] < sizes[0.495]
    weights = read_record(folder / "ratio_0.495" / "record.json").sizes["compact"]["file_bytes"]
    assert sizes[0.495] == weights / 1e6
