"""What the jobs of a sweep say, on the one terminal that they share."""

import contextlib
import sys
import time
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from hydra_det.pipeline.plan import duration
from hydra_det.process.progress_bar import may_draw


class Voice:
    """The terminal that jobs share: their lines, and below them one for the sweep."""

    def __init__(self, count: int) -> None:
        self.count, self.began = count, time.monotonic()
        console = Console(stderr=True)
        self.drawn = console.is_terminal and may_draw(sys.stderr, of_sweep=True)
        self.bar = Progress(
            TextColumn("sweep"), BarColumn(), TextColumn("{task.completed}/{task.total}"),
            TextColumn("{task.fields[state]}"), TimeRemainingColumn(), console=console, disable=not self.drawn,
        )  # fmt: skip
        self.task = self.bar.add_task("sweep", total=count, state="")
        self.state = (0, 0, 0, 0)

    def __enter__(self) -> "Voice":
        self.bar.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self.bar.stop()

    def line(self, text: str) -> None:
        """A line of a job."""
        with contextlib.suppress(OSError, ValueError):  # nobody reads it any more: the jobs go on all the same
            if self.drawn:
                self.bar.console.print(text, markup=False, highlight=False, soft_wrap=True)
            else:
                sys.stdout.write(text + "\n")
                sys.stdout.flush()

    def progress(self, *, done: int, failed: int, running: int, waiting: int) -> None:
        """How far the sweep is; where there is no bar, a line when jobs have ended."""
        state = (done, failed, running, waiting)
        if state == self.state:
            return
        text = f"{state[2]} running, {waiting} waiting, {failed} failed"
        self.bar.update(self.task, completed=done, state=text)
        if not self.drawn and done > self.state[0]:
            seconds = time.monotonic() - self.began
            left = seconds / done * (self.count - done)
            self.line(f"sweep: {done}/{self.count} done, {text}, about {duration(left)} left")
        self.state = state
