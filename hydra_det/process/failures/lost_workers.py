"""A process that loads images and was ended by somebody: which exceptions say so, and how a user is told."""

import re
import traceback
from pathlib import PurePath

from hydra_det.errors import chain

# torch/csrc/DataLoader.cpp and torch/utils/data/dataloader.py; for want of memory see `memory_errors`.
KILLED = re.compile(r"DataLoader worker \(pid (?P<pid>\d+)\) is killed by signal: (?P<signal>[^.]*)")
GONE = re.compile(r"DataLoader worker \(pid\(s\) (?P<pid>[\d, ]+)\) exited unexpectedly")
CUT = (ConnectionError, EOFError)  # what the loader meets that reads what a process was about to send
LOADER = PurePath("torch", "utils", "data").as_posix()


def lost_worker(error: BaseException | None) -> str | None:
    """One line for the user if a process that loads images is gone; None if not."""
    for part in chain(error, contexts=True):
        said = str(part)
        if found := KILLED.search(said):
            return _line(found["pid"], f"was ended by a signal ({found['signal']})")
        if found := GONE.search(said):
            return _line(found["pid"], "ended without a word")
        if isinstance(part, CUT) and _in_loader(part):
            return _line("", "ended while it sent an image")
    return None


def _line(pid: str, what: str) -> str:
    return (
        f"data.workers: expected the processes that load images to live, {f'process {pid}' if pid else 'one'} {what}; "
        "type the same command again, or take data.workers=0"
    )


def _in_loader(error: BaseException) -> bool:
    return any(LOADER in PurePath(frame.filename).as_posix() for frame in traceback.extract_tb(error.__traceback__))
