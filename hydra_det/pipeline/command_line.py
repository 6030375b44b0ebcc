"""What stands between a script and its terminal: errors as one line, exit codes, and the summary of a sweep."""

import functools
import logging
import runpy
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from hydra.core.hydra_config import HydraConfig
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig
from pytorch_lightning.utilities.rank_zero import rank_zero_only
from rich import progress
from rich.console import Console

from hydra_det.atomic import write_atomically
from hydra_det.pipeline.build import SCRIPTS
from hydra_det.pipeline.check import check_objectives
from hydra_det.pipeline.plan import PLANNED, outlook
from hydra_det.reports.front import FRONT, draw_front
from hydra_det.reports.records import load_records, records_frame
from hydra_det.reports.tables import show, sweep_table, write_summary_csv
from hydra_det.types import InputError

log = logging.getLogger(__name__)
Item = TypeVar("Item")

FAILED, SUMMARY = "failed.txt", "summary.csv"
INTERRUPTED = 130  # what a shell gives a program that Ctrl-C ended

# What Lightning warns of here is meant: stages that train nothing have no optimiser, small sets have few batches,
# pictures kept in memory need no workers, and a stage that goes on finds its folder. The last one is about Lightning's
# own use of torch. AP is not to be averaged over processes: it is computed from what all of them found.
EXPECTED_WARNINGS = (
    ".*configure_optimizers` returned `None`",
    ".*The number of training batches .* is smaller than the logging interval",
    ".*does not have many workers",
    ".*Checkpoint directory .* exists and is not empty",
    ".*isinstance.treespec, LeafSpec.. is deprecated",
    ".*It is recommended to use .self.log",
)


def job(task: Callable[[DictConfig], Any]) -> Callable[[DictConfig], Any]:
    """Make a task end in one clear line and exit code 1 when what it was given is wrong.

    A failing job leaves its reason in its folder. In a sweep the others go on, and `SweepSummary` names it at the end.
    What the task returns is for the sweeper, which is given the reason where a job failed. An error that is not the
    user's keeps its traceback. Of several processes only the first one speaks.
    """

    @functools.wraps(task)
    def wrapped(config: DictConfig) -> Any:
        for message in EXPECTED_WARNINGS:
            warnings.filterwarnings("ignore", message)
        if _is_helper():
            logging.getLogger().setLevel(logging.CRITICAL)
        folder = Path(HydraConfig.get().runtime.output_dir)
        if not _is_helper():
            (folder / FAILED).unlink(missing_ok=True)  # of an earlier job in the same folder
        try:
            return task(config)
        except (KeyboardInterrupt, SystemExit):  # Lightning turns the first into the second
            resumes = HydraConfig.get().job.name == "train"
            log.error("interrupted%s", "; the same command goes on from the last checkpoint" if resumes else "")
            sys.exit(INTERRUPTED)
        except InputError as error:
            reason = _one_line(error)
            log.error("error: %s", reason)
        except Exception as error:
            log.exception("this is a bug of the program, not of your input")
            reason = f"{type(error).__name__}: {error}"
        if not _is_helper():
            write_atomically(folder / FAILED, " ".join(reason.split()) + "\n")
        if HydraConfig.get().mode != RunMode.MULTIRUN:
            sys.exit(1)
        return reason

    return wrapped


class SweepSummary(Callback):
    """One table and one CSV at the end of a sweep; exit code 1 if a job failed."""

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        """Refuse objectives that no job could return."""
        try:
            check_objectives(config)  # only what no job changes is read
        except InputError as error:
            log.error("error: %s", error)
            sys.exit(1)

    def on_multirun_end(self, config: DictConfig, **_: Any) -> None:
        """Read what the jobs left in their folders, whichever launcher ran them."""
        if _is_helper():
            return
        if config.get("dry_run"):
            log.info("%d jobs: %s", len(PLANNED), outlook(PLANNED))
            return
        folder = Path(config.hydra.sweep.dir)
        records, failures = load_records(folder)
        failures |= {str(p.parent.relative_to(folder)): p.read_text().strip() for p in folder.rglob(FAILED)}
        frame = records_frame(records)
        write_summary_csv(folder / SUMMARY, frame)
        if config.get("objectives"):
            draw_front(frame, folder / FRONT)
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


def _one_line(error: InputError) -> str:
    """The message; an error of a process that loads images comes wrapped in that process's traceback."""
    return str(error).strip().rpartition(f"{InputError.__name__}: ")[2]


def _is_helper() -> bool:
    """Whether this is one of the further processes that Lightning starts, e.g. for more devices."""
    return bool(getattr(rank_zero_only, "rank", 0))


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


def compact() -> None:
    """The console script `hydra-det-compact`: the same as `python compact.py`."""
    _run_script("compact")


def _run_script(name: str) -> None:
    runpy.run_path(str(SCRIPTS / f"{name}.py"), run_name="__main__")
