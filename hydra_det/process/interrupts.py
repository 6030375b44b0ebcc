"""Ctrl-C at any instant of a script, and what schedulers and closed terminals send: it ends soon, with one line.

A script calls `leave_at_once` before it imports anything else: loading torch takes seconds, and an exception might
come up inside of a library that takes it for a failure of its own. Nothing has been begun by then, so the process
simply ends. From `started` on, each of these signals is a KeyboardInterrupt.

The exception may come up inside of a library that makes an error of its own of it. A signal to all processes of a run
ends those that load images as well, and what their owner meets then looks like an error, too: `asked_to_stop` tells
these from errors.
"""

import os
import signal
import sys
import threading
import time
from types import FrameType
from typing import Any

from hydra_det.process.failures.lost_workers import lost_worker

# Sent by `kill`, `timeout`, SLURM, containers; by a terminal that closes; by SLURM some time before its limit.
ENDING = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGHUP", "SIGUSR1") if hasattr(signal, name))
INTERRUPTED = 130  # what a shell gives a program that Ctrl-C ended
SOON = 0.05  # seconds after which a destructor is done
PATIENCE = 1.0  # seconds within which a signal to several processes has reached all of them

_asked = threading.Event()  # this process was told to stop


def leave_at_once() -> None:
    """From here to `started`, Ctrl-C ends the process with one line; for the program that runs, not for a library."""
    # A program that was started in the background has been told to ignore Ctrl-C.
    if (
        threading.current_thread() is threading.main_thread()
        and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    ):
        signal.signal(signal.SIGINT, _leave)
        for number in _own_to_take():
            signal.signal(number, _leave)


def started() -> None:
    """From here on there is something to leave in order: Ctrl-C is an exception again, and one that is not lost."""
    _asked.clear()
    if threading.current_thread() is threading.main_thread():
        if signal.getsignal(signal.SIGINT) in (_leave, signal.default_int_handler):
            signal.signal(signal.SIGINT, _stop)
        for number in _own_to_take():
            signal.signal(number, _stop)
    sys.unraisablehook = _not_lost


def stop_if_asked() -> None:
    """Raise a KeyboardInterrupt again that was swallowed: C code that clears errors of its own clears it as well.

    For places that long work passes again and again.
    """
    if _asked.is_set():
        raise KeyboardInterrupt


def asked_to_stop(*, wait: float = 0.0) -> bool:
    """Whether this process was told to stop by a signal, or is within so many seconds."""
    end = time.monotonic() + wait
    while not _asked.is_set() and time.monotonic() < end:
        time.sleep(SOON)  # in the main thread, where signals are handled in between
    return _asked.is_set()


def _own_to_take() -> list[int]:
    """The signals that nobody else here handles or ignores, as `nohup` does, or Lightning for SLURM."""
    free = [number for number in ENDING if signal.getsignal(number) in (signal.SIG_DFL, _leave)]
    return [number for number in free if number != getattr(signal, "SIGUSR1", None) or "SLURM_NTASKS" not in os.environ]


def _stop(_number: int, _frame: FrameType | None) -> None:
    _asked.set()
    raise KeyboardInterrupt


def _leave(_number: int, _frame: FrameType | None) -> None:
    os.write(2, b"interrupted; nothing was begun yet\n")
    os._exit(INTERRUPTED)


def _not_lost(unraisable: Any) -> None:
    """Python drops what comes up while an object is destroyed; a Ctrl-C is sent again.

    A signal to all processes of a run may end those that load images before the loader is destroyed, which complains.
    """
    if issubclass(unraisable.exc_type, KeyboardInterrupt):
        again = threading.Timer(SOON, os.kill, (os.getpid(), signal.SIGINT))
        again.daemon = True
        again.start()
    elif not (_asked.is_set() and lost_worker(unraisable.exc_value)):
        sys.__unraisablehook__(unraisable)
