"""What every script stands on: where configs lie, a config as plain values, errors as one line and an exit code.

Nothing here needs torch, so `report.py` runs where it is not installed.
"""

import contextlib
import functools
import logging
import os
import re
import sys
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from hydra.core.hydra_config import HydraConfig
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import InterpolationKeyError, MissingMandatoryValue, OmegaConfBaseException

from hydra_det.errors import InputError
from hydra_det.files.atomic import write_atomically
from hydra_det.process import dry_run, place
from hydra_det.process.failures.drives import refusal
from hydra_det.process.failures.lost_workers import lost_worker
from hydra_det.process.failures.memory_errors import explain
from hydra_det.process.failures.users_code import users_line
from hydra_det.process.interrupts import INTERRUPTED, PATIENCE, asked_to_stop, started, stop_if_asked
from hydra_det.process.locations import CONFIG_DIR, PACKAGE, SCRIPTS  # noqa: F401 - found here
from hydra_det.process.log_lines import calm_lines, name_lines
from hydra_det.process.typed.answers import of_an_addition
from hydra_det.records.record import FAILED_NAME as FAILED

log = logging.getLogger(__name__)

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
        place.end_with_launcher()
        for message in EXPECTED_WARNINGS:
            warnings.filterwarnings("ignore", message)
        if is_helper():
            logging.getLogger().setLevel(logging.CRITICAL)
        if in_parallel() and place.folder() is None:  # a launcher says itself whose lines it passes on
            name_lines(job_name())
        with calm_lines():
            answer = _ended(task, config)
        if not is_helper():
            place.answer(answer)
        return answer

    return wrapped


def _ended(task: Callable[[DictConfig], Any], config: DictConfig) -> Any:
    """Run a task to its end, whatever that is."""
    folder = Path(HydraConfig.get().runtime.output_dir)
    try:
        if not is_helper() and not says_only(config):
            (folder / FAILED).unlink(missing_ok=True)  # of an earlier job in the same folder
        if wrong := of_an_addition(config, str(HydraConfig.get().job.config_name)):
            raise InputError(wrong)
        answer = task(config)
        stop_if_asked()
        return answer
    except (KeyboardInterrupt, SystemExit) as stop:  # Lightning turns the first into the second
        _leave_interrupted(getattr(stop, "code", None))
    except Exception as error:
        if asked_to_stop(wait=PATIENCE if lost_worker(error) else 0):  # its other processes were told as well
            _leave_interrupted()
        reason, full = _say(error, _places(config, folder))
    finally:
        _end_helpers()
    if is_helper():
        _speak_alone(reason)
    elif not says_only(config):
        leave_reason(folder, reason)
    if HydraConfig.get().mode != RunMode.MULTIRUN or (full and _ends_sweep()):
        sys.exit(1)
    return reason


def _leave_interrupted(own: Any = None) -> NoReturn:
    """End the process; by a code of its own a scheduler says that it queues the job again."""
    resumes = HydraConfig.get().job.name == "train"
    log.error("interrupted%s", "; the same command goes on from the last checkpoint" if resumes else "")
    sys.exit(INTERRUPTED if own in (None, 1) else own)


def _say(error: Exception, places: Mapping[str, Path]) -> tuple[str, bool]:
    """Log why a job failed; returns it, and whether a drive is full."""
    refused = None
    if isinstance(error, InputError):
        reason = one_line(error)
    elif no_memory := explain(error):  # before drives: shared memory that runs out is none, though it says so
        reason = no_memory
    elif refused := refusal(error, places):
        reason = refused.line
    elif lost := lost_worker(error):
        reason = lost
    elif place_of := users_line(error):
        reason = f"{type(error).__name__}: {error} ({place_of}); hydra.verbose=true shows the traceback"
    else:
        log.exception("%sthis is a bug of the program, not of your input", _of_which())
        return f"{type(error).__name__}: {error}", False
    log.error("error: %s%s", _of_which(), reason)
    log.debug("the traceback", exc_info=error)  # shown by hydra.verbose=true
    return reason, refused is not None and refused.full


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
        if is_helper():  # the first process of the job has looked
            return
        folder = Path(OmegaConf.select(config, setting))
        if says_only(config):
            dry_run.note(folder)
        probe = folder / ".room"
        try:
            write_atomically(probe, bytes(FIRST_FILES))
            probe.unlink(missing_ok=True)  # another process of this folder may have been here
        except OSError as error:
            refused = refusal(error, {setting: folder})
            log.error(
                "error: %s", refused.line if refused else f"{setting}: expected a folder to write to, got {error}"
            )
            sys.exit(1)


def same_job(rank: int) -> tuple[list[str], str]:
    """The command that runs this very job as one more process of it, and the folder to run it in."""
    hydra = HydraConfig.get()
    words = ("hydra.output_subdir=null", f"hydra.job.name={hydra.job.name}_process_{rank}")
    return command_of(hydra, hydra.overrides.task, hydra.runtime.output_dir, *words), str(hydra.runtime.cwd)


def command_of(hydra: Any, overrides: Sequence[str], folder: str, *further: str) -> list[str]:
    """The command that runs a job by itself.

    Args:
        hydra: what Hydra says of the job.
        overrides: of its config.
        folder: to run it in.
        further: words for Hydra.
    """
    typed: Any = OmegaConf.to_container(hydra.overrides.hydra, resolve=False)  # ${...} is for that process to resolve
    places = [source.path for source in hydra.runtime.config_sources if source.provider == "command-line"]
    quoted = folder.replace("\\", "\\\\").replace("'", "\\'")
    return [
        sys.executable,
        str(SCRIPTS / f"{hydra.job.name}.py"),
        *(f"--config-dir={path}" for path in places),
        f"--config-name={hydra.job.config_name}",
        *(text for text in typed if not text.startswith("hydra.mode=")),
        *overrides,
        "hydra.mode=RUN",
        f"hydra.run.dir='{quoted}'",
        *further,
    ]


def _places(config: DictConfig, folder: Path) -> dict[str, Path]:
    """The folders that a job writes to, by the setting that moves them."""
    store: Any = None
    with contextlib.suppress(OmegaConfBaseException):  # a value that cannot be resolved may be what the job failed of
        store = OmegaConf.select(config, "store")
    places = {"store": Path(store)} if isinstance(store, str) else {}
    return {**places, f"hydra.{'sweep' if in_sweep() else 'run'}.dir": folder}


def _ends_sweep() -> bool:
    """Whether the jobs that are left are not tried on a full drive; of several at once, none knows about the others."""
    if not in_sweep() or in_parallel():
        return False
    log.error("the jobs after it are not tried: they would fail in the same way")
    return True


def _end_helpers() -> None:
    if processes := sys.modules.get("hydra_det.process.processes"):  # where it is not loaded, it started none
        processes.leave()


def _speak_alone(reason: str) -> None:
    """Say an error of this process; if all of them met it, the first one says it and ends this one in the meantime."""
    try:
        time.sleep(ALONE)
    except KeyboardInterrupt:  # which is how it ends this one
        sys.exit(1)
    log.critical("error: %s", reason)


def says_only(config: Mapping[str, Any] | DictConfig) -> bool:
    """Whether a command is to say what it would do, and do nothing."""
    return bool(config.get("dry_run"))


def in_sweep() -> bool:
    """Whether this is a job of a sweep, in its process or as a command of its own that a launcher gave a place."""
    return HydraConfig.initialized() and (HydraConfig.get().mode == RunMode.MULTIRUN or place.folder() is not None)


def in_parallel() -> bool:
    """Whether this is a job of a sweep of which several run at once, each in a process of its own."""
    return in_sweep() and not str(HydraConfig.get().launcher["_target_"]).endswith(".BasicLauncher")


def job_name() -> str:
    """Of a job of a sweep: its folder there, as the summary names it."""
    return str(HydraConfig.get().sweep.subdir)


def _of_which() -> str:
    return f"{job_name()}: " if in_sweep() and not in_parallel() else ""


def is_helper() -> bool:
    """Whether this is one of the further processes that Lightning starts, e.g. for more devices."""
    lightning = sys.modules.get("pytorch_lightning.utilities.rank_zero")  # where it is not loaded, it started nothing
    return bool(lightning and getattr(lightning.rank_zero_only, "rank", 0))
