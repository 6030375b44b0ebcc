"""Jobs of a sweep as commands of their own, as many at once as the devices have places for."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra_det.errors import InputError
from hydra_det.process import place
from hydra_det.process.script import command_of, leave_reason
from hydra_det.records.record import FAILED_NAME
from hydra_det.sweeps.places import Places, visible
from hydra_det.sweeps.voice import Voice

MOST_WAITING = 4  # jobs, for each place, that may wait for others before no new one is started: they hold memory
LOOK = 0.2  # seconds between two looks at the jobs
PATIENCE = 60  # seconds in which a job that is told to stop keeps what it has


@dataclass(frozen=True)
class Job:
    """A command, and what is known of it.

    Attributes:
        name: of its folder in the sweep.
        folder: that folder.
        command: with all its words.
        at: the folder to run it in.
        devices: how many it asks for.
    """

    name: str
    folder: Path
    command: list[str]
    at: Path
    devices: int = 1

    @classmethod
    def of_sweep(cls, config: Any, overrides: list[str]) -> "Job":
        """A job of Hydra's.

        Args:
            config: composed for it, with what `hydra` says.
            overrides: its own.
        """
        hydra = config.hydra
        folder = Path(hydra.sweep.dir) / hydra.sweep.subdir
        at = Path(hydra.runtime.cwd)
        return cls(
            name=str(hydra.sweep.subdir),
            folder=folder,
            command=command_of(hydra, overrides, str(at / folder), f"hydra.job.num={hydra.job.num}"),
            at=at,
            devices=devices_asked(config),
        )


def devices_asked(config: Any) -> int:
    """How many devices of the launcher a job wants.

    Raises:
        InputError: it names them, which are the launcher's to give.
    """
    trainer = config.get("trainer") or {}
    asked = trainer.get("devices", 1)
    if trainer.get("accelerator") == "cpu" or asked == "auto":
        return 1
    number = int(asked) if isinstance(asked, str) and asked.isdigit() else asked
    if not isinstance(number, int) or number < 1:
        raise InputError(f"trainer.devices: expected a number beside hydra/launcher=devices, got {asked}")
    return number


class _Running:
    """A job that runs, or waits for another one."""

    def __init__(self, number: int, job: Job, devices: tuple[str, ...], *, threads: int, say: "Voice") -> None:
        self.number, self.job, self.devices = number, job, devices
        self.has_place = True
        self.stopped = False  # it was told to
        (job.folder / FAILED_NAME).unlink(missing_ok=True)  # of an earlier start
        self.talk = Path(tempfile.mkdtemp(prefix="hydra_det_place_"))
        environment = {
            **os.environ,
            "CUDA_VISIBLE_DEVICES": visible(devices),
            "OMP_NUM_THREADS": str(threads),
            place.FOLDER: str(self.talk),
            place.LAUNCHER: str(os.getpid()),
        }
        # A session of its own: Ctrl-C in the terminal comes to the launcher alone, which tells the jobs once.
        self.process = subprocess.Popen(
            job.command, cwd=job.at, env=environment, start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
        )  # fmt: skip
        self.reader = threading.Thread(target=self._pass_on, args=(say,), daemon=True)
        self.reader.start()

    def _pass_on(self, say: "Voice") -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            say.line(f"{self.job.name} | {line.rstrip()}")

    def wants_to_wait(self) -> bool:
        """Whether it has a place that it does not need now."""
        return self.has_place and (self.talk / place.WAITING).exists() and not self.wants_back()

    def wants_back(self) -> bool:
        """Whether it wants to go on."""
        return (self.talk / place.BACK).exists()

    def go_on(self) -> None:
        """Tell it that it has its place."""
        self.has_place = True
        (self.talk / place.WAITING).unlink(missing_ok=True)
        (self.talk / place.BACK).unlink(missing_ok=True)

    def close(self) -> Any:
        """What it answered, or why it failed."""
        self.reader.join(timeout=5)
        code = self.process.returncode
        answer = self.talk / place.ANSWER
        found = json.loads(answer.read_text()) if answer.exists() else None
        shutil.rmtree(self.talk, ignore_errors=True)
        if code == 0 or self.stopped:
            return found
        reason = self.job.folder / FAILED_NAME
        if code < 0:
            name = signal.Signals(-code).name if -code in set(signal.Signals) else str(-code)
            leave_reason(self.job.folder, f"its process was ended by {name}; the same command tries it again")
        elif not reason.exists():
            leave_reason(self.job.folder, f"its process ended with exit code {code}; the same command tries it again")
        with contextlib.suppress(OSError):
            return reason.read_text().strip()
        return f"exit code {code}"


class SideBySide:
    """Runs jobs, and says what they say, each line with the name of its job.

    Args:
        places: of the devices.
        threads: of each job; None: its share of the cores.
    """

    def __init__(self, places: Places, *, threads: int | None = None) -> None:
        self.places = places
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        given = os.environ.get("OMP_NUM_THREADS", "")
        if threads is not None and (not isinstance(threads, int) or threads < 1):
            raise InputError(f"hydra.launcher.threads: expected a whole number of at least 1, or null, got {threads!r}")
        self.threads = threads or (int(given) if given.isdigit() else max(1, cores // places.count))

    def run(self, jobs: Iterator[Job], *, count: int) -> list[Any]:
        """The answers of the jobs in their order; that of a job that failed says why.

        Args:
            jobs: so many; each is asked for when there is room for it.
            count: how many.
        """
        answers: dict[int, Any] = {}
        running: list[_Running] = []
        failed = 0
        waiting = enumerate(jobs)
        following = next(waiting, None)
        with Voice(count) as say:
            try:
                while following or running:
                    for one in [one for one in running if one.process.poll() is not None]:
                        running.remove(one)
                        if one.has_place:
                            self.places.give_back(one.devices)
                        answers[one.number] = one.close()
                        failed += one.process.returncode != 0
                        if one.process.returncode:
                            say.line(f"{one.job.name} | failed: {answers[one.number]}")
                    for one in running:  # before new jobs: they were here first
                        if one.wants_back() and (one.has_place or self.places.take_again(one.devices)):
                            one.go_on()
                        elif one.wants_to_wait():
                            self.places.give_back(one.devices)
                            one.has_place = False
                    waiting_now = sum(not one.has_place for one in running)
                    awaited = {device for one in running if one.wants_back() for device in one.devices}
                    while (
                        following
                        and waiting_now < MOST_WAITING * self.places.count
                        and (devices := self.places.take(following[1].devices, but=awaited))
                    ):
                        number, job = following
                        running.append(_Running(number, job, devices, threads=self.threads, say=say))
                        following = next(waiting, None)
                    waits = sum(not one.has_place for one in running)
                    say.progress(done=len(answers), failed=failed, running=len(running) - waits, waiting=waits)
                    time.sleep(LOOK)
            finally:
                _stop(running)
        return [answers[number] for number in range(count)]


def _stop(running: list[_Running]) -> None:
    """Tell the jobs to stop, as by Ctrl-C, and end those that do not."""
    for one in running:
        if one.process.poll() is None:
            one.stopped = True
            one.process.terminate()  # a process that was started in the background ignores SIGINT
    end = time.monotonic() + PATIENCE
    try:
        for one in running:
            one.process.wait(max(0.0, end - time.monotonic()))
    except (subprocess.TimeoutExpired, KeyboardInterrupt):  # too late, or asked again
        for one in running:
            one.process.kill()
            one.process.wait()
    finally:
        for one in running:
            one.close()
