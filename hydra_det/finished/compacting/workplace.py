"""Where a compact network is made: in a folder beside the final one, by one process at a time."""

import shutil
import tempfile
from pathlib import Path

from hydra_det.compaction.files import COMPACT
from hydra_det.files.locks import try_lock
from hydra_det.types import InputError


class Workplace:
    """The folders of one `compact.py` at work on a run, which nobody else may be.

    Args:
        run: folder of the run.

    Attributes:
        final: where the files of the compact network are to lie.
        partial: where they are made.

    Raises:
        InputError: somebody else is at work on the run.
    """

    def __init__(self, run: Path) -> None:
        self.final = run / COMPACT
        self.partial = run / f"{COMPACT}.partial"
        lock = try_lock(run / f".{COMPACT}.lock", setting="run")
        if lock is None:
            raise InputError(f"run: expected nobody else at work on {run}, found another compact.py; wait")
        self._lock = lock
        shutil.rmtree(self.partial, ignore_errors=True)
        self.partial.mkdir()
        self._scratch = tempfile.TemporaryDirectory()

    def at(self, name: str) -> Path:
        """The folder of a network: the others than the compact one are for measuring only."""
        made = self.partial if self.partial.exists() else self.final
        return made if name == COMPACT else Path(self._scratch.name, name)

    def complete(self) -> None:
        """Put what was made in the place of what was there."""
        shutil.rmtree(self.final, ignore_errors=True)
        self.partial.rename(self.final)

    def leave(self) -> None:
        """Leave nothing behind that is not complete."""
        shutil.rmtree(self.partial, ignore_errors=True)
        self._scratch.cleanup()
        self._lock.release()
