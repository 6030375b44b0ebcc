"""A sweep as a whole: its jobs are checked before the first one trains, and summed up after the last one."""

import itertools
import json
import logging
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from hydra._internal.core_plugins.basic_launcher import BasicLauncher
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.config_loader import ConfigLoader
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from hydra_det.errors import InputError
from hydra_det.pipeline import build
from hydra_det.pipeline.check import check
from hydra_det.pipeline.plan import PLANNED, outlook
from hydra_det.pipeline.stages.identity import INDIFFERENT_DATA
from hydra_det.process.failures.drives import refusal
from hydra_det.process.interrupts import INTERRUPTED, started
from hydra_det.process.script import FAILED, PACKAGE, Config, is_helper, one_line, plain
from hydra_det.records.table import load_records, records_frame
from hydra_det.reports.figures.front import FRONT, draw_front
from hydra_det.reports.tables.terminal import show, sweep_table, write_summary_csv
from hydra_det.sweeps.check import check_objectives, check_search

log = logging.getLogger(__name__)

SUMMARY = "summary.csv"
HERE = {"accelerator": "cpu", "devices": 1, "strategy": "auto"}

# What is typed for one job: the value of every key.
Job = tuple[str, ...]


class SweepCheck(Callback):
    """Refuses a grid with a wrong value before anything of it runs; what a sweeper chooses is not known yet."""

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        """Exit code 1 and one line where a job is wrong. An exception of a callback would be a warning only."""
        grid = _names(config.hydra.sweeper, BasicSweeper)
        # For processes that a launcher starts in another way than this one was started.
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(PACKAGE.parent), os.environ.get("PYTHONPATH")]))
        sys.excepthook = _say_interrupted
        started()
        logging.disable(logging.WARNING)  # every job says what it has to say when it runs
        try:
            check_objectives(config)  # only what no job changes is read
            if config.get("dry_run"):
                _plan_here(config, grid=grid)
            if grid:
                asked = check_jobs(config, GlobalHydra.instance().config_loader())
                if not config.get("dry_run") and not _is_elsewhere(config):
                    check_images(asked)
        except InputError as error:
            log.error("error: %s", one_line(error))
            sys.exit(1)
        except (HydraException, OmegaConfBaseException):
            return  # a name that does not exist: Hydra composes every job next, and says which ones there are
        finally:
            logging.disable(logging.NOTSET)


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
        try:
            self._sum_up(config, folder)
        except OSError as error:
            refused = refusal(error, {"hydra.sweep.dir": folder})
            log.error("error: %s", refused.line if refused else error)
            sys.exit(1)

    def _sum_up(self, config: DictConfig, folder: Path) -> None:
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


def check_jobs(config: DictConfig, loader: ConfigLoader) -> list[Config]:
    """Refuse a grid if a job of it is wrong, with the values of that job; the configs of those that were looked at.

    Composing a config takes a quarter of a second, so that is done once for all jobs with the same choice of groups,
    and not every job is looked at: enough of them that every value met every other value.

    Args:
        config: of the sweep, with what `hydra` says of it.
        loader: that composes configs.
    """
    jobs = grid_of(config, loader)
    found = {text for job in jobs for text in job}
    varying = {text for text in found if sum(_key(text) == _key(other) for other in found) > 1}
    values = {key for key in map(_key, jobs[0]) if _is_value(key, loader)}
    composed: dict[Job, DictConfig] = {}
    checked: list[Config] = []
    for job in pairs_covered(jobs, varying):
        groups = tuple(text for text in job if _key(text) not in values)
        if groups not in composed:
            composed[groups] = loader.load_sweep_config(config, list(groups))
        try:
            asked = _with_values(composed[groups], [text for text in job if text not in groups], loader)
            if _is_elsewhere(config):  # here need not be what the machines of the jobs have
                asked = {**asked, "trainer": {**asked["trainer"], **HERE}}
            check(asked)
            check_search(asked)
            checked.append(asked)
        except InputError as error:
            named = " ".join(text for text in job if text in varying)
            raise InputError(f"{named or 'all jobs'}: {one_line(error)}") from error
    return checked


def check_images(asked: Sequence[Config]) -> None:
    """Read the data of jobs, each choice of images once, so that a bad file ends the sweep before the first job."""
    seen: set[str] = set()
    for config in asked:
        choice = json.dumps({key: config["data"].get(key) for key in INDIFFERENT_DATA}, default=str)
        if choice not in seen:
            seen.add(choice)
            build.data(config).prepare()


def grid_of(config: DictConfig, loader: ConfigLoader) -> list[Job]:
    """The jobs of a sweep."""
    params = config.hydra.sweeper.params or {}
    typed = [f"{key}={value}" for key, value in params.items()] + list(config.hydra.overrides.task)
    overrides = OverridesParser.create(config_loader=loader).parse_overrides(typed)
    return [tuple(job) for batch in BasicSweeper.split_arguments(overrides, None) for job in batch]


def pairs_covered(jobs: Sequence[Job], varying: set[str]) -> Iterator[Job]:
    """As few of the jobs, in their order, as it takes to see each varying value with each one of another key."""
    seen: set[tuple[str, ...]] = set()
    for job in jobs:
        values = [text for text in job if text in varying]
        pairs = {*itertools.combinations(values, 2), *((value,) for value in values), ()}
        if not pairs <= seen:
            seen |= pairs
            yield job


def _say_interrupted(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Ctrl-C while the jobs run in other processes, which say it themselves; a traceback of the launcher is no use."""
    if issubclass(kind, KeyboardInterrupt):
        log.error("interrupted; the same command goes on")
        sys.exit(INTERRUPTED)
    else:
        sys.__excepthook__(kind, error, trace)


def _is_elsewhere(config: DictConfig) -> bool:
    """Whether the jobs run on other machines, whose drives and devices are not known here."""
    return "submitit" in config.hydra.launcher["_target_"]


def _plan_here(config: DictConfig, *, grid: bool) -> None:
    """What jobs plan is summed up in this process, so they run in it, one after the other."""
    if not grid:
        raise InputError("dry_run: expected a grid, whose jobs are known, got a sweeper that chooses as it goes on")
    with open_dict(config.hydra):
        config.hydra.launcher = {"_target_": f"{BasicLauncher.__module__}.{BasicLauncher.__qualname__}"}


def _is_value(key: str, loader: ConfigLoader) -> bool:
    """Whether `key=...` sets a value that is there, and neither chooses a group nor adds or removes something."""
    return key[0] not in "+~" and "@" not in key and not loader.get_group_options(key)


def _with_values(config: DictConfig, texts: Sequence[str], loader: ConfigLoader) -> Config:
    config = OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"])
    for override in OverridesParser.create(config_loader=loader).parse_overrides(list(texts)):
        OmegaConf.update(config, override.key_or_group, override.value(), merge=True)
    return plain(config)


def _key(text: str) -> str:
    return text.partition("=")[0]


def _names(config: DictConfig, plugin: type) -> bool:
    return bool(config._target_ == f"{plugin.__module__}.{plugin.__qualname__}")
