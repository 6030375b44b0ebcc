"""Jobs side by side: as many as there are places, none lost, and a place for others while one waits."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from hydra_det.errors import InputError
from hydra_det.records.record import FAILED_NAME
from hydra_det.sweeps.places import Places
from hydra_det.sweeps.side_by_side import Job, SideBySide, devices_asked

ROOT = Path(__file__).parents[2]
HEAD = "import os, sys, time; from pathlib import Path; from hydra_det.process import place; here = Path({!r})\n"


def job(tmp_path: Path, name: str, code: str, *, devices: int = 1) -> Job:
    """A job that runs some lines of Python; `here` is a folder that all jobs share."""
    folder = tmp_path / name
    folder.mkdir(exist_ok=True)
    return Job(name, folder, [sys.executable, "-c", HEAD.format(str(tmp_path)) + code], ROOT, devices)


def run(*jobs: Job, places: Places, threads: int | None = 1) -> list[Any]:
    return SideBySide(places, threads=threads).run(iter(jobs), count=len(jobs))


def wait_for(path: str) -> str:
    """A line that waits until somebody wrote a file, at most so long that a test fails and does not hang."""
    return f"end = time.time() + 30\nwhile not (here / {path!r}).exists() and time.time() < end: time.sleep(0.02)\n"


def test_answers_come_in_the_order_of_the_jobs(tmp_path, capfd):
    slow = job(tmp_path, "slow", wait_for("quick_was_here") + "print('slow says'); place.answer([1, 2.5])")
    quick = job(tmp_path, "quick", "place.answer(None); print('one\\ntwo'); (here / 'quick_was_here').touch()")
    assert run(slow, quick, places=Places(["cpu"], per_device=2)) == [[1, 2.5], None]
    out = capfd.readouterr().out.splitlines()
    assert [line for line in out if line.startswith("quick")] == ["quick | one", "quick | two"]
    assert "slow | slow says" in out
    assert [line for line in out if line.startswith("sweep: ")][-1].startswith(
        "sweep: 2/2 done, 0 running, 0 waiting, 0 f"
    )


def test_no_more_than_there_are_places(tmp_path):
    code = (
        "(here / f'on{os.getpid()}').touch(); time.sleep(0.3)\n"
        "place.answer(len(list(here.glob('on*')))); (here / f'on{os.getpid()}').unlink()"
    )
    jobs = [job(tmp_path, f"job{number}", code) for number in range(5)]
    assert max(run(*jobs, places=Places(["cpu"], per_device=2))) == 2


def test_a_job_knows_its_device_and_its_threads(tmp_path, monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    code = "place.answer([os.environ['CUDA_VISIBLE_DEVICES'], os.environ['OMP_NUM_THREADS']])"
    jobs = [job(tmp_path, f"job{number}", code) for number in range(2)]
    assert run(*jobs, places=Places(["3"]), threads=5) == [["3", "5"], ["3", "5"]]
    both = job(tmp_path, "both", code, devices=2)
    assert run(both, places=Places(["1", "2"])) == [["1,2", "1"]]
    assert run(jobs[0], places=Places(["cpu"])) == [["", "1"]]


def test_threads_are_shared_out(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(12)), raising=False)
    assert SideBySide(Places(["0", "1"], per_device=2)).threads == 3
    assert SideBySide(Places(["0"], per_device=20)).threads == 1
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    assert SideBySide(Places(["0"])).threads == 7


def test_what_fails_or_dies_frees_its_place_and_says_why(tmp_path):
    said = job(tmp_path, "said", f"(here / 'said' / {FAILED_NAME!r}).write_text('a reason'); sys.exit(1)")
    dumb = job(tmp_path, "dumb", "sys.exit(3)")
    killed = job(tmp_path, "killed", f"os.kill(os.getpid(), {int(signal.SIGKILL)})")
    fine = job(tmp_path, "fine", "place.answer(1)")
    answers = run(said, dumb, killed, fine, places=Places(["cpu"]))
    assert answers[0] == "a reason"
    assert answers[1] == "its process ended with exit code 3; the same command tries it again"
    assert answers[2] == "its process was ended by SIGKILL; the same command tries it again"
    assert answers[3] == 1
    assert (tmp_path / "killed" / FAILED_NAME).read_text().strip() == answers[2]
    assert not (tmp_path / "fine" / FAILED_NAME).exists()


def test_a_job_that_somebody_ends_is_one_failure(tmp_path):
    told = job(tmp_path, "told", "import hydra_det.process.interrupts as i; sys.exit(i.INTERRUPTED)")
    fine = job(tmp_path, "fine", "place.answer(1)")
    assert run(told, fine, places=Places(["cpu"])) == [
        "its process ended with exit code 130; the same command tries it again", 1,
    ]  # fmt: skip


def test_an_old_reason_is_forgotten(tmp_path):
    (tmp_path / "dumb").mkdir()
    (tmp_path / "dumb" / FAILED_NAME).write_text("of last week")
    (answer,) = run(job(tmp_path, "dumb", "sys.exit(3)"), places=Places(["cpu"]))
    assert "exit code 3" in answer


def test_nobody_reads(tmp_path, monkeypatch):
    class Gone:
        def write(self, _: str) -> None:
            raise BrokenPipeError

        def isatty(self) -> bool:
            return False

    monkeypatch.setattr(sys, "stdout", Gone())
    assert run(job(tmp_path, "loud", "print('x' * 500000); place.answer(1)"), places=Places(["cpu"])) == [1]


def test_no_more_than_some_wait(tmp_path):
    """With one place four jobs may wait; the fifth starts only when one of them has come back."""
    waiting = "place.let_go(); (here / f'waits{os.getpid()}').touch()\n"
    count = "place.answer(len(list(here.glob('waits*')))); "
    jobs = [
        job(tmp_path, f"job{number}", waiting + "time.sleep(2.5)\n" + count + "place.take_back()")
        for number in range(6)
    ]
    assert max(run(*jobs, places=Places(["cpu"]))[:4]) <= 4


@pytest.mark.parametrize(("trainer", "found"), [
    ({"devices": 2}, 2), ({"devices": "2"}, 2), ({"devices": "auto"}, 1), ({"devices": 2, "accelerator": "cpu"}, 1),
    (None, 1),
])  # fmt: skip
def test_how_many_devices_a_job_wants(trainer, found):
    assert devices_asked({"trainer": trainer}) == found


def test_devices_are_the_launchers_to_give():
    for asked in ([0, 1], -1, "0,1"):
        with pytest.raises(InputError, match=r"trainer.devices: expected a number beside hydra/launcher=devices, got"):
            devices_asked({"trainer": {"devices": asked}})


def test_threads_that_are_none():
    for wrong in (0, -1, 1.5, "2"):
        with pytest.raises(InputError, match=r"hydra.launcher.threads: expected a whole number of at least 1, or null"):
            SideBySide(Places(["cpu"]), threads=wrong)  # type: ignore[arg-type]


def test_a_job_that_waits_lets_another_one_have_its_place(tmp_path):
    """With a single place: the first needs what the second makes, and would wait for ever if it kept the place."""
    needing = job(
        tmp_path, "needing",
        "place.let_go()\n" + wait_for("made") + "asked = time.time(); place.take_back()\n"
        "place.answer([(here / 'made').exists(), (here / 'making_ended').exists()])",
    )  # fmt: skip
    making = job(tmp_path, "making", "(here / 'made').touch(); time.sleep(1.5); (here / 'making_ended').touch()")
    answers = run(needing, making, places=Places(["cpu"]))
    assert answers[0] == [True, True], "it goes on when the other one has left the place"


def test_whoever_waited_comes_before_new_jobs(tmp_path):
    first = job(
        tmp_path, "first",
        "place.let_go()\n" + wait_for("second_began") + "place.take_back(); (here / 'first_again').touch()",
    )  # fmt: skip
    second = job(tmp_path, "second", "(here / 'second_began').touch(); time.sleep(1.5)")
    third = job(tmp_path, "third", "place.answer((here / 'first_again').exists())")
    assert run(first, second, third, places=Places(["cpu"]))[2] is True


def test_a_job_that_has_no_launcher_waits_for_nobody(tmp_path, monkeypatch):
    from hydra_det.process import place

    monkeypatch.delenv(place.FOLDER, raising=False)
    monkeypatch.chdir(tmp_path)
    place.let_go()
    place.take_back()
    place.answer(1)
    assert not list(tmp_path.iterdir())


@pytest.fixture
def plain_ctrl_c():
    """Ctrl-C as Python has it: a test before this one may have left the handler of a job, which remembers."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_ctrl_c_stops_the_jobs_in_order(tmp_path, plain_ctrl_c):
    code = (
        "(here / 'began').touch()\ntry: time.sleep(60)\n"
        "except KeyboardInterrupt: (here / 'kept').touch(); sys.exit(130)"
    )
    code = "from hydra_det.process.interrupts import started; started()\n" + code
    interrupt = threading.Thread(target=_interrupt_when, args=(tmp_path / "began",))
    interrupt.start()
    with pytest.raises(KeyboardInterrupt):
        run(job(tmp_path, "long", code), job(tmp_path, "next", "(here / 'next_began').touch()"), places=Places(["cpu"]))
    interrupt.join()
    assert (tmp_path / "kept").exists()
    assert not (tmp_path / "next_began").exists()
    assert not (tmp_path / "long" / FAILED_NAME).exists(), "it did not fail"


def _interrupt_when(path: Path) -> None:
    while not path.exists():
        time.sleep(0.02)
    time.sleep(0.2)
    os.kill(os.getpid(), signal.SIGINT)


def test_a_job_does_not_outlive_its_launcher(tmp_path):
    """The launcher is killed; its job is told as by Ctrl-C, and keeps what it has."""
    code = (
        "from hydra_det.process.interrupts import started; started()\n"
        "from hydra_det.process.place import end_with_launcher; end_with_launcher(); (here / 'began').touch()\n"
        "try: time.sleep(30)\nexcept KeyboardInterrupt: (here / 'kept').touch()"
    )
    launcher = (
        "import sys; from pathlib import Path; from hydra_det.sweeps.places import Places\n"
        "from hydra_det.sweeps.side_by_side import Job, SideBySide\n"
        f"command = {json.dumps(job(tmp_path, 'one', code).command)}\n"
        f"job = Job('one', Path({str(tmp_path)!r}), command, Path({str(ROOT)!r}))\n"
        "SideBySide(Places(['cpu'])).run(iter([job]), count=1)"
    )

    process = subprocess.Popen([sys.executable, "-c", launcher], cwd=ROOT, stdout=subprocess.DEVNULL)
    end = time.monotonic() + 60
    while not (tmp_path / "began").exists() and time.monotonic() < end:
        time.sleep(0.05)
    process.kill()
    process.wait()
    while not (tmp_path / "kept").exists() and time.monotonic() < end:
        time.sleep(0.05)
    assert (tmp_path / "kept").exists()
