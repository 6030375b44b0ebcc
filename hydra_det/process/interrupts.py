"""Ctrl-C at any instant of a script: it ends within moments, with one line and not with a traceback.

A script calls `leave_at_once` before it imports anything else: loading torch takes seconds, and an exception might
come up inside of a library that takes it for a failure of its own. Nothing has been begun by then, so the process
simply ends.
"""

import os
import signal
import sys
import threading
from types import FrameType
from typing import Any

INTERRUPTED = 130  # what a shell gives a program that Ctrl-C ended
SOON = 0.05  # seconds after which a destructor is done


def leave_at_once() -> None:
    """From here to `started`, Ctrl-C ends the process with one line; for the program that runs, not for a library."""
    # A program that was started in the background has been told to ignore Ctrl-C.
    if (
        threading.current_thread() is threading.main_thread()
        and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    ):
        signal.signal(signal.SIGINT, _leave)


def started() -> None:
    """From here on there is something to leave in order: Ctrl-C is an exception again, and one that is not lost."""
    if signal.getsignal(signal.SIGINT) is _leave:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.unraisablehook = _not_lost


def _leave(_number: int, _frame: FrameType | None) -> None:
    os.write(2, b"interrupted; nothing was begun yet\n")
    os._exit(INTERRUPTED)


def _not_lost(unraisable: Any) -> None:
    """Python drops what comes up while an object is destroyed; a Ctrl-C is sent again."""
    if issubclass(unraisable.exc_type, KeyboardInterrupt):
        again = threading.Timer(SOON, os.kill, (os.getpid(), signal.SIGINT))
        again.daemon = True
        again.start()
    else:
        sys.__unraisablehook__(unraisable)
