"""Locks of files, which the system gives back however a process ends, across machines where the drive does that.

They are those of `filelock`: flock on Linux and macOS. Three things are decided here.

- The file of a lock is left behind. If it were removed, those who wait for it and those who come next would lock two
  different files.
- Where a drive has no locks, filelock would go over to a file that is there or not. After a kill that is there for good
  as far as another machine can tell, so it is not done: the drive is refused.
- A forked process, as of a data loader, would keep a lock after the death of its owner. filelock closes in it what it
  inherits, since 3.30.
"""

from pathlib import Path

from filelock import BaseFileLock, FileLock, Timeout

from hydra_det.errors import InputError


def try_lock(path: Path, *, setting: str) -> BaseFileLock | None:
    """The lock of a file, held until its `release` or the end of the process; None while another process has it.

    Another thread of this process counts as another process, and so does a second try of the same thread.

    Args:
        path: of the file, which is made where there is none.
        setting: that names its drive, for the user.

    Raises:
        InputError: the drive does not lock files.
        OSError: the file cannot be made or opened.
    """
    lock = FileLock(path, thread_local=False, fallback_to_soft=False)  # any thread may release it
    try:
        lock.acquire(blocking=False)
    except Timeout:
        return None
    except OSError as error:
        if error.filename is not None:  # it was about the file, not about its lock
            raise
        raise InputError(
            f"{setting}: expected a drive that locks files, got {error.strerror}; give another one"
        ) from error
    return lock
