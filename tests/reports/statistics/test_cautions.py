"""Cautions: a report in which one thing is wrong says that one thing, with the runs and what to do."""

from dataclasses import replace
from typing import Any

import pytest

from hydra_det.records.record import Metrics
from hydra_det.records.table import records_frame
from hydra_det.reports.statistics.cautions import cautions_of
from hydra_det.reports.statistics.comparisons import compare
from tests.reports.example import GRID, grid, grid_record, latency, network

WEIGHT, KERNEL = "deeplift_paper, weight", "deeplift_paper, kernel"


@pytest.fixture(scope="module")
def sound():
    """Two cells at ratio 0 and two at 0.5, five seeds each: nothing to say."""
    return grid([WEIGHT, KERNEL], ratios=(0.0, 0.5), seeds=range(5))


@pytest.fixture(scope="module")
def tested(sound):
    return compare(sound, records_frame(sound))


def texts(records, comparisons=None, problems=None, **others):
    """The cautions of a report, by kind."""
    frame = records_frame(records)
    found: dict[str, list[str]] = {}
    comparisons = compare(records, frame) if comparisons is None else comparisons
    for kind, text in cautions_of(records, problems or {}, frame, comparisons, **others):
        found.setdefault(kind, []).append(text)
    return found


def changed(records, **changes):
    """The records, the last one with other fields, and its folder."""
    folder = list(records)[-1]
    return records | {folder: replace(records[folder], **changes)}, folder


def test_a_sound_report_has_none(sound, tested):
    assert texts(sound, tested) == {}


def test_what_could_not_be_read_or_failed(sound, tested):
    known = next(iter(sound))
    found = texts(
        sound,
        tested,
        {"a/b": "a/b/record.json: not JSON"},
        failures={"c": "disk\nfull", known: "", "d": "x", "e": "disk full"},
    )
    assert found.pop("unreadable") == ["a/b is left out: a/b/record.json: not JSON"]
    failed = found.pop("failed")
    assert failed[0] == "failed and not in the numbers: c · e; disk full; repair that and run again"
    assert known in failed[2]
    assert "its numbers are of an earlier one" in failed[2]
    assert len(failed) == 3
    assert found == {}


def test_no_runs_at_all():
    assert texts({}) == {"runs": ["there is no run to report; give the folder of a finished run or sweep"]}


def test_few_runs():
    (one,) = texts(grid([WEIGHT], ratios=[0.5], seeds=[0]))["runs"]
    assert one == "one run only in deeplift_paper, weight at 0.5: no spread and no test; run more seeds"
    (three,) = texts(grid([WEIGHT], ratios=[0.5, 0.9], seeds=range(3)))["runs"]
    assert three.startswith(
        "3 runs in deeplift_paper, weight at 0.5 · deeplift_paper, weight at 0.9: a test finds a difference of 3.1"
    )


def test_unequal_seeds_and_ratios(sound):
    fewer = {folder: record for folder, record in sound.items() if "kernel_0.5_seed3" not in folder}
    found = texts(fewer)["runs"]
    assert found[0].startswith("4 runs in deeplift_paper, kernel at 0.5: a test finds a difference of 2.4")
    assert found[1].startswith("seed 3 is not in deeplift_paper, kernel at 0.5, but in others")
    assert len(found) == 2
    fewer = {folder: record for folder, record in sound.items() if "kernel_0.5" not in folder}
    assert texts(fewer)["runs"] == ["no run at ratio 0.5 in deeplift_paper, kernel, but in others; run it"]


def test_a_seed_that_was_run_twice(sound, tested):
    last = list(sound)[-1]
    (text,) = texts(sound | {"again": sound[last]}, tested)["runs"]
    assert text.startswith(f"seed 4 of deeplift_paper, kernel at 0.5 was run 2 times ({last} · again)")


OTHER: dict[str, tuple[dict[str, Any], str, str]] = {
    "images": (
        {"dataset": {"name": "mine", "fingerprint": "f00d", "classes": [], "train": 7, "val": 0, "test": 3}},
        "data",
        "mine, 7 to train and 3 to test",
    ),
    "attack": ({"attack": {"name": "pgd", "epsilon": 0.1, "step_size": 0.02, "steps": 5}}, "attack", "epsilon 0.1"),
    "no attack": ({"metrics": {"dense": network(0.5, None), "pruned": network(0.4, None)}}, "attack", "not attacked"),
    "commit": ({"commit": "f" * 40}, "software", "ffffffff in"),
    "no commit": ({"commit": None}, "software", "unknown in"),
    "version": ({"versions": {"torch": "9.9", "hydra-det": None, "python": "3.12.1"}}, "software", "torch in all"),
    "not installed": ({"versions": {"torch": "2.11.0", "python": "3.12.1", "hydra-det": "1"}}, "software", "none in"),
    "threads": ({"latency": {"dense": latency(9.0) | {"threads": 8}, "compact": latency(8.0)}}, "time", "8 threads"),
    "device": ({"latency": {"dense": latency(9.0) | {"device": "cuda"}, "compact": latency(8.0)}}, "time", "cuda"),
    "size": (
        {"latency": {"dense": latency(9.0) | {"image_size": [64, 32]}, "compact": latency(8.0)}},
        "time",
        "32 x 64",
    ),
    "busy": ({"latency": {"dense": latency(9.0), "compact": latency(8.0) | {"load": 1.5}}}, "time", "was busy"),
    "no times": ({"latency": {}}, "time", "no times in"),
    "no compact": (
        {"latency": {"dense": latency(9.0), "pruned": latency(9.0)}},
        "time",
        "compact network was not timed",
    ),
}


@pytest.mark.parametrize("name", OTHER)
def test_one_run_that_differs(sound, tested, name):
    changes, kind, words = OTHER[name]
    records, folder = changed(sound, **changes)
    found = texts(records, tested)
    assert list(found) == [kind]
    (text,) = found[kind]
    assert words in text
    assert folder in text


def test_a_changed_checkout_and_a_corruption(sound, tested):
    records, folder = changed(sound, commit=f"{'f' * 40}-dirty")
    commit, dirty = texts(records, tested)["software"]
    assert "ffffffff" in commit
    assert dirty.startswith(f"the code was changed and not committed in {folder}")
    fog = {"name": "corruption", "epsilon": 0.0, "kind": "fog", "severity": 3}
    (text,) = texts({folder: replace(record, attack=fog) for folder, record in sound.items()}, tested)["attack"]
    assert text.startswith("corrupted, not attacked")
    assert "and 16 more" in text


def test_times_of_an_unknown_load_are_let_be(sound, tested):
    idle = {"dense": latency(9.0) | {"load": None}, "compact": latency(8.0) | {"load": 1.0}}
    assert texts(changed(sound, latency=idle)[0], tested) == {}


def test_the_control():
    metrics: dict[int, Metrics] = {
        seed: {"dense": network(0.5, 0.4), "pruned": network(0.4 + seed / 100, 0.3)} for seed in range(5)
    }
    same = {f"{n}{s}": grid_record(n, 0.0, s, metrics=metrics[s]) for n in (WEIGHT, KERNEL) for s in range(5)}
    assert "control" not in texts(same), "the very same network is the best control there is"
    other: dict[int, Metrics] = {
        seed: {"dense": network(0.5, 0.4), "pruned": network(0.2 + seed**2 / 100, 0.3)} for seed in range(5)
    }
    apart = {f: replace(r, metrics=other[r.seed]) if "kernel" in f else r for f, r in same.items()}
    texts_of = texts(apart)["control"]
    assert len(texts_of) == 1
    assert texts_of[0].startswith(
        "deeplift_paper, weight vs. deeplift_paper, kernel differ in AP clean by -0.16 (adjusted p "
    )
    (absent,) = texts(grid([WEIGHT, KERNEL], ratios=[0.5], seeds=range(5)))["control"]
    assert absent.startswith("no control")
    untested = texts(grid([WEIGHT, KERNEL], ratios=[0.0], seeds=[0]))["control"]
    assert len(untested) == 6
    assert untested[0].startswith("the control at ratio 0 was not tested for")
    assert "control" not in texts(grid([WEIGHT], ratios=[0.5], seeds=range(5))), "nothing is compared"


def test_pairs_that_are_left_out(tested):
    records = {}
    for k in range(7):
        for folder, record in grid([WEIGHT], ratios=[0.5], seeds=[0]).items():
            config = record.config | {"choices": {"init": f"other{k}"}}
            records[f"{folder}{k}"] = replace(record, config=config)
    (text,) = texts(records, tested)["pairs"]
    assert "other" in text
    assert "and 2 more" in text, "21 pairs, 15 of them compared, 4 named"


def test_a_sparsity_that_was_not_reached(sound, tested):
    folder = list(sound)[-1]
    off = sound[folder].sparsity | {"kept": 6_000, "pruned": 5_000}
    (text,) = texts(changed(sound, sparsity=off)[0], tested)["sparsity"]
    assert text.startswith(f"{folder}: sparsity 0.5 was asked for and 0.455 reached")
    assert texts(changed(sound, sparsity=off | {"budget": "flops"})[0], tested) == {}


def test_alarms_of_a_suite(sound, tested):
    alarms = [
        {"name": "masked gradients", "figure": 0.2, "limit": 0.05, "raised": True, "meaning": "of AP"},
        {"name": "quiet one", "figure": 0.01, "limit": 0.05, "raised": False, "meaning": "of AP"},
        {"name": "unchecked one", "figure": None, "limit": 0.05, "raised": None, "meaning": "of AP"},
    ]
    known = next(iter(sound))
    suite: Any = {"alarms": alarms, "network": "pruned", "suite": "standard"}
    found = texts(sound, tested, suites=[(known, suite), ("elsewhere", suite | {"alarms": []})])["robustness"]
    assert found[0].startswith(f"{known}, pruned network, suite standard: masked gradients is +0.2 of AP, limit 0.05;")
    assert found[1:] == ["elsewhere: a suite of attacks on a run that has no readable record"]


def test_the_grid_covers_the_papers_configurations():
    records = grid(seeds=[0], ratios=[0.5])
    assert set(records_frame(records)["configuration"]) == set(GRID)
