"""What a drive refuses, said as one line: no room, no permission, broken, too many files. Needs no torch.

It comes from anywhere, in the middle of a run, and is neither a mistake in what was typed nor a bug of the program.
"""

import errno
import os
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from hydra_det.errors import chain
from hydra_det.files.machine_errors import BROKEN, TOO_MANY

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
CLOSED = (errno.EROFS, errno.EACCES, errno.EPERM)
# Libraries that write on their own pass the system's words on, but not its number. Those of `CLOSED` mean other things
# as well, such as a device that is in use.
WORDS = {os.strerror(number): number for number in (*FULL, errno.EROFS, *BROKEN, *TOO_MANY)}
# Who does, beside an OSError of a process that loads images, which is made anew from its text: torch and safetensors.
SPEAKERS = ("RuntimeError", "SafetensorError")
LITTLE = 2**20  # bytes: with less left, a drive is the one that is full


class Refusal(NamedTuple):
    """What a drive did not do.

    Attributes:
        line: what was to be written or read, where, why it was not, and what to do.
        full: there is no room, for whatever comes next.
    """

    line: str
    full: bool


def refusal(error: BaseException, places: Mapping[str, Path]) -> Refusal | None:
    """What a drive refused, if that is what an error is about; None for any other error.

    Args:
        error: that came up.
        places: by the setting that names it, the folders that are written to.
    """
    for cause in chain(error):
        number = _number(cause)
        file = (cause.filename2 or cause.filename) if isinstance(cause, OSError) else None  # of a move its end
        where, settings = os.fsdecode(file) if file else _where(places), " or ".join(f"{name}=" for name in places)
        if number in FULL:
            why, what = "expected room to write", f"make room there, or give another drive by {settings}"
        elif number in CLOSED and (file or number == errno.EROFS) and not _of_program(cause):
            why, what = "expected the right to read and write", f"give it, or another folder by {settings}"
        elif number in BROKEN:
            why, what = "expected a drive that works", f"look at it, or give another one by {settings}"
        elif number in TOO_MANY:
            why, what = "expected to open one more file", "raise `ulimit -n`"
        else:
            continue
        line = f"{where}: {why}, got {os.strerror(number)}; {what}, and type the same command again"
        return Refusal(line, number in FULL)
    return None


def _number(cause: BaseException) -> int | None:
    """The system's number for an error, also if only its words are there."""
    if isinstance(cause, OSError) and cause.errno is not None:
        return cause.errno
    if not isinstance(cause, OSError) and type(cause).__name__ not in SPEAKERS:
        return None
    return next((known for words, known in WORDS.items() if words in str(cause)), None)


def _of_program(cause: BaseException) -> bool:
    """Whether it came up where a program was started: the file is the program then, and nothing was to be written."""
    trace = cause.__traceback__
    while trace and trace.tb_next:
        trace = trace.tb_next
    return trace is not None and trace.tb_frame.f_globals.get("__name__") == "subprocess"


def _where(places: Mapping[str, Path]) -> str:
    """The folder on the drive with the least room, where the system does not say which file it was about."""
    left = {path: room for path in places.values() if (room := _room(path)) is not None}
    full = [path for path, room in left.items() if room < LITTLE]
    return " or ".join(map(str, full or left or places.values()))


def _room(path: Path) -> int | None:
    """Bytes that are left for a folder, which need not be there yet; None: not known."""
    for folder in (path, *path.absolute().parents):
        try:
            stat = os.statvfs(folder)
        except FileNotFoundError:
            continue
        except OSError:
            return None
        return stat.f_bavail * stat.f_frsize
    return None
