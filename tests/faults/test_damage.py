"""Files that are not what was written: none of them is read as a result, and the same command makes them anew."""

import shutil
import signal
import time

import pytest

from tests.faults.outcome import differences, outcome
from tests.faults.scenes import COMMANDS, ONE, run_all, succeed

STAGES = ("pretrain", "init_scores", "train_scores", "prune", "finetune")


def cut(path):
    """Half of it is gone."""
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(path):
    """One bit in the middle is another one; the length stays."""
    content = bytearray(path.read_bytes())
    if content:  # a lock is an empty file
        content[len(content) // 2] ^= 1
    path.write_bytes(content)


def empty(path):
    """As after a power failure on many drives."""
    path.write_bytes(b"")


def zeros(path):
    """As after a power failure on others."""
    path.write_bytes(bytes(path.stat().st_size))


HARMS = (cut, flip, empty, zeros)
FILES = (
    *(f"store/{stage}-*/weights.safetensors" for stage in STAGES),
    "store/prune-*/stage.json",
    "store/evaluate-*/scores.json",
    "store/evaluate-*/detections_clean.json",
    "store/.locks/*",
    "run/record.json",
    "run/config.yaml",
)


@pytest.fixture
def finished(undisturbed, tmp_path):
    """A copy of a finished run."""
    return shutil.copytree(undisturbed[0], tmp_path / "copy", symlinks=True)


def harmed(folder, pattern, harm):
    found = sorted(folder.glob(pattern))
    assert found, pattern
    for path in found:
        harm(path)


def test_all_files_at_once(nursery, finished, undisturbed):
    for number, pattern in enumerate(FILES):
        if "stage.json" not in pattern:
            harmed(finished, pattern, cut if "record" in pattern else HARMS[number % len(HARMS)])
    said = succeed(nursery.start(finished, "train", ONE))
    assert said.count("expected a finished stage, found a damaged one") == len(STAGES) + 2, said
    assert differences(outcome(finished), undisturbed[1]) == []


@pytest.mark.slow
@pytest.mark.parametrize("harm", HARMS, ids=lambda harm: harm.__name__)
def test_each_file_alone(nursery, finished, undisturbed, harm):
    for pattern in FILES:
        harmed(finished, pattern, harm)
        if pattern != "run/record.json":
            (finished / "run" / "record.json").unlink(missing_ok=True)  # a run whose record is there reads no stage
        succeed(nursery.start(finished, "train", ONE))
        assert differences(outcome(finished), undisturbed[1]) == [], pattern


@pytest.mark.slow
@pytest.mark.parametrize("harm", HARMS, ids=lambda harm: harm.__name__)
def test_checkpoints_of_a_stage_under_way(nursery, tmp_path, undisturbed, harm):
    for stage in ("pretrain", "train_scores", "finetune"):
        process = nursery.start(tmp_path, "train", ONE)
        wait_for(lambda stage=stage: list(tmp_path.glob(f"store/{stage}-*.partial/last.ckpt")), process)
        process.signal(signal.SIGKILL)
        process.wait()
        for path in tmp_path.glob(f"store/{stage}-*.partial/last.ckpt"):
            harm(path)
    succeed(nursery.start(tmp_path, "train", ONE))
    assert differences(outcome(tmp_path), undisturbed[1]) == []


@pytest.mark.slow
@pytest.mark.parametrize("pattern", ["record.json", "config.yaml", "stages/finetune/stage.json"])
@pytest.mark.parametrize("harm", HARMS, ids=lambda harm: harm.__name__)
def test_scripts_on_a_damaged_run_say_so_in_one_line(nursery, tmp_path, pattern, harm):
    folder = tmp_path / "all"
    name, words = COMMANDS["sweep"]
    run_all(nursery, folder, [(name, [*words, "prune.ratio=0.5,0.75", "seed=0"])])
    for run in ("r0.5_s0", "r0.75_s0"):
        harm(folder / "sweep" / run / pattern)
    for script in ("evaluate", "compact"):
        process = nursery.start(folder, *COMMANDS[script])
        code, said = process.wait(), process.said
        assert "Traceback" not in said, said
        if code == 0 and (harm is flip or (script, pattern) == ("evaluate", "record.json")):
            continue  # what is in config.yaml is the user's to change, and evaluate.py reads no more than classes
        assert code == 1, said
        (line,) = [line for line in said.splitlines() if "error: " in line]
        assert "expected" in line or "cannot be read" in line or "not JSON" in line, line


def test_a_report_names_what_it_cannot_read_and_goes_on(nursery, finished):
    copy = shutil.copytree(finished / "run", finished / "sweep" / "a", symlinks=True)
    shutil.copytree(copy, finished / "sweep" / "b", symlinks=True)
    cut(finished / "sweep" / "b" / "record.json")
    succeed(nursery.start(finished, *COMMANDS["report"]))
    page = (finished / "report" / "report.html").read_text()
    assert "not JSON" in page
    assert "deeplift, weight" in page


def wait_for(found, process, seconds=600):
    """Wait until something is found; the process must not end before."""
    deadline = time.monotonic() + seconds
    while not found():
        assert process.running(), process.said
        assert time.monotonic() < deadline
        time.sleep(0.02)
