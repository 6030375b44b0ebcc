"""What stands between a script and its terminal: errors as one line, exit codes, and the summary of a sweep."""

import logging
import runpy
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from hydra.experimental.callback import Callback
from omegaconf import DictConfig
from rich import progress
from rich.console import Console

from hydra_det.pipeline.plan import PLANNED, outlook
from hydra_det.pipeline.script import EXPECTED_WARNINGS, FAILED, SCRIPTS, is_helper, job  # noqa: F401 - for scripts
from hydra_det.reports.records import load_records, records_frame
from hydra_det.reports.tables import show, sweep_table, write_summary_csv

log = logging.getLogger(__name__)
Item = TypeVar("Item")

SUMMARY = "summary.csv"


class SweepSummary(Callback):
    """One table and one CSV at the end of a sweep; exit code 1 if a job failed."""

    def on_multirun_end(self, config: DictConfig, **_: Any) -> None:
        """Read what the jobs left in their folders, whichever launcher ran them."""
        if is_helper():
            return
        if config.get("dry_run"):
            log.info("%d jobs: %s", len(PLANNED), outlook(PLANNED))
            return
        folder = Path(config.hydra.sweep.dir)
        records, failures = load_records(folder)
        failures |= {str(p.parent.relative_to(folder)): p.read_text().strip() for p in folder.rglob(FAILED)}
        frame = records_frame(records)
        write_summary_csv(folder / SUMMARY, frame)
        show(sweep_table(frame, failures))
        log.info("summary: %s", folder / SUMMARY)
        if failures:
            log.error(
                "error: %d of %d jobs failed: %s", len(failures), len(failures) + len(records), "; ".join(failures)
            )
            sys.exit(1)


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
