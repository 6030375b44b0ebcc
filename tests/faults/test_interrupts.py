"""Ctrl-C at many instants: one line, exit code 130, within seconds, and the same command goes on."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.faults.launch import ROOT
from tests.faults.outcome import differences, outcome
from tests.faults.scenes import COMMANDS, ONE, SWEEP, run_all, succeed
from tests.faults.warm import cold

SOON = 5.0  # seconds; on a machine with nothing else to do

# What was said last -> seconds after it.
INSTANTS = {
    "": 0.7,  # configs are composed
    "shapes: ": 0.1,
    "pretrain: starts": 0.2,
    "pretrain 1/3": 0.1,
    "init_scores: starts": 0.3,
    "train_scores: starts": 0.1,
    "prune: starts": 0.1,
    "finetune: starts": 0.1,
    "evaluate: dense": 0.3,
    "evaluate: pruned": 3.0,  # latency
}
LOST = """
import time
from hydra_det.pipeline.interrupts import started

class Interrupted:
    def __del__(self):
        raise KeyboardInterrupt

started()
try:
    Interrupted()
    time.sleep(20)
except KeyboardInterrupt:
    print("not lost")
"""


def interrupted(process, after, seconds, *, said="interrupted"):
    """Send Ctrl-C so many seconds after something was said; returns how long it took to end."""
    deadline = time.monotonic() + 200
    while after not in process.said:
        assert process.running(), process.said
        assert time.monotonic() < deadline
        time.sleep(0.02)
    time.sleep(seconds)
    process.signal(signal.SIGINT)
    start = time.monotonic()
    code = process.wait(60)
    assert "Traceback" not in process.said, process.said
    assert code == 130, process.said
    assert said in process.said
    return time.monotonic() - start


@pytest.mark.parametrize("name", ["train", "evaluate", "detect", "compact", "report", "doctor"])
def test_while_torch_is_loaded_there_is_nothing_to_leave(tmp_path, name):
    took = interrupted(cold(tmp_path, name, []), "", 0.9, said="interrupted; nothing was begun yet")
    assert took < SOON


@pytest.mark.parametrize(
    ("file", "before", "after"),
    [
        ("report.py", "default_int_handler", "interrupts._leave"),
        ("tests/test_configs.py", "default_int_handler", "signal.default_int_handler"),  # that imports a script
        ("report.py", "SIG_IGN", "signal.SIG_IGN"),  # started in the background
    ],
)
def test_only_a_script_that_may_be_interrupted_leaves_at_once(file, before, after):
    code = f"import signal, __main__; __main__.__file__ = {file!r}; signal.signal(signal.SIGINT, signal.{before})\n"
    code += f"from hydra_det.pipeline import interrupts; assert signal.getsignal(signal.SIGINT) == {after}"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_an_interrupt_in_a_destructor_is_not_lost():
    done = subprocess.run(
        [sys.executable, "-c", LOST], capture_output=True, text=True, check=True, cwd=ROOT, timeout=60,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip
    assert done.stdout == "not lost\n"
    assert done.stderr == ""


def test_a_run_goes_on_after_an_interrupt(nursery, tmp_path):
    took = interrupted(nursery.start(tmp_path, "train", ONE), "pretrain 1/3", 0.1, said="the same command goes on")
    assert took < SOON


@pytest.mark.slow
def test_a_run_that_is_interrupted_everywhere_comes_to_the_same(nursery, tmp_path, undisturbed, record_property):
    took = {}
    for after, seconds in INSTANTS.items():
        took[after] = interrupted(nursery.start(tmp_path, "train", ONE), after, seconds)
    succeed(nursery.start(tmp_path, "train", ONE))
    assert differences(outcome(tmp_path), undisturbed[1]) == []
    record_property("seconds_to_end", max(took.values()))
    assert max(took.values()) < SOON, took


@pytest.mark.slow
@pytest.mark.parametrize(
    ("after", "seconds"), [("pretrain 2/3", 0.1), ("#1 :", 0.05), ("#1 :", 0.6), ("#1 :", 3.0)], ids=str
)
def test_a_sweep_ends_as_a_whole(nursery, tmp_path, after, seconds):
    words = [*SWEEP, "prune.ratio=0.5,0.75"]
    assert interrupted(nursery.start(tmp_path, "train", words), after, seconds) < SOON


@pytest.mark.slow
@pytest.mark.parametrize(("after", "seconds"), [("pretrain: starts", 0.3), ("evaluate: ", 0.5)], ids=str)
def test_a_sweep_of_several_processes_ends_as_a_whole(nursery, tmp_path, after, seconds):
    joblib = ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]
    process = nursery.start(tmp_path, "train", [*SWEEP, "prune.ratio=0.5,0.75", *joblib])
    assert interrupted(process, after, seconds) < SOON
    deadline = time.monotonic() + SOON
    while _group(process.pid):
        assert time.monotonic() < deadline, "processes are left"
        time.sleep(0.1)


@pytest.mark.slow
def test_processes_that_load_images_end_too(nursery, tmp_path):
    words = [*ONE, "data.workers=2", "data.cache_images=false"]
    process = nursery.start(tmp_path, "train", words)
    assert interrupted(process, "pretrain: starts", 0.3) < SOON
    assert not _group(process.pid)


@pytest.mark.slow
def test_the_other_scripts(nursery, tmp_path):
    folder = tmp_path / "all"
    run_all(nursery, folder, [("train", [*COMMANDS["sweep"][1], "prune.ratio=0.5,0.75", "seed=0"])])
    for name, instants in {"evaluate": (0.7, 1.5), "report": (0.7, 2.0, 5.0), "compact": (0.7, 2.0, 6.0, 15.0)}.items():
        for seconds in instants:
            assert interrupted(nursery.start(folder, *COMMANDS[name]), "", seconds) < SOON, (name, seconds)
    assert not list((folder / "sweep").glob("*/compact*"))


def _group(leader):
    """Processes that a process started in its group and that still run."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(ProcessLookupError):
            if int(folder.name) != leader and os.getpgid(int(folder.name)) == leader:
                found.append(int(folder.name))
    return found
