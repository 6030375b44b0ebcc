"""Jobs of a sweep as commands of their own, as many at once as the devices have places for."""

import contextlib
import json
import logging
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from hydra_det.process import place
from hydra_det.process.interrupts import INTERRUPTED
from hydra_det.process.locations import SCRIPTS
from hydra_det.process.progress_bar import may_draw
from hydra_det.process.script import leave_reason
from hydra_det.records.record import FAILED_NAME
from hydra_det.sweeps.places import Places, visible

log = logging.getLogger(__name__)

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
    def of_sweep(cls, config: Any, overrides: list[str], *, of_hydra: list[str]) -> "Job":
        """A job of Hydra's.

        Args:
            config: composed for it, with what `hydra` says.
            overrides: its own.
            of_hydra: what was typed for Hydra itself.
        """
        hydra = config.hydra
        folder = Path(hydra.sweep.dir) / hydra.sweep.subdir
        typed = [text for text in of_hydra if not text.startswith("hydra.mode=")]
        further = [source.path for source in hydra.runtime.config_sources if source.provider == "command-line"]
        place_of_run = str(Path(hydra.runtime.cwd, folder)).replace("\\", "\\\\").replace("'", "\\'")
        words = [
            *(f"--config-dir={path}" for path in further),
            f"--config-name={hydra.job.config_name}",
            *typed,
            *overrides,
            "hydra.mode=RUN",
            f"hydra.run.dir='{place_of_run}'",
        ]
        asked = config.trainer.devices
        return cls(
            name=str(hydra.sweep.subdir),
            folder=folder,
            command=[sys.executable, str(SCRIPTS / f"{hydra.job.name}.py"), *words],
            at=Path(hydra.runtime.cwd),
            devices=asked if isinstance(asked, int) and asked > 0 else len(asked) if isinstance(asked, list) else 1,
        )


class _Running:
    """A job that runs, or waits for another one."""

    def __init__(self, number: int, job: Job, devices: tuple[str, ...], *, threads: int, say: "_Voice") -> None:
        self.number, self.job, self.devices = number, job, devices
        self.has_place = True
        self.stopped = False  # it was told to
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

    def _pass_on(self, say: "_Voice") -> None:
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
        for path in self.talk.iterdir():
            path.unlink()
        self.talk.rmdir()
        if code in {0, INTERRUPTED} or self.stopped:
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
        with _Voice(count) as say:
            try:
                while following or running:
                    for one in [one for one in running if one.process.poll() is not None]:
                        running.remove(one)
                        if one.has_place:
                            self.places.give_back(one.devices)
                        answers[one.number] = one.close()
                        failed += one.process.returncode != 0
                        if one.process.returncode == INTERRUPTED:
                            raise KeyboardInterrupt
                        say.ended(one, answers[one.number])
                    for one in running:  # before new jobs: they were here first
                        if one.wants_back() and (one.has_place or self.places.take_again(one.devices)):
                            one.go_on()
                        elif one.wants_to_wait():
                            self.places.give_back(one.devices)
                            one.has_place = False
                    while following and (devices := self.places.take(following[1].devices)):
                        number, job = following
                        running.append(_Running(number, job, devices, threads=self.threads, say=say))
                        following = next(waiting, None)
                    say.progress(running, done=len(answers), failed=failed)
                    time.sleep(LOOK)
            finally:
                _stop(running)
        return [answers[number] for number in range(count)]


def _stop(running: list[_Running]) -> None:
    """Tell the jobs to stop, as by Ctrl-C, and end those that do not."""
    for one in running:
        if one.process.poll() is None:
            one.stopped = True
            one.process.send_signal(signal.SIGINT)
    end = time.monotonic() + PATIENCE
    for one in running:
        try:
            one.process.wait(max(0.0, end - time.monotonic()))
        except (subprocess.TimeoutExpired, KeyboardInterrupt):
            one.process.kill()
            one.process.wait()
        one.close()


class _Voice:
    """The terminal that jobs share: their lines, and below them one for the sweep."""

    def __init__(self, count: int) -> None:
        self.count, self.began = count, time.monotonic()
        console = Console(stderr=True)
        self.drawn = may_draw(sys.stderr) and console.is_terminal
        self.bar = Progress(
            TextColumn("sweep"), BarColumn(), TextColumn("{task.completed}/{task.total}"),
            TextColumn("{task.fields[state]}"), TimeRemainingColumn(), console=console, disable=not self.drawn,
        )  # fmt: skip
        self.task = self.bar.add_task("sweep", total=count, state="")
        self.state = (0, 0, 0, 0)

    def __enter__(self) -> "_Voice":
        self.bar.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self.bar.stop()

    def line(self, text: str) -> None:
        """A line of a job."""
        if self.drawn:
            self.bar.console.print(text, markup=False, highlight=False, soft_wrap=True)
        else:
            print(text, flush=True)  # noqa: T201 - as the job would

    def ended(self, one: _Running, answer: Any) -> None:
        """A job has ended."""
        if one.process.returncode:
            self.line(f"{one.job.name} | failed: {answer}")

    def progress(self, running: list[_Running], *, done: int, failed: int) -> None:
        """How far the sweep is; where there is no bar, a line for every job that ended."""
        waiting = sum(not one.has_place for one in running)
        state = (done, failed, len(running) - waiting, waiting)
        if state == self.state:
            return
        text = f"{state[2]} running, {waiting} waiting, {failed} failed"
        self.bar.update(self.task, completed=done, state=text)
        if not self.drawn and done > self.state[0]:
            seconds = time.monotonic() - self.began
            left = seconds / done * (self.count - done)
            self.line(f"sweep: {done}/{self.count} done, {text}, about {_time(left)} left")
        self.state = state


def _time(seconds: float) -> str:
    return (
        f"{seconds:.0f} s"
        if seconds < 120
        else f"{seconds / 60:.0f} min"
        if seconds < 7200
        else f"{seconds / 3600:.1f} h"
    )
