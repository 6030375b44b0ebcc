"""Ctrl-C and the signals of schedulers at many instants: one line, exit code 130, soon, and the command goes on."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from hydra_det.compaction.files import load_compact
from hydra_det.data.media.video import VideoWriter
from tests.faults.launch import ROOT
from tests.faults.outcome import differences, outcome
from tests.faults.scenes import COMMANDS, ONE, SWEEP, run_all, succeed
from tests.faults.test_damage import wait_for
from tests.faults.warm import cold, started_from

HANGS = 60.0  # seconds after which a process has not heard the signal

# What was said last -> seconds after it.
# What a run says, and seconds after that. A stage that has finished an epoch "goes on" and does not "start" again, so
# the instants in one are earlier than that on a fast machine, too; epochs take 0.3 seconds there.
INSTANTS = {
    "shapes: ": 0.1,
    "pretrain: starts": 0.02,
    "pretrain 1/3": 0.1,
    "init_scores: starts": 0.05,
    "train_scores: starts": 0.05,
    "prune: starts": 0.05,
    "finetune: starts": 0.05,
    "evaluate: dense": 0.3,
    "evaluate: pruned": 0.4,  # latency
}
LOST = """
import time
from hydra_det.process.interrupts import started

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


def interrupted(process, when, seconds=0.0, *, said="interrupted", sent=signal.SIGINT):
    """Send Ctrl-C, or another signal, to a process and all that it started; returns how long it took to end.

    Args:
        process: that runs.
        when: text that it says, or a function that is true from some instant on.
        seconds: to wait after that.
        said: what it has to say in the end.
        sent: the signal.
    """
    wait_for(when if callable(when) else lambda: when in process.said, process)
    time.sleep(seconds)
    process.signal(sent)
    start = time.monotonic()
    code = process.wait(HANGS)
    assert "Traceback" not in process.said, process.said
    assert code == 130, process.said
    assert said in process.said
    return time.monotonic() - start


def loads(process, library):
    """Whether a process has begun to load a library."""
    with contextlib.suppress(OSError):
        return library in Path(f"/proc/{process.pid}/maps").read_text()
    return False


@pytest.mark.parametrize("name", ["train", "evaluate", "detect", "compact", "report", "doctor"])
def test_while_libraries_are_loaded_there_is_nothing_to_leave(tmp_path, name):
    process = cold(tmp_path, name, [])
    library = "pandas" if name == "report" else "libtorch"
    interrupted(process, lambda: loads(process, library), said="interrupted; nothing was begun yet")


@pytest.mark.parametrize(("name", "library"), [("train", "libtorch"), ("report", "pandas")], ids=str)
def test_a_console_script_does_the_same(tmp_path, name, library):
    console_script = f"import sys; from hydra_det.process.command_line import {name}; sys.exit({name}())"
    process = started_from(tmp_path, ["-c", console_script])
    interrupted(process, lambda: loads(process, library), said="interrupted; nothing was begun yet")


def test_a_console_script_is_safe_before_it_loads_anything():
    code = "import sys, hydra_det.process.command_line; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert not {"hydra", "omegaconf", "numpy", "pandas", "rich", "torch"} & set(done.stdout.split())


@pytest.mark.parametrize(
    ("before", "after"), [("default_int_handler", "interrupts._leave"), ("SIG_IGN", "signal.SIG_IGN")], ids=str
)
def test_what_was_started_in_the_background_goes_on_ignoring(before, after):
    code = f"""
import signal, hydra_det.process.interrupts as interrupts
signal.signal(signal.SIGINT, signal.{before})
assert signal.getsignal(signal.SIGINT) == signal.{before}
interrupts.leave_at_once()
assert signal.getsignal(signal.SIGINT) == {after}
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_to_import_a_script_changes_nothing():
    code = "import signal; before = signal.getsignal(signal.SIGINT)\n"
    code += "import train, evaluate, detect, compact, report, doctor\n"
    code += "assert signal.getsignal(signal.SIGINT) == before == signal.default_int_handler"
    subprocess.run(
        [sys.executable, "-c", code], check=True, cwd=ROOT,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip


def test_an_interrupt_in_a_destructor_is_not_lost():
    done = subprocess.run(
        [sys.executable, "-c", LOST], capture_output=True, text=True, check=True, cwd=ROOT, timeout=60,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip
    assert done.stdout == "not lost\n"
    assert done.stderr == ""


@pytest.mark.parametrize("told", [True, False])
def test_a_loader_that_complains_of_its_end_is_heard_where_nobody_asked_for_it(told):
    code = f"""
from hydra_det.process import interrupts

class Loader:
    def __del__(self):
        raise RuntimeError("DataLoader worker (pid 5) is killed by signal: Terminated. ")

class Other:
    def __del__(self):
        raise RuntimeError("something else")

interrupts.started()
if {told}:
    try:
        interrupts._stop(15, None)
    except KeyboardInterrupt:
        pass
Loader()
Other()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert ("is killed by signal" in done.stderr) == (not told)
    assert "something else" in done.stderr


def test_a_run_goes_on_after_an_interrupt(nursery, tmp_path, record_property):
    took = interrupted(nursery.start(tmp_path, "train", ONE), "pretrain 1/3", 0.1, said="the same command goes on")
    record_property("seconds_to_end", took)


def test_a_sweep_ends_when_a_scheduler_ends_all_of_its_processes(nursery, tmp_path):
    words = [*SWEEP, "prune.ratio=0.5,0.75", "data.workers=2", "data.cache_images=false"]
    process = nursery.start(tmp_path, "train", words)
    interrupted(process, "pretrain 1/3", 0.1, said="the same command goes on", sent=signal.SIGTERM)
    assert "#1" not in process.said, "the next job began"
    assert not list(tmp_path.rglob("failed.txt"))
    leaves_nobody(process)


@pytest.mark.parametrize(
    "sent", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1], ids=lambda sent: sent.name
)
def test_what_schedulers_send_is_an_interrupt(sent):
    usual = "default_int_handler" if sent == signal.SIGINT else "SIG_DFL"
    code = f"""
import os, signal, time
signal.signal({int(sent)}, signal.{usual})  # whoever starts the tests may ignore it, as nohup does
from hydra_det.process import interrupts
interrupts.leave_at_once()
interrupts.started()
assert not interrupts.asked_to_stop()
try:
    os.kill(os.getpid(), {int(sent)})
    time.sleep(20)
except KeyboardInterrupt:
    print("stopped", interrupts.asked_to_stop())
try:
    interrupts.stop_if_asked()  # what was raised was swallowed
except KeyboardInterrupt:
    print("and again")
interrupts.started()  # the next job of a sweep
interrupts.stop_if_asked()
"""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SLURM")}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT, env=environment, timeout=60
    )
    assert done.stdout == "stopped True\nand again\n"


@pytest.mark.parametrize("then", ["return", "raise ValueError('made of it')"], ids=["swallowed", "made an error"])
def test_a_job_ends_by_an_interrupt_that_its_libraries_keep_to_themselves(then, tmp_path):
    """Nor does the sweep begin its next job."""
    (tmp_path / "task.py").write_text(f"""
import os, signal, time
from hydra_det.pipeline import build
from hydra_det.process.script import job
from hydra_det.process.typed.command import command

@job
def task(config):
    try:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(20)
    except KeyboardInterrupt:
        {then}

command("train")(task)()
""")
    done = subprocess.run(
        [sys.executable, "task.py", "-m", "seed=0,1", f"hydra.sweep.dir={tmp_path / 'sweep'}"],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=120,
        check=False, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip
    assert done.returncode == 130, done.stderr
    assert "interrupted" in done.stderr
    assert "Traceback" not in done.stderr
    assert "#1 :" not in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("before", "slurm", "taken"),
    [("SIG_DFL", False, True), ("SIG_IGN", False, False), ("SIG_DFL", True, False)],
    ids=["free", "ignored, as by nohup", "Lightning's under SLURM"],
)
def test_a_signal_that_is_somebody_elses_is_left(before, slurm, taken):
    code = f"""
import signal, hydra_det.process.interrupts as interrupts
signal.signal(signal.SIGUSR1, signal.{before})
interrupts.leave_at_once()
interrupts.started()
print(signal.getsignal(signal.SIGUSR1) is interrupts._stop)
"""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SLURM")}
    environment |= {"SLURM_NTASKS": "2"} if slurm else {}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT, env=environment
    )
    assert done.stdout == f"{taken}\n"


@pytest.mark.slow
def test_a_run_that_is_interrupted_everywhere_comes_to_the_same(nursery, tmp_path, undisturbed, record_property):
    took = {"configs are composed": interrupted(nursery.start(tmp_path, "train", ONE), (tmp_path / "run").exists)}
    for after, seconds in INSTANTS.items():
        took[after] = interrupted(nursery.start(tmp_path, "train", ONE), after, seconds)
    succeed(nursery.start(tmp_path, "train", ONE))
    assert differences(outcome(tmp_path), undisturbed[1]) == []
    record_property("seconds_to_end", max(took.values()))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("after", "seconds"), [("pretrain 2/3", 0.1), ("#1 :", 0.05), ("#1 :", 0.6), ("#1 :", 3.0)], ids=str
)
def test_a_sweep_ends_as_a_whole(nursery, tmp_path, after, seconds):
    words = [*SWEEP, "prune.ratio=0.5,0.75"]
    interrupted(nursery.start(tmp_path, "train", words), after, seconds)


@pytest.mark.slow
@pytest.mark.parametrize(("after", "seconds"), [("pretrain: starts", 0.3), ("evaluate: ", 0.5)], ids=str)
def test_a_sweep_of_several_processes_ends_as_a_whole(nursery, tmp_path, after, seconds):
    joblib = ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]
    process = nursery.start(tmp_path, "train", [*SWEEP, "prune.ratio=0.5,0.75", *joblib])
    interrupted(process, after, seconds)
    leaves_nobody(process)


@pytest.mark.slow
def test_processes_that_load_images_end_too(nursery, tmp_path):
    words = [*ONE, "data.workers=2", "data.cache_images=false"]
    process = nursery.start(tmp_path, "train", words)
    interrupted(process, "pretrain: starts", 0.3)
    leaves_nobody(process)


@pytest.mark.slow
@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda sent: sent.name)
def test_the_other_scripts(nursery, tmp_path, sent):
    folder = tmp_path / "all"
    run_all(nursery, folder, [("train", [*COMMANDS["sweep"][1], "prune.ratio=0.5,0.75", "seed=0"])])
    long = {"compact": ["latency.repeats=1000"]}  # so that times are still taken when the signal comes
    instants = [
        ("evaluate", (folder / "evaluated").exists, 0.5),
        ("report", (folder / "report").exists, 0.5),
        ("compact", "time: ", 0.1),
    ]
    if sent == signal.SIGINT:  # the other signals become the same exception
        instants += [
            ("evaluate", (folder / "evaluated").exists, 0.0),
            ("report", (folder / "report").exists, 0.0),
            ("compact", (folder / "compacted").exists, 0.0),
            ("compact", "raw maps differ", 0.1),
            ("compact", "evaluate: compact network in", 0.1),
        ]
    for name, when, seconds in instants:
        for left in ("evaluated", "report", "compacted"):
            shutil.rmtree(folder / left, ignore_errors=True)
        script, words = COMMANDS[name]
        interrupted(nursery.start(folder, script, [*words, *long.get(name, [])]), when, seconds, sent=sent)
    suite = [*COMMANDS["evaluate"][1], "suite=quick"]
    suite = [word for word in suite if not word.startswith("attack")]
    interrupted(nursery.start(folder, "evaluate", suite), "attack 2 of", 0.2, sent=sent)
    assert not list((folder / "sweep").glob("*/*.partial"))
    assert load_compact(folder / "sweep" / "r0.75_s0" / "compact"), "files are there before anything is timed"


@pytest.mark.slow
@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGUSR1], ids=lambda sent: sent.name)
def test_a_video_that_is_under_way_is_left(nursery, tmp_path, undisturbed, sent):
    pytest.importorskip("av")
    with VideoWriter(tmp_path / "street.mp4", rate=Fraction(25)) as video:
        for number in range(2000):
            video.write(np.full((64, 96, 3), number % 256, np.uint8))
    words = [f"run={undisturbed[0] / 'run'}", "source=street.mp4", "attack=pgd", "hydra.run.dir=found"]
    process = nursery.start(tmp_path, "detect", words)
    interrupted(process, lambda: list((tmp_path / "found").glob(".*.mp4")), 0.5, sent=sent)
    assert not list((tmp_path / "found").glob("*.mp4"))
    assert not list((tmp_path / "found").glob("detections.*"))


def leaves_nobody(process):
    """Wait until all that a process started has ended."""
    deadline = time.monotonic() + HANGS
    while _group(process.pid):
        assert time.monotonic() < deadline, "processes are left"
        time.sleep(0.1)


def _group(leader):
    """Processes that a process started in its group and that still run."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(ProcessLookupError):
            if int(folder.name) != leader and os.getpgid(int(folder.name)) == leader:
                found.append(int(folder.name))
    return found
