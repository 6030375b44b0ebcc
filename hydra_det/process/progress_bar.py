"""A bar for the terminal, which one process at a time may draw on."""

import contextlib
import os
from collections.abc import Iterable, Iterator
from typing import Any, TextIO, TypeVar

from rich import progress
from rich.console import Console

from hydra_det.process.script import in_parallel, is_helper

try:
    import fcntl
except ModuleNotFoundError:  # Windows, where several commands in one terminal draw over each other
    fcntl = None  # type: ignore[assignment]

Item = TypeVar("Item")

_held: dict[str, int] = {}  # terminals that this process draws on, with what keeps others away


def may_draw(stream: TextIO | Any, *, of_sweep: bool = False) -> bool:
    """Whether a bar may be drawn: on a terminal, by the first of a job's processes, and by one command at a time.

    Two bars in one terminal write over each other, so the first command that asks has it until it ends.

    Args:
        stream: to draw on.
        of_sweep: the bar is that of a whole sweep, and not of one of several jobs.
    """
    return bool(stream.isatty()) and (of_sweep or not in_parallel()) and not is_helper() and _taken(stream)


def track(items: Iterable[Item], *, total: int, text: str) -> Iterator[Item]:
    """The items, with a bar on stderr if that may be drawn on.

    Args:
        items: passed on.
        total: how many; 0 if that is not known.
        text: in front of the bar.
    """
    console = Console(stderr=True)
    shown = console.is_terminal and may_draw(console.file)
    return progress.track(items, description=text, total=total or None, console=console, disable=not shown)  # type: ignore[return-value]


def _taken(stream: TextIO | Any) -> bool:
    """Whether the terminal of a stream is this process's own now."""
    if fcntl is None:
        return True
    with contextlib.suppress(OSError, ValueError):  # no name, as of a terminal within another one: nobody else's
        name = os.ttyname(stream.fileno())
        if name in _held:
            return True
        descriptor = os.open(name, os.O_RDONLY | os.O_NOCTTY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return False
        _held[name] = descriptor
    return True
