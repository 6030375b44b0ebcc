"""An error that the code of a user raised, such as that of a network of theirs: which line of which file."""

import sysconfig
import traceback
from pathlib import Path

from hydra_det.process.locations import PACKAGE, SCRIPTS

LIBRARIES = tuple(Path(sysconfig.get_path(name)) for name in ("stdlib", "purelib", "platlib"))


def users_line(error: BaseException) -> str | None:
    """`file, line 7` of a user's code that raised an error itself or by a library that it called; None if ours did."""
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        file = Path(frame.filename)
        if file.is_relative_to(PACKAGE) or file.parent == SCRIPTS:
            return None
        if file.is_file() and not any(file.is_relative_to(folder) for folder in LIBRARIES):
            return f"{file}, line {frame.lineno}"
    return None
