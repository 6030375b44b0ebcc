"""Several processes at one store: they share it, and what a killed one held is free at once."""

import os
import signal
import time
from pathlib import Path

import pytest

from tests.faults.outcome import differences, outcome, without_time_and_place
from tests.faults.scenes import ONE, SWEEP, succeed
from tests.faults.test_damage import wait_for
from tests.faults.warm import cold

HANGS = 60.0  # seconds after which nothing is to be hoped for any more
TWO = ["trainer.accelerator=cpu", "trainer.devices=2", "trainer.strategy=ddp", "data.batch_size=2"]
WORKERS = ["data.workers=2", "data.cache_images=false"]


@pytest.mark.slow
def test_two_sweeps_at_the_same_time_train_every_stage_once(nursery, tmp_path):
    words = [*SWEEP, "prune.ratio=0.5,0.75"]
    both = [nursery.start(tmp_path, "train", [*words, f"hydra.sweep.dir={name}"]) for name in ("a", "b")]
    said = [succeed(process) for process in both]
    for stage in ("pretrain", "init_scores", "train_scores", "prune", "finetune"):
        times = 1 if stage in ("pretrain", "init_scores") else 2
        assert sum(text.count(f"{stage}: starts") for text in said) == times, stage
    found = outcome(tmp_path)
    records = [{key: value for key, value in found.items() if key.startswith(f"{name}/")} for name in ("a", "b")]
    first, second = ({key[2:]: value for key, value in part.items()} for part in records)
    assert len(first) == 3
    assert differences(without_time_and_place(first), without_time_and_place(second)) == []


@pytest.mark.slow
def test_a_lock_of_a_killed_process_is_free_although_its_workers_live_on(nursery, tmp_path, record_property):
    words = [*ONE, *WORKERS, "stage.pretrain.epochs=200"]
    holder = cold(tmp_path, "train", words)  # a session of its own, whose stopped members no shell wakes up
    wait_for(lambda: "pretrain 1/200" in holder.said, holder)
    waiting = nursery.start(tmp_path, "train", [*words, "hydra.run.dir=other"])
    wait_for(lambda: "is being run by another process" in waiting.said, waiting)
    taken_over(holder, waiting, _children(holder.pid, ""), record_property)


@pytest.mark.slow
def test_a_lost_process_of_several_fails_its_run_and_the_same_command_goes_on(nursery, tmp_path):
    calm = tmp_path / "calm"
    calm.mkdir()
    succeed(nursery.start(calm, "train", [*ONE, *TWO]))
    lost = tmp_path / "lost"
    lost.mkdir()
    process = cold(lost, "train", [*ONE, *TWO])
    wait_for(lambda: "pretrain 1/3" in process.said, process)
    (helper,) = _children(process.pid, "train.py")
    os.kill(helper, signal.SIGKILL)
    assert process.wait(150) == 1
    assert "Traceback" not in process.said, process.said
    assert "process 1 of this job ended" in process.said
    assert "process 1 of this job ended" in (lost / "run" / "failed.txt").read_text()
    assert not _children(process.pid, "train.py")
    succeed(cold(lost, "train", [*ONE, *TWO]))
    assert differences(outcome(lost), outcome(calm)) == []


@pytest.mark.slow
def test_a_lock_of_a_killed_first_process_is_free_although_its_helpers_live_on(tmp_path, record_property):
    words = [*ONE, *TWO, "stage.pretrain.epochs=200"]
    holder = cold(tmp_path, "train", words)
    wait_for(lambda: "pretrain 1/200" in holder.said, holder)
    waiting = cold(tmp_path, "train", [*words, "hydra.run.dir=other"])
    wait_for(lambda: "is being run by another process" in waiting.said, waiting)
    taken_over(holder, waiting, _children(holder.pid, "train.py"), record_property)


def taken_over(holder, waiting, others, record_property):
    """Kill the holder of a lock alone, as for memory or by a scheduler; what it started is stopped, so it lives on."""
    assert others
    for other in others:
        os.kill(other, signal.SIGSTOP)
    try:
        os.kill(holder.pid, signal.SIGKILL)
        start = time.monotonic()
        wait_for(lambda: "pretrain: goes on from" in waiting.said, waiting, HANGS)
        record_property("seconds_until_taken_over", time.monotonic() - start)
        assert {_stat(other)[0] for other in others} == {"T"}
    finally:
        for process in (holder, waiting):
            process.signal(signal.SIGKILL)


def _stat(pid):
    """Of a process its state, the process that started it, and more."""
    return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()


def _children(parent, word):
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            of, command = _stat(folder.name)[1], (folder / "cmdline").read_bytes()
        except OSError:
            continue
        if int(of) == parent and word.encode() in command:
            found.append(int(folder.name))
    return found
