"""Ctrl-C while a script starts: loading torch takes seconds, and a traceback from the middle of it helps nobody.

Every script imports this first, for what it does. Nothing has been begun by then, so the process simply ends; an
exception might come up inside of a library that takes it for a failure of its own.
"""

import os
import signal
import sys
import threading
from pathlib import Path
from types import FrameType

INTERRUPTED = 130  # what a shell gives a program that Ctrl-C ended

_PACKAGE = Path(__file__).resolve().parents[1]
_SCRIPTS = (_PACKAGE.parent, _PACKAGE / "verbs")  # in a checkout, in an installed wheel


def started() -> None:
    """From here on there is something to leave in order: Ctrl-C is an exception again."""
    if signal.getsignal(signal.SIGINT) is _leave:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _leave(_number: int, _frame: FrameType | None) -> None:
    os.write(2, b"interrupted; nothing was begun yet\n")
    os._exit(INTERRUPTED)


def _is_script() -> bool:
    """Whether one of our scripts is the program that runs; a test or a notebook only imports one."""
    file = getattr(sys.modules["__main__"], "__file__", None)
    return file is not None and Path(file).resolve().parent in _SCRIPTS


# A program that was started in the background has been told to ignore Ctrl-C.
if (
    threading.current_thread() is threading.main_thread()
    and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    and _is_script()
):
    signal.signal(signal.SIGINT, _leave)
