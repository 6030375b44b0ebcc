"""Folders of runs: what is found, what is named, what is refused."""

import json

import pytest

from hydra_det.records.record import RecordError, write_record
from hydra_det.reports.page.overview import overview
from hydra_det.reports.runs import read_runs
from tests.reports.example import example_record


@pytest.fixture
def folders(tmp_path):
    for sweep, names in (("one", ["a", "b"]), ("two", ["a"])):
        for seed, name in enumerate(names):
            write_record(tmp_path / sweep / name / "record.json", example_record(seed=seed))
    (tmp_path / "one" / "broken").mkdir()
    (tmp_path / "one" / "broken" / "record.json").write_text("{")
    (tmp_path / "one" / "failed").mkdir()
    (tmp_path / "one" / "failed" / "failed.txt").write_text("no room left\n")
    return tmp_path


def test_a_run_goes_by_its_folder(folders):
    runs = read_runs([folders / "one"])
    assert list(runs.records) == list(runs.paths) == list(runs.frame["folder"]) == ["a", "b"]
    assert runs.paths["b"] == folders / "one" / "b"
    assert list(runs.problems) == ["broken"]
    assert runs.failures == {"failed": "no room left"}
    assert "2 finished, 2 unusable" in dict(overview(runs))["Runs"][0]


def test_a_run_that_is_given_itself_goes_by_its_own_name(folders):
    runs = read_runs([folders / "one" / "a"])
    assert list(runs.records) == list(runs.paths) == ["a"]
    several = read_runs([folders / "one" / "b", folders / "two", folders / "one" / "failed"])
    assert list(several.records) == ["b", "two/a"]
    assert several.failures == {"failed": "no room left"}


def test_several_folders_are_told_apart_and_nothing_counts_twice(folders):
    runs = read_runs([folders / "one", folders / "two"])
    assert list(runs.records) == ["one/a", "one/b", "two/a"]
    again = read_runs([folders, folders / "one"])
    assert list(again.records) == [f"{folders.name}/{run}" for run in ("one/a", "one/b", "two/a")]
    (folders / "more" / "one").mkdir(parents=True)
    write_record(folders / "more" / "one" / "a" / "record.json", example_record())
    same = read_runs([folders / "one", folders / "more" / "one"])
    assert list(same.records) == ["one#1/a", "one#1/b", "one#2/a"]


def test_nothing_to_report_is_one_line(folders):
    with pytest.raises(RecordError, match=r"runs: expected a folder of runs, got .*nowhere"):
        read_runs([folders / "nowhere"])
    (folders / "empty").mkdir()
    with pytest.raises(RecordError, match=r"runs: expected a folder with record\.json .*empty$"):
        read_runs([folders / "empty"])
    for name in ("failed", "broken"):
        (folders / "one" / name).rename(folders / "empty" / name)
    with pytest.raises(RecordError, match=r"2 unusable, the first: .*not JSON"):
        read_runs([folders / "empty"])


def test_where_runs_differ_every_variant_is_said(folders):
    write_record(folders / "two" / "b" / "record.json", example_record(commit=None, seed=3))
    found = dict(overview(read_runs([folders / "one", folders / "two"])))
    assert found["Commit"] == [example_record().commit, "not known"]
    assert found["Seeds"] == ["0, 1, 3"]
    assert found["Data"] == [
        "shapes: 2,000 training, 100 validation and 1,234 test images; 1 class (disc); fingerprint feed"
    ]
    # Every stage of the example once, though four runs name it: 7384 + 3.5 + 125 + 0.25 + 600 seconds.
    assert found["Runs"][0].endswith("all stages took 2.3 hours")


def suite(run, *, network="pruned", figure=0.2):
    """As much of the result of a suite as is checked when it is read."""
    alarm = {"name": "masked gradients", "figure": figure, "limit": 0.05, "raised": figure > 0.05, "meaning": "of AP"}
    protocols = example_record().metrics["pruned"]["clean"]
    origin: dict[str, object] = {
        "run": str(run.resolve()), "created": "2030-01-02T03:04:05+00:00", "commit": None, "versions": {},
        "attack_seed": 0, "dataset": "feed", "transfer": None,
    }  # fmt: skip
    return {
        "origin": origin, "suite": "standard", "epsilon": 0.05, "network": network, "images": 9, "clean": protocols,
        "attacks": [], "combined": None, "robust_map": None, "curve": [0.0, 1.0], "alarms": [alarm],
    }  # fmt: skip


def test_suites_of_attacks_are_found_with_the_runs_and_elsewhere(folders):
    kept = {"one/a/suite": suite(folders / "gone"), "evaluations/x": suite(folders / "one" / "b", network="dense")}
    for place, found in (kept | {"evaluations/y": suite(folders / "gone"), "evaluations/z": {}}).items():
        (folders / place).mkdir(parents=True)
        (folders / place / "robustness.json").write_text(json.dumps(found))
    runs = read_runs(folders / "one", suites=[folders / "evaluations"])
    assert [(name, found["network"]) for name, found in runs.suites] == [
        ("a", "pruned"), ("b", "dense"), (str(folders / "gone"), "pruned"),
    ]  # fmt: skip
    (problem,) = (text for place, text in runs.problems.items() if place.endswith("evaluations/z"))
    assert "origin: missing" in problem
    assert [name for name, _ in read_runs(folders / "one").suites] == ["a"]
    (folders / "one" / "a" / "suite" / "robustness.json").write_text(json.dumps(suite(folders / "one" / "b")))
    assert [name for name, _ in read_runs(folders / "one").suites] == ["b"], "what a suite says comes before its place"
    with pytest.raises(RecordError, match="suites: expected a folder with results of suites"):
        read_runs(folders / "one", suites=str(folders / "nowhere"))
