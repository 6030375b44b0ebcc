"""Work in a process of its own: what crashes there, as the native code of other runtimes may, ends that process alone.

    with Apart() as apart:
        answer = apart.call(function, *arguments)    # as if it were called here

The process is a fresh one, which has loaded nothing, and stays until the end: what one call leaves in it, the next one
finds. What it logs is logged here. It ends with this process.
"""

import contextlib
import logging
import multiprocessing
import signal
import sys
from collections.abc import Callable
from multiprocessing.connection import Connection
from types import TracebackType
from typing import ParamSpec, Self, TypeVar

log = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

LOGGED, RETURNED, RAISED = "logged", "returned", "raised"
LEAVE = 5.0  # seconds that the process has to end when it is no longer needed


class DiedError(RuntimeError):
    """The process ended in the midst of a call; the message says by what."""


class Apart:
    """A fresh process that calls functions; use it as a context manager."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._ours, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, logging.getLogger().level), daemon=True)
        self._process.start()
        theirs.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ours.close()  # it ends when nobody can ask any more
        self._process.join(0 if kind else LEAVE)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()

    def call(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """What a function of a module returns or raises there.

        Raises:
            DiedError: the process is gone.
        """
        try:
            self._ours.send((function, args, kwargs))
            while (said := self._ours.recv())[0] == LOGGED:
                log.log(said[1], "%s", said[2])
        except (EOFError, OSError) as error:
            raise DiedError(self._how()) from error
        if said[0] == RAISED:
            raise said[1]
        answer: T = said[1]
        return answer

    def _how(self) -> str:
        self._process.join(LEAVE)
        code = self._process.exitcode
        if code is None or code >= 0:
            return f"ended with exit code {code}"
        return f"was ended by {signal.Signals(-code).name}"


class _ToOwner(logging.Handler):
    """Hands what is logged to the process that asked."""

    def __init__(self, owner: Connection) -> None:
        super().__init__()
        self.owner = owner

    def emit(self, record: logging.LogRecord) -> None:
        self.owner.send((LOGGED, record.levelno, record.getMessage()))


def _serve(owner: Connection, level: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C is its owner's, who ends this process
    root = logging.getLogger()
    root.handlers = [_ToOwner(owner)]
    root.setLevel(level)
    with contextlib.suppress(EOFError, OSError):  # the owner is done, or gone
        while True:
            function, args, kwargs = owner.recv()
            try:
                said = RETURNED, function(*args, **kwargs)
            except Exception as error:
                said = RAISED, error
            owner.send(said)
    sys.stdout.flush()
