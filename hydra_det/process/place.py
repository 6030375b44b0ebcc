"""The place on a device that a launcher gave this job, which the job lets somebody else have while it only waits.

A launcher and its job speak by files in a folder that the launcher names: the job writes `waiting` when it begins to
wait and `back` when it wants its place again, and goes on when the launcher has removed both.
"""

import contextlib
import json
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hydra_det.files.atomic import write_atomically

FOLDER = "HYDRA_DET_PLACE"  # of the files
LAUNCHER = "HYDRA_DET_LAUNCHER"  # the process that a job must not outlive
WAITING, BACK, ANSWER = "waiting", "back", "answer.json"
POLL = 0.5  # seconds between two looks


def folder() -> Path | None:
    """Where this job speaks with its launcher; None where nobody gave it a place."""
    named = os.environ.get(FOLDER)
    return Path(named) if named else None


def let_go() -> None:
    """Somebody else may have the place of this job, which waits for another one; said again, it changes nothing."""
    if (here := folder()) and here.is_dir():
        (here / WAITING).touch()


def take_back(meanwhile: Callable[[], None] | None = None) -> None:
    """Return when the place is this job's again; at once where it was never let go of.

    Args:
        meanwhile: is called every now and then.
    """
    here = folder()
    if here is None or not (here / WAITING).exists():
        return
    (here / BACK).touch()
    while (here / BACK).exists():
        if meanwhile:
            meanwhile()
        time.sleep(POLL)


def answer(value: Any) -> None:
    """Tell the launcher what the task of this job returned: a plain value."""
    if here := folder():
        with contextlib.suppress(OSError):  # a drive that is full loses what a sweeper is told, not the run
            write_atomically(here / ANSWER, json.dumps(value))


def end_with_launcher() -> None:
    """Watch whether the launcher still lives, and stop as by Ctrl-C when it does not; nothing for a job without one."""
    if parent := os.environ.pop(LAUNCHER, None):
        threading.Thread(target=_watch, args=(int(parent),), daemon=True).start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1)
    os.kill(os.getpid(), signal.SIGTERM)  # a process that was started in the background ignores SIGINT
