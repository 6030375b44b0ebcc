"""Runs that are killed again and again: what they leave is, bit for bit, what an undisturbed run leaves."""

import random

import pytest

from tests.faults.bench import as_markdown, bench
from tests.faults.chains import Tally, kill_until_done, phase_of
from tests.faults.outcome import differences, outcome
from tests.faults.scenes import ONE


@pytest.mark.slow
def test_three_kills_of_a_run(nursery, tmp_path, undisturbed):
    tally = Tally()
    kill_until_done(nursery, tmp_path, ("train", ONE), kills=3, instants=random.Random(1), tally=tally, seconds=3.0)
    assert tally.kills >= 2
    assert differences(outcome(tmp_path), undisturbed[1]) == []
    assert len(undisturbed[1]) > 40, "of pictures, weights, scores and detections, and a record"


@pytest.mark.slow
def test_twenty_five_kills_of_a_sweep_and_what_follows_it(nursery, tmp_path):
    figures = bench(nursery, tmp_path, kills=25, seed=0)
    assert figures["differences"] == [], as_markdown(figures)
    assert figures["kills"] >= 25
    stages = {"pretrain", "init_scores", "train_scores", "prune", "finetune", "evaluation"}
    assert len(stages & figures["by_phase"].keys()) >= 4, figures["by_phase"]


def test_a_difference_is_seen_wherever_it_is(tmp_path):
    wanted = {"a": [1, {"b": 2}], "c": 3}
    assert differences(wanted, wanted) == []
    assert differences({"a": [1, {"b": 4}], "d": 3}, wanted) == [
        "/a[1]/b: 4 instead of 2",
        "/c: missing",
        "/d: not wanted",
    ]
    for name in ("store/prune-0/weights.safetensors", "store/prune-0.partial/weights.safetensors", "shapes/x/1.png"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_bytes(b"1")
    assert set(outcome(tmp_path)) == {"store/prune-0/weights.safetensors", "shapes/x/1.png"}


@pytest.mark.parametrize(
    ("event", "phase"),
    [
        ("7 open /x/store/train_scores-1a2b.partial/last.ckpt", "train_scores"),
        ("8 os.mkdir /x/shapes/.partial-1", "drawing pictures"),
        ("9 os.rename /x/store/evaluate-1.partial /x/store/evaluate-1", "evaluation"),
        ("", "start of train.py"),
    ],
)
def test_what_is_under_way_is_told_by_the_path(event, phase):
    assert phase_of(event, "train") == phase
