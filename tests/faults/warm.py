"""Processes that start in no time: one process loads torch once and makes a copy of itself for every run.

A run of a second would otherwise be nine seconds of loading torch. A copy is a process like any other: it has its own
memory and files, gets signals, and is killed for good. What happens while torch is loaded is tested with `cold` ones.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tests.faults.hook import Fault
from tests.faults.launch import ROOT, run_script

ENVIRONMENT = {"OMP_NUM_THREADS": "1"}


class Process:
    """A run of a script.

    Args:
        pid: of the process, which leads a group of its own.
        output: file with what it says.
        ended: gives its exit code once it has ended; a negative one is the signal that ended it.
    """

    def __init__(self, pid: int, output: Path, ended: Any) -> None:
        self.pid, self.output, self._ended = pid, output, ended

    def wait(self, timeout: float = 600) -> int:
        """Exit code; a process that does not end in time is killed, and that is an error."""
        try:
            return int(self._ended(timeout))
        except TimeoutError:
            self.signal(signal.SIGKILL)
            raise AssertionError(f"process did not end within {timeout} s; it said\n{self.said}") from None

    def running(self) -> bool:
        """Whether it has not ended yet."""
        try:
            self._ended(0)
        except TimeoutError:
            return True
        return False

    def signal(self, number: int) -> None:
        """Send a signal to it and to what it started, as a terminal does."""
        os.killpg(self.pid, number)

    @property
    def said(self) -> str:
        """What it wrote to its output and errors so far."""
        return self.output.read_text(errors="replace")


class Nursery:
    """A process with torch loaded, that makes copies of itself; use it as a context manager."""

    def __init__(self) -> None:
        self._codes: dict[int, int] = {}
        self._said = threading.Condition()
        self._started: list[int] = []
        environment = {**os.environ, **ENVIRONMENT}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.warm"],
            cwd=ROOT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1,
        )  # fmt: skip
        threading.Thread(target=self._listen, daemon=True).start()

    def __enter__(self) -> "Nursery":
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(60)

    def start(self, folder: Path, name: str, words: Sequence[str], fault: Fault | None = None) -> Process:
        """Run a script in a folder; what it says goes to a file there."""
        output = folder / f"said-{time.monotonic_ns()}.txt"
        output.touch()
        asked = {
            "folder": str(folder),
            "output": str(output),
            "name": name,
            "words": list(words),
            "fault": asdict(fault) if fault else None,
        }
        assert self._process.stdin is not None
        with self._said:
            before = len(self._started)
            self._process.stdin.write(json.dumps(asked) + "\n")
            assert self._said.wait_for(lambda: len(self._started) > before, 120), "nothing was started"
            pid = self._started[-1]
        return Process(pid, output, lambda timeout: self._code(pid, timeout))

    def _code(self, pid: int, timeout: float) -> int:
        with self._said:
            if not self._said.wait_for(lambda: pid in self._codes, timeout):
                raise TimeoutError
            return self._codes[pid]

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            news: Mapping[str, int] = json.loads(line)
            with self._said:
                if "code" in news:
                    self._codes[news["pid"]] = news["code"]
                else:
                    self._started.append(news["pid"])
                self._said.notify_all()


def cold(folder: Path, name: str, words: Sequence[str], fault: Fault | None = None) -> Process:
    """Run a script in a folder, in a process that is started from nothing."""
    given = json.dumps(asdict(fault) if fault else None)
    return started_from(folder, ["-m", "tests.faults.launch", given, name, *words])


def started_from(folder: Path, words: Sequence[str]) -> Process:
    """Run Python with these words in a folder, in a session of its own."""
    output = folder / f"said-{time.monotonic_ns()}.txt"
    with output.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, *words],
            cwd=folder, env={**os.environ, **ENVIRONMENT, "PYTHONPATH": ROOT}, stdin=subprocess.DEVNULL,
            stdout=file, stderr=subprocess.STDOUT, start_new_session=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # noqa: PLW1509 - no threads yet
        )  # fmt: skip

    def ended(timeout: float) -> int:
        try:
            return process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise TimeoutError from None

    return Process(process.pid, output, ended)


def _serve() -> None:
    import train  # noqa: F401 - loads all that the scripts load

    tell = threading.Lock()

    def say(**news: int) -> None:
        with tell:
            sys.stdout.write(json.dumps(news) + "\n")
            sys.stdout.flush()

    def wait_for(pid: int) -> None:
        say(pid=pid, code=os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))

    for line in sys.stdin:
        asked = json.loads(line)
        with tell:  # no copy is made of a lock that another thread holds
            pid = os.fork()
            if not pid:
                _become(asked)
        with contextlib.suppress(OSError):  # it has done so itself, and may have ended
            os.setpgid(pid, pid)
        say(pid=pid)
        threading.Thread(target=wait_for, args=(pid,), daemon=True).start()


def _become(asked: Mapping[str, Any]) -> None:
    """Be the run that was asked for; never returns."""
    code = 1
    try:
        os.setpgid(0, 0)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        os.chdir(asked["folder"])
        file = os.open(asked["output"], os.O_CREAT | os.O_WRONLY | os.O_APPEND)
        nothing = os.open(os.devnull, os.O_RDONLY)
        for place, handle in ((nothing, 0), (file, 1), (file, 2)):
            os.dup2(place, handle)
        run_script(Fault(**asked["fault"]) if asked["fault"] else None, asked["name"], asked["words"])
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        try:
            sys.excepthook(*sys.exc_info())
        except SystemExit as end:
            code = int(end.code or 0)
    finally:
        # As an interpreter that ends, but without what the process that it is a copy of had planned for its own end.
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os._exit(code)


if __name__ == "__main__":
    _serve()
