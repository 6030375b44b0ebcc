"""What every script stands on: where configs lie, a config as plain values, errors as one line and an exit code.

Nothing here needs torch, so `report.py` runs where it is not installed.
"""

import functools
import logging
import re
import sys
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import InterpolationKeyError, MissingMandatoryValue

from hydra_det.atomic import write_atomically
from hydra_det.errors import InputError
from hydra_det.reports.runs import FAILED_NAME as FAILED

log = logging.getLogger(__name__)

PACKAGE = Path(__file__).resolve().parents[1]
# The scripts and their configs lie at the top of a checkout; an installed wheel carries them inside the package.
SCRIPTS = PACKAGE / "verbs" if (PACKAGE / "verbs" / "conf").is_dir() else PACKAGE.parent
CONFIG_DIR = str(SCRIPTS / "conf")

# A resolved config. Only the scripts, this file and `build` know that it was made by Hydra.
Config = Mapping[str, Any]

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


def job(task: Callable[[DictConfig], Any]) -> Callable[[DictConfig], None]:
    """Make a task end in one clear line and exit code 1 when what it was given is wrong.

    A failing job leaves its reason in its folder. In a sweep the others go on, and `SweepSummary` names it at the end.
    An error that is not the user's keeps its traceback. Of several processes only the first one speaks.
    """

    @functools.wraps(task)
    def wrapped(config: DictConfig) -> None:
        for message in EXPECTED_WARNINGS:
            warnings.filterwarnings("ignore", message)
        if is_helper():
            logging.getLogger().setLevel(logging.CRITICAL)
        folder = Path(HydraConfig.get().runtime.output_dir)
        if not is_helper():
            (folder / FAILED).unlink(missing_ok=True)  # of an earlier job in the same folder
        try:
            task(config)
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
        else:
            return
        if not is_helper():
            write_atomically(folder / FAILED, " ".join(reason.split()) + "\n")
        if HydraConfig.get().mode != RunMode.MULTIRUN:
            sys.exit(1)

    return wrapped


def _one_line(error: InputError) -> str:
    """The message; an error of a process that loads images comes wrapped in that process's traceback."""
    return str(error).strip().rpartition(f"{InputError.__name__}: ")[2]


def is_helper() -> bool:
    """Whether this is one of the further processes that Lightning starts, e.g. for more devices."""
    lightning = sys.modules.get("pytorch_lightning.utilities.rank_zero")  # where it is not loaded, it started nothing
    return bool(lightning and getattr(lightning.rank_zero_only, "rank", 0))
