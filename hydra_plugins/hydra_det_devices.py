"""Hydra's launcher `devices`: the jobs of a sweep side by side, each on a device of this machine.

Hydra looks for plugins in packages of this name, and imports all of them for every command: what takes time is imported
when a sweep begins.
"""

import logging
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobReturn, JobStatus, configure_log, setup_globals
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, open_dict

if TYPE_CHECKING:
    from hydra_det.sweeps.side_by_side import Job

log = logging.getLogger(__name__)


class DevicesLauncher(Launcher):
    """Starts every job as a command of its own, as soon as a device has room for it.

    Args:
        devices: `auto`, the GPUs of this machine or else its CPU; numbers of GPUs; or `cpu`.
        per_device: jobs at once on each device.
        threads: of each job; None: its share of the cores.
    """

    def __init__(self, devices: Any = "auto", per_device: int = 1, threads: int | None = None) -> None:
        self.devices, self.per_device, self.threads = devices, per_device, threads
        self.config: Any = None
        self.hydra_context: Any = None

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """What Hydra calls first."""
        self.config, self.hydra_context = config, hydra_context

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run the jobs; the answer of each is what its task returned, or why it failed."""
        from hydra_det.errors import InputError
        from hydra_det.process.interrupts import started
        from hydra_det.sweeps.places import Places, devices_of
        from hydra_det.sweeps.side_by_side import SideBySide

        started()
        setup_globals()
        configure_log(self.config.hydra.hydra_logging, self.config.hydra.verbose)
        try:
            places = Places(devices_of(self.devices), per_device=self.per_device)
            log.info("%d jobs on %s", len(job_overrides), places)
            jobs = self._jobs(job_overrides, initial_job_idx)
            answers = SideBySide(places, threads=self.threads).run(jobs, count=len(job_overrides))
        except InputError as error:
            log.error("error: %s", error)
            sys.exit(1)
        return [
            JobReturn(overrides=list(overrides), status=JobStatus.COMPLETED, _return_value=answer)
            for overrides, answer in zip(job_overrides, answers, strict=True)
        ]

    def _jobs(self, job_overrides: Sequence[Sequence[str]], first: int) -> Iterator["Job"]:
        from hydra_det.sweeps.side_by_side import Job

        Path(self.config.hydra.sweep.dir).mkdir(parents=True, exist_ok=True)
        for number, overrides in enumerate(job_overrides, first):
            config = self.hydra_context.config_loader.load_sweep_config(self.config, list(overrides))
            with open_dict(config):
                config.hydra.job.id = f"{config.hydra.job.name}_{number}"
                config.hydra.job.num = number
            HydraConfig.instance().set_config(config)
            yield Job.of_sweep(config, list(overrides))
