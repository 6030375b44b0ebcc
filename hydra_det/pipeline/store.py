"""Finished stages on disk, named by a fingerprint of exactly what they depend on.

    store/pretrain-3f2a1b0c9d8e/            finished: made by one rename, never changed again
        stage.json  weights.safetensors  tensorboard/
    store/pretrain-3f2a1b0c9d8e.partial/    under way or interrupted: only resumed, never read as a result

A stage that is there is not run again. Two runs that want the same stage at the same time take turns; the lock of a
process that died is released by the operating system.
"""

import fcntl
import hashlib
import json
import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from hydra_det.atomic import write_atomically
from hydra_det.errors import InputError

log = logging.getLogger(__name__)

# Raise it when the code computes something else from the same config: old results are then made anew.
FORMAT = 3
ABOUT = "stage.json"
POLL = 1.0  # seconds between two looks at whether another process is done


def fingerprint(inputs: Mapping[str, Any]) -> str:
    """12 hex digits over a nested mapping of plain values; the order of keys does not count."""
    text = json.dumps({"format": FORMAT, **inputs}, sort_keys=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


class Store:
    """The folder of finished stages.

    Args:
        root: is made when the first stage starts.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def folder(self, name: str, key: str) -> Path:
        """Where a stage lies when it is finished."""
        return self.root / f"{name}-{key}"

    def find(self, name: str, key: str) -> dict[str, Any] | None:
        """What is written about a finished stage, None if it is not finished."""
        about = self.folder(name, key) / ABOUT
        return json.loads(about.read_text()) if about.is_file() else None

    def finished(self, name: str) -> Iterator[dict[str, Any]]:
        """What is written about every finished stage of a name."""
        for about in sorted(self.root.glob(f"{name}-*/{ABOUT}")):
            if about.parent.suffix != ".partial":
                yield json.loads(about.read_text())

    def under_way(self, name: str, key: str) -> Path:
        """Where a stage lies until it is finished."""
        folder = self.folder(name, key)
        return folder.with_name(folder.name + ".partial")

    def partial(self, name: str, key: str) -> Path:
        """The folder to work in; what an interrupted run left there is there again."""
        partial = self.under_way(name, key)
        partial.mkdir(parents=True, exist_ok=True)
        return partial

    def publish(self, name: str, key: str, about: Mapping[str, Any]) -> None:
        """Make the partial folder the finished one, in one rename."""
        partial = self.partial(name, key)
        write_atomically(partial / ABOUT, json.dumps(about, indent=2, sort_keys=True, allow_nan=False) + "\n")
        partial.rename(self.folder(name, key))

    def claim_missing(
        self, name: str, key: str, claimed: ExitStack, *, meanwhile: Callable[[], None] | None = None
    ) -> bool:
        """Whether a stage is to be run here; the exclusive right to do so is then held until `claimed` is closed.

        Args:
            name: of the stage.
            key: of the stage.
            claimed: takes the right.
            meanwhile: is called every few seconds while another process has it.
        """
        if self.find(name, key) is not None:
            return False
        claimed.enter_context(self.claim(name, key, meanwhile=meanwhile))
        return self.find(name, key) is None

    @contextmanager
    def claim(self, name: str, key: str, *, meanwhile: Callable[[], None] | None = None) -> Iterator[None]:
        """Hold the exclusive right to run a stage; waits while another process has it."""
        locks = self.root / ".locks"
        locks.mkdir(parents=True, exist_ok=True)
        handle = os.open(locks / f"{name}-{key}", os.O_CREAT | os.O_RDWR)
        try:
            if not _locked(handle):
                log.info("%s is being run by another process; waiting for its result", name)
                while not _locked(handle):
                    if meanwhile:
                        meanwhile()
                    time.sleep(POLL)
            # On a network drive this machine may remember that the result was missing; what it wrote itself to the
            # folder makes it look again.
            os.utime(self.root)
            yield
        finally:
            os.close(handle)


def _locked(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        raise InputError(f"store: expected a drive that locks files, got {error.strerror}; give another one") from error
    return True
