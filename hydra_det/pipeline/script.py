"""What every script stands on: where configs lie, a config as plain values, errors as one line and an exit code.

Nothing here needs torch, so `report.py` runs where it is not installed.
"""

import contextlib
import functools
import logging
import os
import re
import sys
import threading
import time
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NoReturn

from hydra.core.hydra_config import HydraConfig
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import InterpolationKeyError, MissingMandatoryValue

from hydra_det.atomic import write_atomically
from hydra_det.errors import InputError
from hydra_det.pipeline.drives import Refusal, refusal
from hydra_det.pipeline.interrupts import INTERRUPTED, started
from hydra_det.pipeline.memory_errors import explain
from hydra_det.reports.runs import FAILED_NAME as FAILED

log = logging.getLogger(__name__)

PACKAGE = Path(__file__).resolve().parents[1]
# The scripts and their configs lie at the top of a checkout; an installed wheel carries them inside the package.
SCRIPTS = PACKAGE / "verbs" if (PACKAGE / "verbs" / "conf").is_dir() else PACKAGE.parent
CONFIG_DIR = str(SCRIPTS / "conf")

# A resolved config. Only the scripts, this file and `build` know that it was made by Hydra.
Config = Mapping[str, Any]

ALONE = 3  # seconds in which the first process ends the others if it failed as they did
FIRST_FILES = 2**16  # bytes: room for what Hydra writes of a run before the run begins

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


def plain(config: Any) -> Config:
    """A config with everything resolved, as dicts and lists."""
    try:
        resolved = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    except MissingMandatoryValue as error:
        key = error.full_key or "a value"
        raise InputError(f"{key}: expected a value, got none; give one, e.g. {key}=...") from error
    except InterpolationKeyError as error:
        wanted = re.findall(r"'([^']*)'", str(error))[0]
        raise InputError(
            f"{error.full_key}: expected the value of {wanted}, which this choice of {wanted.split('.')[0]}= does not "
            "have; choose another one, or give the value itself"
        ) from error
    assert isinstance(resolved, dict)
    return {str(key): value for key, value in resolved.items()}


def job(task: Callable[[DictConfig], Any]) -> Callable[[DictConfig], Any]:
    """Make a task end in one clear line and exit code 1 when what it was given is wrong.

    A failing job leaves its reason in its folder. In a sweep the others go on, and `SweepSummary` names it at the end.
    What the task returns is for the sweeper, which is given the reason where a job failed. What a drive refuses is one
    line too, and a full one ends a sweep: its next job would meet the same, maybe after hours. An error that is neither
    keeps its traceback. Of several processes only the first one speaks.
    """

    @functools.wraps(task)
    def wrapped(config: DictConfig) -> Any:
        started()
        for message in EXPECTED_WARNINGS:
            warnings.filterwarnings("ignore", message)
        _quieten()
        folder = Path(HydraConfig.get().runtime.output_dir)
        if in_parallel():
            _name_lines(job_name())
        refused = None
        try:
            if not is_helper():
                (folder / FAILED).unlink(missing_ok=True)  # of an earlier job in the same folder
            return task(config)
        except (KeyboardInterrupt, SystemExit) as stop:  # Lightning turns the first into the second
            resumes = HydraConfig.get().job.name == "train"
            log.error("interrupted%s", "; the same command goes on from the last checkpoint" if resumes else "")
            own = getattr(stop, "code", None)  # by another code a scheduler says that it queues the job again
            sys.exit(INTERRUPTED if own in (None, 1) else own)
        except InputError as error:
            reason = one_line(error)
            log.error("error: %s%s", _of_which(), reason)
        except Exception as error:
            no_memory = explain(error)  # first: shared memory that runs out is no drive, though it says so
            refused = None if no_memory else refusal(error, _places(config, folder))
            if known := refused.line if refused else no_memory:
                reason = known
                log.error("error: %s%s", _of_which(), reason)
            else:
                log.exception("%sthis is a bug of the program, not of your input", _of_which())
                reason = f"{type(error).__name__}: {error}"
        finally:
            _end_helpers()
        if is_helper():
            _speak_alone(reason)
        else:
            leave_reason(folder, reason)
        if HydraConfig.get().mode != RunMode.MULTIRUN or _ends_sweep(refused):
            sys.exit(1)
        return reason

    return wrapped


def one_line(error: InputError) -> str:
    """The message; an error of a process that loads images comes wrapped in that process's traceback."""
    return str(error).strip().rpartition(f"{InputError.__name__}: ")[2]


def leave_reason(folder: Path, reason: str) -> None:
    """Say in the folder of a job why it failed."""
    # On the drive that is full there is no room for that either; it was said on the terminal.
    with contextlib.suppress(OSError):
        write_atomically(folder / FAILED, " ".join(reason.split()) + "\n")


def fail_at_once(reason: str) -> NoReturn:
    """End this process from a thread, where the job itself hangs; the reason is said and left in its folder."""
    log.error("error: %s%s", _of_which(), reason)
    leave_reason(Path(HydraConfig.get().runtime.output_dir), reason)
    os._exit(1)


class OutputCheck(Callback):
    """Refuses a folder that cannot be written to; Hydra writes there before a job begins, and gives a traceback."""

    def on_run_start(self, config: DictConfig, **_: Any) -> None:
        """Exit code 1 and one line."""
        HydraConfig.instance().set_config(config)  # which the name of the folder is made from
        self._check("hydra.run.dir", config)

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        """Exit code 1 and one line."""
        self._check("hydra.sweep.dir", config)

    def _check(self, setting: str, config: DictConfig) -> None:
        folder = Path(OmegaConf.select(config, setting))
        probe = folder / ".room"
        try:
            write_atomically(probe, bytes(FIRST_FILES))
            probe.unlink()
        except OSError as error:
            refused = refusal(error, {setting: folder})
            log.error(
                "error: %s", refused.line if refused else f"{setting}: expected a folder to write to, got {error}"
            )
            sys.exit(1)


def same_job(rank: int) -> tuple[list[str], str]:
    """The command that runs this very job as one more process of it, and the folder to run it in."""
    hydra = HydraConfig.get()
    given = [text for text in hydra.overrides.hydra if not text.startswith("hydra.mode=")]
    further = [source.path for source in hydra.runtime.config_sources if source.provider == "command-line"]
    folder = hydra.runtime.output_dir.replace("\\", "\\\\").replace("'", "\\'")
    words = [
        *(f"--config-dir={path}" for path in further),
        f"--config-name={hydra.job.config_name}",
        *given,
        *hydra.overrides.task,
        "hydra.mode=RUN",
        f"hydra.run.dir='{folder}'",
        "hydra.output_subdir=null",
        f"hydra.job.name={hydra.job.name}_process_{rank}",
    ]
    return [sys.executable, str(SCRIPTS / f"{hydra.job.name}.py"), *words], str(hydra.runtime.cwd)


def _places(config: DictConfig, folder: Path) -> dict[str, Path]:
    """The folders that a job writes to, by the setting that moves them."""
    store = {"store": Path(config.store)} if "store" in config else {}
    return {**store, f"hydra.{'sweep' if in_sweep() else 'run'}.dir": folder}


def _ends_sweep(refused: Refusal | None) -> bool:
    """Whether the jobs that are left are not tried; of several at once, none knows about the others."""
    if refused is None or not refused.full or not in_sweep() or in_parallel():
        return False
    log.error("the jobs after it are not tried, as they would meet the same")
    return True


def _end_helpers() -> None:
    if processes := sys.modules.get("hydra_det.pipeline.processes"):  # where it is not loaded, it started none
        processes.leave()


def _speak_alone(reason: str) -> None:
    """Say an error of this process; if all of them met it, the first one says it and ends this one in the meantime."""
    time.sleep(ALONE)
    log.critical("error: %s", reason)


def in_sweep() -> bool:
    """Whether this is a job of a sweep."""
    return HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN


def in_parallel() -> bool:
    """Whether this is a job of a sweep of which several run at once, each in a process of its own."""
    return in_sweep() and not str(HydraConfig.get().launcher["_target_"]).endswith(".BasicLauncher")


def job_name() -> str:
    """Of a job of a sweep: its folder there, as the summary names it."""
    return str(HydraConfig.get().sweep.subdir)


class Once(logging.Filter):
    """Lets a warning through once: a job makes many parts from the same config, and each of them would repeat it."""

    def __init__(self) -> None:
        super().__init__()
        self.said: set[str] = set()

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether to say it."""
        new = record.levelno != logging.WARNING or record.getMessage() not in self.said
        self.said.add(record.getMessage() if record.levelno == logging.WARNING else "")
        return new


class NamedLines(logging.Formatter):
    """Another formatter's text with a name before every line of it, also before those of a traceback."""

    def __init__(self, name: str, inner: logging.Formatter) -> None:
        super().__init__()
        self.name, self.inner = name, inner

    def format(self, record: logging.LogRecord) -> str:
        """The text of a record."""
        return "\n".join(f"{self.name} | {line}" for line in self.inner.format(record).splitlines())


def _quieten() -> None:
    """A warning is said once, a further process is silent, and a log file that cannot be written is no traceback."""
    logging.raiseExceptions = False
    threading.excepthook = _say_of_thread
    if is_helper():
        logging.getLogger().setLevel(logging.CRITICAL)
    for handler in logging.getLogger().handlers:
        handler.addFilter(Once())


def _say_of_thread(failed: threading.ExceptHookArgs) -> None:
    """TensorBoard writes in a thread; what a drive refuses it is raised in the job too, with the next number."""
    if failed.exc_value is not None and refusal(failed.exc_value, {}):
        log.warning("not written: %s", failed.exc_value)
    else:
        threading.__excepthook__(failed)


def _name_lines(name: str) -> None:
    """Say on the terminal, which several jobs write to, whose a line is; the file in the job's folder needs none."""
    for handler in logging.getLogger().handlers:
        if not isinstance(handler, logging.FileHandler):
            handler.setFormatter(NamedLines(name, handler.formatter or logging.Formatter()))


def _of_which() -> str:
    return f"{job_name()}: " if in_sweep() and not in_parallel() else ""


def is_helper() -> bool:
    """Whether this is one of the further processes that Lightning starts, e.g. for more devices."""
    lightning = sys.modules.get("pytorch_lightning.utilities.rank_zero")  # where it is not loaded, it started nothing
    return bool(lightning and getattr(lightning.rank_zero_only, "rank", 0))
