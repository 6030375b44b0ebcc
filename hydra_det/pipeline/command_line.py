"""A bar for the terminal, and the console scripts. Nothing here needs torch."""

import runpy
from collections.abc import Iterable, Iterator
from typing import TypeVar

from rich import progress
from rich.console import Console

from hydra_det.pipeline.script import SCRIPTS

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


def train() -> None:
    """The console script `hydra-det-train`: the same as `python train.py`."""
    _run_script("train")


def evaluate() -> None:
    """The console script `hydra-det-evaluate`: the same as `python evaluate.py`."""
    _run_script("evaluate")


def doctor() -> None:
    """The console script `hydra-det-doctor`: the same as `python doctor.py`."""
    _run_script("doctor")


def detect() -> None:
    """The console script `hydra-det-detect`: the same as `python detect.py`."""
    _run_script("detect")


def report() -> None:
    """The console script `hydra-det-report`: the same as `python report.py`."""
    _run_script("report")


def compact() -> None:
    """The console script `hydra-det-compact`: the same as `python compact.py`."""
    _run_script("compact")


def _run_script(name: str) -> None:
    runpy.run_path(str(SCRIPTS / f"{name}.py"), run_name="__main__")
