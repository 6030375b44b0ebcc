"""The folders that Hydra makes before a job begins, and that a dry run has no use for."""

import contextlib
from pathlib import Path

PLAN = "multirun.yaml"  # Hydra's own, of a sweep

_noted: list["_Before"] = []


class _Before:
    """A folder, and the ones above it, as they were before a command."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()
        self.missing = [path for path in (self.folder, *self.folder.parents) if not path.exists()]
        self.entries = set() if self.missing else set(self.folder.iterdir())
        plan = self.folder / PLAN
        self.plan = plan.read_bytes() if plan.is_file() else None

    def restore(self) -> None:
        """Take away the empty folders that came since, and Hydra's plan of a sweep; nothing else."""
        plan = self.folder / PLAN
        if self.plan is not None:
            plan.write_bytes(self.plan)
        elif self.folder.is_dir():
            plan.unlink(missing_ok=True)
        for entry in set(self.folder.iterdir()) - self.entries if self.folder.is_dir() else ():
            _remove_empty(entry)
        for path in self.missing:
            _remove_empty(path)


def note(folder: Path) -> None:
    """Remember a folder of a command that will only say what it would do."""
    _noted.append(_Before(folder))


def leave_nothing() -> None:
    """Leave the folders that were noted as they were."""
    while _noted:
        with contextlib.suppress(OSError):  # a drive that fails now has been reported, or is not written to
            _noted.pop().restore()


def _remove_empty(folder: Path) -> None:
    with contextlib.suppress(OSError):  # not empty: something else is in there
        folder.rmdir()
