"""What is done is found, what would run is said, and nothing is touched by asking."""

import logging

import pytest

from hydra_det.pipeline.plan import PLANNED, Planned, describe, outlook
from hydra_det.pipeline.stages.stage import STAGES
from hydra_det.records.record import read_record
from tests.pipeline.tiny import arguments, compose, planned, run
from train import train


def test_a_finished_run_is_found_by_the_same_command_alone(finished, caplog, monkeypatch):
    first = run(finished, "prune.ratio=0.6", name="again")
    monkeypatch.setattr("hydra_det.pipeline.stages.stage_runner.StageRunner._fit", None)
    monkeypatch.setattr("hydra_det.pipeline.scoring._evaluate", None)
    with caplog.at_level(logging.INFO):
        assert run(finished, "prune.ratio=0.6", name="again") == first
    assert "record: found finished" in caplog.text
    monkeypatch.undo()
    other = run(finished, "prune.ratio=0.6", "evaluation.latency.repeats=4", name="again")
    assert other.created != first.created
    assert read_record(finished / "again" / "record.json") == other


def test_a_record_of_other_images_is_no_result(finished):
    first = run(finished, "prune.ratio=0.7", name="images")
    file = finished / "images" / "record.json"
    file.write_text(file.read_text().replace(first.dataset["fingerprint"], "0" * 12))
    assert run(finished, "prune.ratio=0.7", name="images").dataset == first.dataset


def test_a_dry_run_says_what_is_missing_and_writes_nothing(finished):
    before = sorted(finished.rglob("*"))
    assert [stage.found for stage in planned(finished)] == [True] * 5
    changed = planned(finished, "stage.finetune.epochs=3")
    assert [stage.name for stage in changed] == list(STAGES)
    assert [stage.found for stage in changed] == [True] * 4 + [False]
    times = [stage.seconds for stage in changed]
    assert all(isinstance(value, float) and value > 0 for value in times)
    fresh = planned(finished, "seed=77")
    assert not any(stage.found for stage in fresh)
    assert train(compose(arguments(finished, "dry_run=true", "seed=77")), finished / "dry") is None
    assert PLANNED.pop() == fresh
    assert sorted(finished.rglob("*")) == before


def test_a_dry_run_of_a_finished_run_plans_nothing(finished):
    record = (finished / "run" / "record.json").read_bytes()
    run(finished, "prune.ratio=0.55", name="there")
    assert train(compose(arguments(finished, "prune.ratio=0.55", "dry_run=true")), finished / "there") is None
    assert PLANNED.pop() == []
    assert (finished / "run" / "record.json").read_bytes() == record


def stage(name, key, *, found=False, seconds=None):
    return Planned(name, key, found, seconds)


def test_shared_stages_count_once():
    shared = [stage("pretrain", "a", seconds=100.0), stage("init_scores", "b", found=True, seconds=5.0)]
    jobs = [[*shared, stage("finetune", "c", seconds=30.0)], [*shared, stage("finetune", "d")], []]
    found = outlook(jobs)
    assert found == (4, 1, 130.0, 1)
    assert str(found).startswith("4 different stages, 1 of them finished; the others take about 2 min, and 1 stages")


@pytest.mark.parametrize(
    ("seconds", "said"), [(None, "unknown time"), (30.4, "30 s"), (600.0, "10 min"), (9000.0, "2.5 h")]
)
def test_times_are_said_in_units_of_people(seconds, said):
    text = describe([stage("pretrain", "a", seconds=seconds), stage("finetune", "b", found=True, seconds=1.0)])
    assert said in text
    assert text.endswith("there: finetune")
