"""A full drive, one that cannot be written, a limit on files: one line, and the same command goes on afterwards."""

import re
import shutil
import signal

import pytest

from tests.faults.hook import Fault
from tests.faults.outcome import differences, outcome
from tests.faults.places import make_room, read_only, small_drive
from tests.faults.scenes import COMMANDS, ONE, SWEEP, run_all, succeed

WORDS = {
    "ENOSPC": "expected room to write, got No space left on device; make room there",
    "EROFS": "expected the right to read and write, got Read-only file system; give it",
    "EACCES": "expected the right to read and write, got Permission denied; give it",
    "EIO": "expected a drive that works, got Input/output error; look at it",
    "EMFILE": "expected to open one more file, got Too many open files; raise `ulimit -n`",
}


def refused(process, words):
    """Wait for a process that has to end in one line with these words; returns the line."""
    code, said = process.wait(), process.said
    assert code == 1, said
    assert "Traceback" not in said, said
    assert "Logging error" not in said, said
    assert "Exception ignored" not in said, said
    lines = [line for line in said.splitlines() if re.match(r"(\d\d:\d\d:\d\d )?error: ", line)]
    assert len(lines) == 1, said
    assert words in lines[0]
    assert "type the same command again" in lines[0]
    return lines[0].partition("error: ")[2]


@pytest.mark.slow
def test_a_drive_that_fills_up_again_and_again(nursery, tmp_path, undisturbed):
    with small_drive(tmp_path / "store", 1000):
        for room in (4000, 14000, 60000):
            process = nursery.start(tmp_path, "train", ONE)
            line = refused(process, WORDS["ENOSPC"])
            assert line.startswith(str(tmp_path)) or line.startswith("store")
            assert (tmp_path / "run" / "failed.txt").read_text().strip() == line
            make_room(tmp_path / "store", room)
        said = succeed(nursery.start(tmp_path, "train", ONE))
        assert "found finished" in said or "goes on from" in said
        assert differences(outcome(tmp_path), undisturbed[1]) == []
    assert not (tmp_path / "run" / "failed.txt").exists()


def test_a_run_whose_folder_cannot_be_made_is_refused_before_it_begins(nursery, tmp_path):
    with small_drive(tmp_path / "drive", 16):
        for words in (ONE, SWEEP):
            moved = [*words, "hydra.run.dir=drive/run", "hydra.sweep.dir=drive/run"]
            line = refused(nursery.start(tmp_path, "train", moved), WORDS["ENOSPC"])
            assert line.startswith("drive/run")
            assert f"hydra.{'sweep' if words is SWEEP else 'run'}.dir=" in line
    with read_only(tmp_path / "drive"):
        refused(nursery.start(tmp_path, "train", [*ONE, "hydra.run.dir=drive/run"]), WORDS["EROFS"])
    assert not (tmp_path / "store").exists()


@pytest.mark.slow
@pytest.mark.parametrize("refusal", WORDS)
def test_a_refusal_at_some_events_and_then_none(nursery, tmp_path, undisturbed, refusal):
    shutil.copytree(undisturbed[0] / "shapes", tmp_path / "shapes")  # drawing them has a line of its own
    for event in (1, 20, 30, 45, 60, 80):  # not while Hydra writes its own files
        fault = Fault(str(tmp_path), event=event, refusal=refusal)
        process = nursery.start(tmp_path, "train", ONE, fault)
        if process.wait() != 0:
            refused(process, WORDS[refusal])
    succeed(nursery.start(tmp_path, "train", ONE))
    assert differences(outcome(tmp_path), undisturbed[1]) == []


@pytest.mark.slow
def test_a_limit_on_the_size_of_files(nursery, tmp_path, undisturbed):
    process = nursery.start(tmp_path, "train", ONE, Fault(str(tmp_path), file_bytes=2_000_000))
    refused(process, "expected room to write, got File too large")
    succeed(nursery.start(tmp_path, "train", ONE))
    assert differences(outcome(tmp_path), undisturbed[1]) == []


@pytest.mark.slow
def test_a_full_drive_under_the_folder_of_a_run_or_a_sweep(nursery, tmp_path, undisturbed):
    for room in (72, 80):
        with small_drive(tmp_path / "run", room):
            refused(nursery.start(tmp_path, "train", ONE), WORDS["ENOSPC"])
    succeed(nursery.start(tmp_path, "train", ONE))
    assert differences(outcome(tmp_path), undisturbed[1]) == []
    with small_drive(tmp_path / "sweep", 80):
        process = nursery.start(tmp_path, "train", [*SWEEP, "prune.ratio=0.75,0.5"])
        assert process.wait() == 1
        assert "the jobs after it are not tried" in process.said
        assert "Traceback" not in process.said
        assert process.said.count("pretrain: ") == 1


@pytest.mark.slow
@pytest.mark.parametrize("name", ["report", "compact", "evaluate"])
def test_the_other_scripts_on_a_full_drive(nursery, tmp_path, name):
    run_all(nursery, tmp_path / "all", [("train", [*COMMANDS["sweep"][1], "prune.ratio=0.5,0.75", "seed=0"])])
    folder = tmp_path / "all"
    for event in (1, 18):
        fault = Fault(str(folder), event=event, refusal="ENOSPC")
        refused(nursery.start(folder, *COMMANDS[name], fault), WORDS["ENOSPC"])
    if name != "compact":  # minutes
        succeed(nursery.start(folder, *COMMANDS[name]))


def test_a_process_that_is_killed_is_no_refusal(nursery, tmp_path):
    process = nursery.start(tmp_path, "train", ONE, Fault(str(tmp_path), event=3))
    assert process.wait() == -signal.SIGKILL
