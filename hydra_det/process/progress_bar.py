"""A bar for the terminal."""

from collections.abc import Iterable, Iterator
from typing import TypeVar

from rich import progress
from rich.console import Console

Item = TypeVar("Item")


def track(items: Iterable[Item], *, total: int, text: str) -> Iterator[Item]:
    """The items, with a bar on stderr if that is a terminal.

    Args:
        items: passed on.
        total: how many; 0 if that is not known.
        text: in front of the bar.
    """
    console = Console(stderr=True)
    return progress.track(
        items, description=text, total=total or None, console=console, disable=not console.is_terminal
    )  # type: ignore[return-value]
